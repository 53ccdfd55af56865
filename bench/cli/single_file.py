"""``serbench report --single-file``: a whole report in one file, for mail."""

from __future__ import annotations

from pathlib import Path

from bench.cli.printing import console
from bench.errors import UsageError

LARGE_FOR_MAIL = 10_000_000
"""Bytes above which many mail servers refuse an attachment."""


def report_as_one_file(
    run: Path, path: Path, data: tuple[Path, ...], against: Path | None, *, audio: bool, out: Path | None
) -> None:
    """Write a run's report into one file, and say how large it is.

    Args:
        run: folder of a run.
        path: the file.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        against: an earlier run to compare with; None: no such page.
        audio: players for missed clips were asked for, which one file cannot have.
        out: a folder of pages was asked for, which goes without the file.

    Raises:
        UsageError: ``audio`` or ``out`` was asked for as well.
    """
    from reports.pages.report import write_single_file

    if audio or out is not None:
        raise UsageError(
            "--single-file is for sending away: it has no players (--audio) and no folder (--out); give it alone"
        )
    size = write_single_file(run, path, data=data, against=against)
    large = (
        f"; many mail servers refuse so much, send a part of it (serbench report {run})"
        if size > LARGE_FOR_MAIL
        else ""
    )
    console().print(f"{path}: {size / 1e6:.1f} MB{large}", soft_wrap=True)
