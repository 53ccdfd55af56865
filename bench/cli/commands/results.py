"""Reading what a run says: ``score``, ``compare``, ``report``, ``figures``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Data, ItemLevel, Json, RunPath, ScoredPath, SourceFolder


def score(
    run: ScoredPath,
    slices: Annotated[
        bool,
        typer.Option("--slices", help="Also by gender, duration, emotion, speaker, language and condition."),
    ] = False,
    source: SourceFolder = "records",
    data: Data = None,
    item_level: ItemLevel = False,
    json_: Json = False,
) -> None:
    """Print scores with intervals: UA, WA, macro-F1 per task and view, CCC per dimension; everything is computed again."""
    from bench.cli.results import scores
    from bench.cli.results.query import ResultsQuery

    query = ResultsQuery(run, source, tuple(data or ()), item_level)
    scores.score(query, slices=slices, as_json=json_)


def compare(
    run: ScoredPath,
    a: Annotated[str, typer.Argument(help="A system of the run.")],
    b: Annotated[str, typer.Argument(help="Another.")],
    task: Annotated[str | None, typer.Option(help="One task only.")] = None,
    source: SourceFolder = "records",
    data: Data = None,
    item_level: ItemLevel = False,
    json_: Json = False,
) -> None:
    """Test the difference of two systems on the same clips: interval, p, adjusted p, verdict."""
    from bench.cli.results import comparison
    from bench.cli.results.query import ResultsQuery

    query = ResultsQuery(run, source, tuple(data or ()), item_level)
    comparison.compare(query, a, b, task, as_json=json_)


def report(
    run: RunPath,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder (default RUN/report).")] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            help="Also write the scores there as CSV, JSON, Parquet, LaTeX, model-index YAML and BibTeX."
        ),
    ] = None,
    data: Data = None,
    audio: Annotated[
        bool,
        typer.Option(
            "--audio",
            help="Players for clips, from this machine's files, and pictures of their sound; not for publication.",
        ),
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(
            help="An earlier run of the same systems: a page says which scores moved.", metavar="RUN"
        ),
    ] = None,
    single_file: Annotated[
        Path | None,
        typer.Option(
            "--single-file", help="Write the whole report into this one file, for mail.", metavar="FILE.html"
        ),
    ] = None,
) -> None:
    """Render the HTML report of a run."""
    if single_file is not None:
        from bench.cli import single_file as mail

        mail.report_as_one_file(run, single_file, tuple(data or ()), against, audio=audio, out=out)
    else:
        from reports.pages.report import write_report

        typer.echo(
            write_report(run, out or run / "report", data=tuple(data or ()), audio=audio, against=against)
        )
    if export is not None:
        from bench.cli import leaderboard

        leaderboard.export(run, export)


def figures(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|RESULTS", help="The folder of a run, of published records, or of a board."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder (default RUN/figures; figures for what is published)."),
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help="pdf, svg, png, with commas (default: all).", metavar="LIST")
    ] = "",
    kind: Annotated[
        str,
        typer.Option(
            help="forest, ranks, critical-difference, languages, confusions, robustness, cost, speed, calibration, with commas (default: all).",
            metavar="LIST",
        ),
    ] = "",
    columns: Annotated[
        str, typer.Option(help="Columns of a page to fill: 1 (3.3 in), 2 (7 in) or 1,2.", metavar="LIST")
    ] = "1,2",
    json_: Json = False,
) -> None:
    """Figures for papers, each with its numbers as CSV and its caption in LaTeX."""
    from bench.cli.figures import draw
    from reports.figures.writing import FigureChoice

    draw(run, out, FigureChoice.parse(kind, format_, columns), as_json=json_)
