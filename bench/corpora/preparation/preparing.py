"""``serbench corpus prepare``: from a card and the owner's download to a prepared corpus and its report."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.cards.corpus import CorpusCard
from bench.corpora.preparation.joining import complete
from bench.corpora.preparation.listing import Draft
from bench.corpora.preparation.problems import PreparationProblem
from bench.corpora.preparation.report import REPORT, PrepareReport, make_report
from bench.corpora.preparation.scanning import scan
from bench.corpora.preparation.source import open_source
from bench.corpora.preparation.tables import TableRow
from bench.corpora.preparation.writing import AUDIO, Ledger, Written, order_of, write_clips
from bench.corpora.prepared import COLUMNS, METADATA
from bench.errors import DataError, UsageError
from bench.protocols import SAMPLE_RATE
from bench.storage.atomic import clear_os_errors, write_json, write_text
from bench.storage.locking import exclusive

WORK = ".prepare"
"""Folder inside the corpus folder for what is made on the way; hidden, so that no reader of the corpus meets it."""

LEDGER = "clips.jsonl"


class Watcher:
    """What a preparation tells whoever watches. This one tells nobody."""

    def stage(self, title: str, total: int) -> None:
        """Start a stage of so many steps; 0 where nobody knows."""

    def step(self, steps: int) -> None:
        """Move on."""


@dataclass(frozen=True)
class Preparation:
    """What to prepare, from where, to where. ``source`` None means: download, where the card says from where."""

    card: CorpusCard
    source: Path | None
    out: Path
    workers: int | None = None
    unverified: bool = False
    card_file: Path | None = None
    """Copied beside the corpus, when the card is the user's own."""


def prepare(what: Preparation, watcher: Watcher | None = None) -> PrepareReport:
    """Prepare a corpus: audio as 16 kHz mono FLAC, ``metadata.csv``, ``prepare-report.json``.

    Nothing is dropped without a line in the report: a file that gives no sound keeps its row and its bytes; a row
    without a file, and a file without a row, stand in the report alone. Clips that a former, interrupted preparation
    has written from the same source are kept. Same source and decoders, same bytes out, whatever the number of workers.

    Raises:
        UsageError: no layout or source, a form to be asked for first, an unverified layout not asked for.
        DataError: the source does not look like this corpus, or an archive or table is damaged.
    """
    watcher = watcher or Watcher()
    card, out = what.card, what.out
    _admit(what)
    with _locked(out) as work, _cleared(out, work):
        former = _former_hashes(out)
        watcher.stage("reading the source", 0)
        tree = open_source(card, what.source, work, watcher.step)
        source_files = len(tree)
        listing = scan(card, tree)
        complete(card, tree, listing)
        orders = [order_of(d, tree) for d in listing.drafts]
        ledger = Ledger(work / LEDGER)
        watcher.stage("decoding", len(orders))
        workers = what.workers or len(os.sched_getaffinity(0))
        results = write_clips(orders, out, ledger, workers=workers, progress=watcher.step)
        written = [results[o.key] for o in orders]
        rows = [_row(d, w) for d, w in zip(listing.drafts, written, strict=True)]
        problems = [*listing.problems, *_changes(former, written)]
        report = make_report(
            card, rows, written, problems, left_out=listing.left_out, source_files=source_files
        )
        _finish(what, report, rows, written, ledger)
    return report


def _admit(what: Preparation) -> None:
    """Refuse what must not or cannot be prepared, saying what to do."""
    card, layout = what.card, what.card.layout
    if layout is None:
        raise UsageError(
            f"the card of {card.name!r} has no 'layout:', so its download cannot be prepared; docs/corpora.md says how to write one"
        )
    if what.source is None and card.access in ("form", "private"):
        raise UsageError(
            f"{card.name} is given out by its owner on request ({card.access}): {layout.obtain}. "
            f"When you have it: serbench corpus prepare {card.name} --source FOLDER_OR_ARCHIVE"
        )
    if card.verification == "described" and not what.unverified:
        raise UsageError(
            f"the layout of {card.name} was written from public descriptions and never checked on files or a published "
            "listing; add --unverified to prepare it all the same, then read the report with care"
        )
    hub = any(p.huggingface for p in layout.parts)
    if what.source is None and not layout.downloads and not hub:
        raise UsageError(
            f"{card.name}: the card names no download; get it from {card.source or 'its owner'}, then give --source FOLDER_OR_ARCHIVE"
        )
    if what.source is not None and not what.source.exists():
        raise UsageError(f"{what.source}: no such folder or archive (--source)")
    if what.source is not None and what.out.resolve().is_relative_to(what.source.resolve()):
        raise UsageError(
            f"{what.out}: lies inside the source; choose a folder outside of {what.source} with --out or --data"
        )


@contextmanager
def _locked(out: Path) -> Iterator[Path]:
    """Hold the corpus folder for this process; it must be new, or a former preparation's."""
    work = out / WORK
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file, and a folder is needed; choose another place with --out")
    if out.exists() and not work.exists() and any(out.iterdir()):
        raise UsageError(
            f"{out}: is not empty and was not made by 'corpus prepare'; choose another folder with --out"
        )
    with clear_os_errors(out):
        work.mkdir(parents=True, exist_ok=True)
    with exclusive(work, "lock", f"{out}: another serbench is preparing this corpus; wait for it"):
        yield work


@contextmanager
def _cleared(out: Path, work: Path) -> Iterator[None]:
    """Clear away what was made on the way, unless it was an interruption that left it: that goes on from there."""
    try:
        yield
    except (UsageError, DataError):
        _clear(work)
        if {p.name for p in out.iterdir()} == {WORK} and not (work / LEDGER).exists():
            shutil.rmtree(out)
        raise
    _clear(work)


def _clear(work: Path) -> None:
    for made in work.iterdir():
        if made.is_dir():
            shutil.rmtree(made)


def _former_hashes(out: Path) -> dict[str, str]:
    """Return the hashes that a former preparation of this folder wrote, by clip id; "" for a clip without sound."""
    try:
        text = (out / METADATA).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{out / METADATA}: cannot be read ({error}); remove it and prepare again") from None
    return {r["file_name"]: r.get("pcm_hash") or "" for r in csv.DictReader(io.StringIO(text, newline=""))}


def _changes(former: dict[str, str], written: Sequence[Written]) -> list[PreparationProblem]:
    now = {w.file_name: w.pcm_hash for w in written}
    changed = [
        PreparationProblem(
            "changed", name, "another sound than when this corpus was prepared before: the source was changed"
        )
        for name, hashed in now.items()
        if name in former and former[name] != hashed
    ]
    gone = [
        PreparationProblem(
            "gone", name, "was prepared before, and is no longer in the source; its file was removed"
        )
        for name in former.keys() - now.keys()
    ]
    return changed + gone


def _row(draft: Draft, written: Written) -> TableRow:
    seconds = f"{written.samples / SAMPLE_RATE:.4f}" if written.error is None else ""
    return {
        "file_name": written.file_name,
        **draft.columns,
        "pcm_hash": written.pcm_hash,
        "seconds": seconds,
    }


def _finish(
    what: Preparation,
    report: PrepareReport,
    rows: Sequence[TableRow],
    written: Sequence[Written],
    ledger: Ledger,
) -> None:
    """Write metadata and report, then clear away what is no longer needed."""
    last = ("source_path", "pcm_hash", "seconds")
    always = COLUMNS[: COLUMNS.index("soft_votes") + 1]
    further = dict.fromkeys(k for row in rows for k in row)
    columns = [
        *(c for c in COLUMNS if c in always or c in further),
        *(c for c in further if c not in COLUMNS and c not in last),
        *last,
    ]
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _remove_stale(what.out, written, ledger)
    ledger.rewrite(written)
    write_text(what.out / METADATA, stream.getvalue())
    if what.card_file is not None:
        target = what.out / "card.yaml"
        if not (target.exists() and target.samefile(what.card_file)):
            write_text(target, what.card_file.read_text(encoding="utf-8"))
    write_json(what.out / REPORT, report.as_json())


def _remove_stale(out: Path, written: Sequence[Written], ledger: Ledger) -> None:
    """Remove clips that a former preparation wrote and this one did not; nothing else is ever removed."""
    current = {w.file_name for w in written}
    for former in ledger.known.values():
        if former.file_name not in current and former.file_name.startswith(f"{AUDIO}/"):
            (out / former.file_name).unlink(missing_ok=True)
