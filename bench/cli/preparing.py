"""``serbench corpus prepare``: from the command's words to a preparation, and its report as a table."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bench.cards.corpus import CorpusCard
from bench.cards.registry import corpus_card_file, corpus_cards
from bench.cards.typed_yaml import path_hint, read_typed
from bench.cli.printing import console, print_json, print_table
from bench.corpora.preparation.preparing import Preparation, Watcher, prepare
from bench.corpora.preparation.report import REPORT, PrepareReport
from bench.corpora.prepared import METADATA, data_folders
from bench.errors import UsageError, nearest
from bench.storage.run_folder import cache_folder

PROBLEMS_SHOWN = 40
"""How many problems the table prints before it says how many more there are; the report has them all."""


def prepare_corpus(
    corpus: str,
    source: Path | None,
    data: Path | None,
    out: Path | None,
    *,
    unverified: bool,
    workers: int | None,
    as_json: bool,
) -> int:
    """Prepare a corpus and print its report.

    Args:
        corpus: its name, the path of its card, or a download with a card in it.
        source: folder or archive as its owner gives it; None: the card's own downloads.
        data: folder that the corpus' own folder is made in; None: the first of SERBENCH_DATA.
        out: the corpus' own folder, in place of one below ``data``.
        unverified: prepare by a layout that was never checked on files.
        workers: processes; None: one per core.
        as_json: print JSON instead of tables.

    Returns:
        The exit code: 1 when something is not as it should be, else 0.

    Raises:
        UsageError: no such corpus, no layout, or no place to write to.
        DataError: a source that cannot be read.
    """
    card, card_file = _card(corpus)
    if source is None and Path(corpus).is_dir():
        source = Path(corpus)
    target = out or _target(card.name, data)
    if card_file is None and target.name != card.name:
        card_file = corpus_card_file(card.name)  # a folder of another name needs its card beside it
    what = Preparation(card, source, target, workers, unverified, card_file)
    if not as_json:
        console().print(f"preparing {card.name} in {target}", soft_wrap=True, markup=False)
    if as_json or not console().is_terminal:
        report = prepare(what)
    else:
        with _Bar() as bar:
            report = prepare(what, bar)
    if as_json:
        print_json(report.as_json() | {"folder": str(target)})
    else:
        _print_report(report, target)
        if source is None:
            downloads = cache_folder() / "downloads" / card.name
            console().print(f"the download is kept in {downloads}; remove it when you like", soft_wrap=True)
    return 1 if report.faults else 0


def _card(corpus: str) -> tuple[CorpusCard, Path | None]:
    path = Path(corpus)
    if path.is_dir():
        own = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
        if len(own) != 1:
            raise UsageError(
                f"{corpus}: holds {len(own)} YAML files; give the path of the card, and the folder as --source"
            )
        path = own[0]
    if path.suffix in (".yaml", ".yml"):
        return read_typed(path, CorpusCard), path
    cards = corpus_cards()
    if corpus not in cards:
        raise UsageError(f"no corpus {corpus!r}; {nearest(corpus, cards)}; {path_hint(corpus, 'card')}")
    return cards[corpus], None


def _target(name: str, data: Path | None) -> Path:
    """The corpus's folder in ``--data``, else in the first folder of ``SERBENCH_DATA``, unless another one has it already."""
    if data is not None:
        return data / name
    folders = data_folders([])
    if not folders:
        raise UsageError(
            "where should the prepared corpus go? Name a folder with --data or --out, or set SERBENCH_DATA"
        )
    if (folders[0] / METADATA).exists():
        raise UsageError(
            f"{folders[0]}: is a prepared corpus itself; name the folder for the new one with --data or --out"
        )
    target = folders[0] / name
    for other in folders[1:]:
        if (other / name / METADATA).exists() and not (target / METADATA).exists():
            raise UsageError(
                f"{other / name}: holds a corpus {name!r} already, and a second copy would go to {target}; to prepare it "
                f"there again add --data {other}, or name another folder with --data or --out"
            )
    return target


class _Bar(Watcher):
    """A bar on the terminal."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console(),
            transient=True,
        )
        self._task: TaskID | None = None
        self._last, self._waiting = 0.0, 0

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def stage(self, title: str, total: int) -> None:
        """Start a stage's bar."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task, self._waiting = self._progress.add_task(title, total=total or None), 0

    def step(self, steps: int) -> None:
        """Move the bar, ten times a second at most."""
        self._waiting += steps
        if self._task is not None and time.monotonic() - self._last > 0.1:
            self._progress.advance(self._task, self._waiting)
            self._last, self._waiting = time.monotonic(), 0


def _print_report(report: PrepareReport, folder: Path) -> None:
    out = console()
    shown = sorted(report.problems, key=lambda p: (not p.fault, p))[:PROBLEMS_SHOWN]
    if shown:
        rows = [
            ("fault" if p.fault else "known" if p.known else "note", p.kind, p.where, p.message)
            for p in shown
        ]
        print_table("", ("", "what", "where", "found"), rows)
        if len(report.problems) > len(shown):
            kinds = Counter(p.kind for p in report.problems)
            out.print(
                f"… {len(report.problems) - len(shown)} more; in all: {', '.join(f'{n} {k}' for k, n in sorted(kinds.items()))}"
            )
        out.print()
    found, promised = report.found, report.promised

    def against(have: object, want: object) -> str:
        return f"{have}" if want is None else f"{have} of {want}"

    out.print(
        f"{report.corpus}: {against(found.clips, promised.clips)} clips, {against(found.speakers, promised.speakers)} speakers, "
        f"{against(f'{found.hours:.2f}', promised.hours)} h; {_number(report.faults, 'fault')}, {_number(len(report.problems) - report.faults, 'note')}",
        soft_wrap=True,
    )
    if report.left_out:
        out.print(f"{report.left_out} listed clips were left out, as the card says", soft_wrap=True)
    out.print(f"prepared in {folder}; the whole report: {folder / REPORT}", soft_wrap=True)


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
