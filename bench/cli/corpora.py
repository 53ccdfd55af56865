"""``serbench corpus describe`` and ``serbench corpus verify``: what is in a corpus, and whether it is still the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.cli.printing import console, print_json, print_table
from bench.corpora.decoded import CorpusTable, open_table
from bench.corpora.draft_card import draft_card, write_draft
from bench.corpora.duplicates import Duplicate, shared_with_others
from bench.corpora.prepared import METADATA, data_folders, open_corpus
from bench.corpora.soundness import in_sentences, undecodable_sentences
from bench.corpora.verification import Verification, verify_corpus
from bench.errors import UsageError
from bench.storage.run_folder import cache_folder
from bench.tasks.corpus_report import CorpusReport, describe_corpus

NAMES_SHOWN = 20
"""How many file names a list prints before it says how many more there are; ``--json`` has them all."""


def describe(corpus: str, data: Sequence[Path], *, new_card: bool, as_json: bool) -> None:
    """Describe a corpus; with ``new_card``, draft its card first.

    Args:
        corpus: its name, or its folder.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        new_card: write a draft of the card into the folder, which has none.
        as_json: print JSON instead of tables.

    Raises:
        UsageError: no such corpus, or nothing a card could be drafted from.
    """
    drafted = _draft(Path(corpus)) if new_card else None
    with _counting("decoding", quiet=as_json) as progress:
        report = describe_corpus(corpus, _folders(corpus, data), cache_folder(), progress)
    if as_json:
        print_json(report.as_json() | ({"new_card": str(drafted)} if drafted else {}))
        return
    _print_report(report)
    if drafted:
        _say(f"card drafted: {drafted}; look it over before you run anything")
    elif report.card == "drafted":
        _say(f"no card yet; draft one with: serbench corpus describe {corpus} --new-card")


def verify(corpus: str, data: Sequence[Path], *, as_json: bool) -> int:
    """Verify a corpus: decode every clip anew and compare it with the hashes noted before.

    Args:
        corpus: its name, or its folder.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        as_json: print JSON instead of tables.

    Returns:
        The exit code: 0 when it is as it was, else 1.
    """
    cache = cache_folder()
    table = open_table(open_corpus(corpus, _folders(corpus, data)), cache)
    with _counting("decoding", quiet=as_json) as progress:
        found = verify_corpus(table, cache, progress)
    shared, sharing = _shared(table, _folders(corpus, data), cache)
    if as_json:
        print_json({**found.as_json(), "shared": [asdict(d) for d in shared], "sharing": sharing})
    else:
        for sentence in (*in_sentences(found.findings, found.clips), *sharing):
            _say(f"warning: {sentence}")
        _print_verification(found)
    return 0 if found.sound else 1


def _shared(table: CorpusTable, folders: Sequence[Path], cache: Path) -> tuple[list[Duplicate], list[str]]:
    """What the corpus shares with the others at hand; nothing where it is not decoded yet, or changed since."""
    if table.missing_shards():
        name = table.corpus.card.name
        return [], [f"not compared with other corpora: decode it with serbench corpus describe {name}"]
    return shared_with_others(table, folders, cache)


def _folders(corpus: str, data: Sequence[Path]) -> list[Path]:
    """Data folders, looked at only where a corpus is named and not shown."""
    return [] if Path(corpus).is_dir() else data_folders(data)


def _draft(folder: Path) -> Path:
    if not (folder / METADATA).exists():
        raise UsageError(f"{folder}: --new-card needs a folder with a {METADATA}, and there is none")
    return write_draft(folder, draft_card(folder))


@contextmanager
def _counting(what: str, *, quiet: bool) -> Iterator[Callable[[int], object]]:
    """Show on the terminal how many clips are done."""
    out = console()
    if quiet or not out.is_terminal:
        yield int
        return
    done = 0
    with out.status(what) as status:

        def add(clips: int) -> None:
            nonlocal done
            done += clips
            status.update(f"{what}: {done} clips")

        yield add


def _say(text: str) -> None:
    console().print(text, soft_wrap=True, markup=False)


def _print_report(report: CorpusReport) -> None:
    print_table("", ("", report.name), _facts(report))
    out = console()
    if report.labels:
        out.print()
        rows = [(x.raw, x.canonical or "(left out)", x.clips, x.speakers) for x in report.labels]
        print_table("labels", ("raw", "canonical", "clips", "speakers"), rows, right=("clips", "speakers"))
    if report.dimensions:
        out.print()
        print_table(
            "dimensions",
            ("dimension", "clips", "raw", "scale on the card", "in 0..1 (mean)"),
            [
                (
                    d.dimension,
                    d.clips,
                    f"{d.raw_low:g} – {d.raw_high:g}",
                    f"{d.scale[0]:g} – {d.scale[1]:g}",
                    f"{d.low:.2f} – {d.high:.2f} ({d.mean:.2f})",
                )
                for d in report.dimensions
            ],
        )
    out.print()
    columns = ("label", "clips", "shortest", "25 %", "median", "75 %", "longest")
    rows_ = [
        (
            x.label or "all",
            x.clips,
            *(f"{v:.2f}" for v in (x.shortest, x.lower_quartile, x.median, x.upper_quartile, x.longest)),
        )
        for x in report.lengths
    ]
    print_table("clip length, seconds", columns, rows_, right=columns[1:])
    for title, names in _lists(report):
        _print_names(title, names)
    for warning in report.warnings:
        _say(f"warning: {warning}")


def _facts(report: CorpusReport) -> Iterator[tuple[str, str]]:
    yield "folder", report.folder
    yield "card", report.card
    yield "clips", f"{report.clips}{_promise(report.promised_clips)}, {report.minutes:.1f} minutes"
    spread = report.clips_per_speaker
    each = f", {spread[0]} to {spread[1]} clips each" if spread else ""
    yield "speakers", f"{report.speakers}{_promise(report.promised_speakers)}{each}"
    yield "languages", _counts(report.languages)
    yield "genders (clips)", _counts(report.genders) or _silence(report, "gender")
    counted = (("session", report.sessions), ("dialogue", report.dialogues), ("script", report.scripts))
    yield "structure", ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in counted)
    if report.votes is not None:
        yield (
            "votes",
            f"{report.votes.clips} clips with {report.votes.fewest:g} to {report.votes.most:g} votes",
        )
    if report.not_carried:
        yield (
            "not carried",
            f"{', '.join(report.not_carried)}: no such columns here, whatever the owner knows",
        )
    if report.not_known:
        yield "not known", f"{', '.join(report.not_known)}: columns that tell nothing of any clip"
    for source in report.sources:
        channels = {1: "mono", 2: "stereo"}.get(source.channels, f"{source.channels} channels")
        yield "files", f"{source.clips} × {source.suffix} {source.rate} Hz {channels}"
    for task in report.tasks:
        outlook = f"{task.folds} folds" if task.folds is not None else f"no folds: {task.problem}"
        if task.left_out:
            outlook += f" over {task.clips - task.left_out}, {task.left_out} without a speaker left out"
        yield "task", f"{task.name}: {task.clips} clips, {task.speakers} speakers, {outlook}"


def _silence(report: CorpusReport, column: str) -> str:
    """Why a column gives nothing to count."""
    return "not carried" if column in report.not_carried else "not known"


def _promise(promised: int | None) -> str:
    return "" if promised is None else f" (the card says {promised})"


def _counts(values: Mapping[str, int]) -> str:
    return ", ".join(f"{k} {n}" for k, n in values.items())


def _lists(report: CorpusReport) -> Iterator[tuple[str, list[str]]]:
    yield "cannot be decoded", [f"{u.clip_id}: {u.reason}" for u in report.undecodable]
    yield "one sound under several ids", [" = ".join(ids) for ids in report.duplicates]
    yield f"not listed in {METADATA}", list(report.unlisted)


def _print_names(title: str, names: Sequence[Any]) -> None:
    if names:
        _say(f"{title} ({len(names)}):")
        for name in names[:NAMES_SHOWN]:
            _say(f"  {name}")
        if len(names) > NAMES_SHOWN:
            _say(f"  … {len(names) - NAMES_SHOWN} more (--json lists all)")


def _print_verification(found: Verification) -> None:
    _print_names("changed (another sound than before)", found.changed)
    _print_names(f"not the sound that {METADATA} gives the hash of", found.unlike_metadata)
    _print_names("missing (listed, no such file)", found.missing)
    for sentence in undecodable_sentences([(u.clip_id, u.reason) for u in found.unreadable], found.clips):
        _say(f"warning: {sentence}")
    _print_names("unreadable", [f"{u.clip_id}: {u.reason}" for u in found.unreadable])
    _print_names(f"no longer listed in {METADATA}", found.dropped)
    _print_names("new (heard for the first time)", found.new)
    _print_names(f"not listed in {METADATA}", found.unlisted)
    verdict = "as they were" if found.sound else "NOT as they should be"
    _say(f"{found.name}: {found.clips} clips, {found.compared} compared with what is known: {verdict}")
    if found.first_time:
        _say(f"verified for the first time: hashes are now kept in {found.manifest}")
    elif found.changed or found.dropped:
        _say(f"if the changes are meant, forget the former hashes with: rm {found.manifest}")
