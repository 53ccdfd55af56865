"""What is at hand, and what is wrong with it: ``list`` and ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.options import Data, Json


def list_(
    what: Annotated[
        Literal["systems", "tasks", "corpora", "matrices", "runs"], typer.Argument(help="What to list.")
    ],
    data: Data = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="With tasks: write the task catalogue as a page.")
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", help="With tasks: renew the table of tasks in this Markdown file."),
    ] = None,
    json_: Json = False,
) -> None:
    """List systems, tasks, corpora, matrices or runs."""
    from bench.cli import listing

    if html is not None or markdown is not None:
        listing.write_catalogue(what, tuple(data or ()), html=html, markdown=markdown)
        return
    listing.show(what, tuple(data or ()), as_json=json_)


def doctor(
    data: Data = None,
    systems: Annotated[
        bool,
        typer.Option(
            "--systems", help="Import everything, resolve every system as a run does, and name each."
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Say what is wrong, what is missing, and the command that mends it; then what is installed."""
    from bench.cli import doctor

    raise typer.Exit(doctor.diagnose(tuple(data or ()), thorough=systems, as_json=json_))
