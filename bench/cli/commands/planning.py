"""Before the data are touched: ``power`` and ``plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.options import Json, Results


def power(
    records: Annotated[
        Path | None,
        typer.Argument(
            help="Records that say how differences vary: a run, a publication, or a folder of publications. "
            "Without any, and without --between, typical values.",
            metavar="[RECORDS]",
        ),
    ] = None,
    difference: Annotated[float, typer.Option(help="The true difference to be seen, in points.")] = 3.0,
    power_: Annotated[float, typer.Option("--power", help="How surely, in per cent.")] = 80.0,
    metric: Annotated[Literal["ua", "wa", "macro_f1", "ccc"], typer.Option(help="What is compared.")] = "ua",
    pairs: Annotated[int, typer.Option(min=1, help="Pairs tested as one family (10 for five systems).")] = 1,
    level: Annotated[float, typer.Option(help="Level of the test, between 0.5 and 1.")] = 0.95,
    task: Annotated[str | None, typer.Option(help="One task of the records only.")] = None,
    systems: Annotated[
        tuple[str, str] | None, typer.Option(help="Two systems of the records only.", metavar="A B")
    ] = None,
    between: Annotated[
        float | None, typer.Option(help="Standard deviation of speakers' true differences, in points.")
    ] = None,
    within: Annotated[float | None, typer.Option(help="What one clip adds to it, in points.")] = None,
    training: Annotated[
        float | None,
        typer.Option(help="What one training adds to a system's score, in points; 0: these weights."),
    ] = None,
    clips: Annotated[list[float] | None, typer.Option(help="Clips of each speaker (repeatable).")] = None,
    seeds: Annotated[list[int] | None, typer.Option(help="Trainings of each system (repeatable).")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the power into this file.", metavar="FILE.svg")
    ] = None,
    json_: Json = False,
) -> None:
    """How many speakers, clips and seeds it takes to see a difference: before the data are collected."""
    from bench.cli import power as planning

    query = planning.PowerQuery(
        records, metric, difference, power_ / 100, pairs, level, task, systems, between, within, training,
        tuple(clips or planning.CLIPS), tuple(seeds or planning.SEEDS),
    )  # fmt: skip
    planning.plan_power(query, plot=plot, as_json=json_)


plan_app = typer.Typer(help="Write plans down first.", no_args_is_help=True, rich_markup_mode=None)


@plan_app.callback()
def _plan() -> None:
    """Keep the word ``register``: a group of one command would swallow it."""


@plan_app.command()
def register(
    matrix: Annotated[
        str, typer.Argument(help="A matrix by name (serbench list matrices), or the path of a .yaml file.")
    ],
    results: Results = Path("results"),
    json_: Json = False,
) -> None:
    """Write a matrix with its analysis plan into RESULTS/plans, to be committed before the data are touched."""
    from bench.cli import plans

    plans.register(matrix, results, as_json=json_)
