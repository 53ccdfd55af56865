"""Options that several commands share, in one wording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Data = Annotated[
    list[Path] | None,
    typer.Option(
        "--data", help="A folder of prepared corpora, or one such corpus (repeatable; else SERBENCH_DATA)."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Results = Annotated[Path, typer.Option("--results", help="The folder of published records.")]
RunPath = Annotated[Path, typer.Argument(help="The folder of a run.")]
ScoredPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="The folder of a run, or of published records.")
]
SourceFolder = Annotated[
    Literal["records", "tables"],
    typer.Option(
        "--from",
        help="Compute from the statistics inside records, or from prediction tables and the labels of prepared corpora.",
    ),
]
ItemLevel = Annotated[
    bool,
    typer.Option(
        "--item-level", help="Take clips as independent (reads tables); too sure where speakers repeat."
    ),
]
BuildEnvironments = Annotated[
    bool,
    typer.Option(
        "--build-environments",
        help="Build the environments that system cards ask for (requirements); without it, only serbench env build does.",
    ),
]
