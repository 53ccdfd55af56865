"""``serbench figures``: figures for papers from a run, a publication, or the whole board."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.printing import console, print_json
from bench.errors import DataError

if TYPE_CHECKING:
    from reports.figures.material import Material
    from reports.figures.writing import FigureChoice


def draw(path: Path, out: Path | None, choice: FigureChoice, *, as_json: bool) -> None:
    """Write figures and say how many; what is missing and why goes to standard error.

    Args:
        path: folder of a run, of published records, or of a board.
        out: folder of the figures; None: ``figures`` in a run, here for what is published.
        choice: kinds, formats and widths.
        as_json: print JSON instead of lines.

    Raises:
        UsageError: the folder is none of these.
        DataError: it holds no record yet, or a published record is refused.
    """
    from reports.figures.writing import write_figures

    material = _material(path)
    if not material.records:
        raise DataError(f"{path}: holds no record yet; let serbench run finish a system on a task first")
    written = write_figures(material, out or _usual_folder(path), choice)
    for note in written.notes:
        print(note, file=sys.stderr)
    if as_json:
        print_json({"files": [str(p) for p in written.files], "notes": list(written.notes)})
    else:
        for kind, number in written.kinds:
            console().print(f"{kind}: {number} figure{'' if number == 1 else 's'}")
        if written.files:
            console().print(
                f"{len(written.files)} files in {written.files[0].parent}, each figure with its numbers (.csv) and its caption (.tex)",
                soft_wrap=True,
            )


def _usual_folder(path: Path) -> Path:
    """Beside a run's records; nothing is written into what is published."""
    from bench.storage.run_folder import RunFolder

    return path / "figures" if RunFolder(path).journal.exists() else Path("figures")


def _material(path: Path) -> Material:
    """Read and check what is to be drawn: a run with its times, published records, or a board under its plan."""
    from bench.scoring.rescoring import rescore
    from bench.storage.run_folder import RunFolder
    from reports.data.run_data import read_run_data
    from reports.figures.material import Material

    if (path / "board.yaml").is_file():
        return _of_board(path)
    checked = rescore(path)
    if replaced := sum(bool(c.note) for c in checked):
        print(
            f"{replaced} of {len(checked)} records were scored by an earlier version: intervals and the like were computed again by this one"
            f" (serbench score {path} names the records)",
            file=sys.stderr,
        )
    records = [c.record for c in checked]
    work = read_run_data(path).work if records and RunFolder(path).journal.exists() else {}
    return Material.of(records, work)


def _of_board(path: Path) -> Material:
    from bench.cli.leaderboard import checked_folder, require_sound
    from bench.leaderboard import Board, validate
    from reports.figures.material import Material
    from reports.pages.board import published_run

    board = Board(path)
    found = validate(board, cache=checked_folder())
    require_sound(found)
    return Material.of(published_run(found, board.rules).records)
