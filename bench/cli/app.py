"""The commands of ``serbench``; what they do lies in modules that are imported when a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.groups import board_app, corpus_app, env_app, features_app, new_app, plan_app, replies_app
from bench.cli.options import (
    BuildEnvironments,
    Data,
    ItemLevel,
    Json,
    Results,
    RunPath,
    ScoredPath,
    SourceFolder,
)

app = typer.Typer(
    name="serbench",
    help="Benchmark of speech emotion recognition: one protocol, one scorer, intervals and tests that respect speakers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(corpus_app, name="corpus")
app.add_typer(board_app, name="leaderboard")
app.add_typer(new_app, name="new")
app.add_typer(features_app, name="features")
app.add_typer(replies_app, name="replies")
app.add_typer(plan_app, name="plan")
app.add_typer(env_app, name="env")


def _print_version(wanted: bool) -> None:
    if wanted:
        from bench.storage.provenance import code_version

        typer.echo(code_version())
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Take the options that stand before any command."""


@app.command()
def run(
    matrix: Annotated[
        str, typer.Argument(help="A matrix by name (serbench list matrices), or the path of a .yaml file.")
    ],
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder (default runs/<matrix>).")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Keep a part: system=…,task=…,protocol=… (patterns allowed; repeatable)."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="SYSTEM:key=value, a parameter of a system card (repeatable)."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="Worker processes (default: one per GPU, else per core).")
    ] = None,
    batch_seconds: Annotated[
        float | None,
        typer.Option(
            help="Seconds of audio an encoder gets at a time (default: by the device's free memory).", min=0.1
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(help="At most so many clips per task; such records cannot be published.", min=1),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(help="Stop asking a paid model when its replies on a task cost this much.", min=0),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="Compute one part of the matrix, i/n; serbench merge puts the parts together."),
    ] = None,
    executor: Annotated[
        Literal["local", "ray"], typer.Option(help="Processes of this machine, or a Ray cluster.")
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(help="Of the Ray cluster (default: this machine's, else a cluster of its own)."),
    ] = None,
    shared_files: Annotated[
        bool,
        typer.Option(
            "--shared-files/--no-shared-files",
            help="Whether the nodes of the cluster see this machine's files under the same paths.",
        ),
    ] = True,
    exchange: Annotated[
        str | None,
        typer.Option(
            help="Where they do not: an address that all reach, by which files travel (s3://bucket/folder; default: Ray's object store)."
        ),
    ] = None,
    job_timeout: Annotated[
        float | None, typer.Option(help="Seconds after which a job is stopped and fails.", min=1)
    ] = None,
    worker_memory: Annotated[
        float | None,
        typer.Option(help="GiB that a worker may use with all it starts, before it is stopped.", min=0.1),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Also try again what failed of itself, not for a server, a machine or memory.",
        ),
    ] = False,
    build_environments: BuildEnvironments = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and how long it would take.")
    ] = False,
    rows: Annotated[
        bool, typer.Option("--rows", help="With --dry-run: every system on every task, and every reason.")
    ] = False,
    price_per_gpu_hour: Annotated[
        float | None,
        typer.Option(help="With --dry-run: what an hour of a GPU costs, to say what the run would.", min=0),
    ] = None,
    json_: Json = False,
) -> None:
    """Run a matrix, or go on with it: nothing that is finished is computed twice."""
    from bench.cli import forecasting, running
    from bench.errors import UsageError
    from bench.execution.executors.interface import WorkerLimits
    from bench.execution.planning.shards import parse_shard
    from bench.execution.prepared_run import RunSettings

    settings = RunSettings(
        matrix=matrix,
        data=tuple(data or ()),
        out=out,
        only=running.parse_only(only or []),
        settings=running.parse_settings(set_ or []),
        device=device,
        workers=workers,
        batch_seconds=batch_seconds,
        limit=limit,
        max_cost=max_cost,
        executor=executor,
        ray_address=ray_address,
        shared_files=shared_files,
        exchange=exchange,
        limits=WorkerLimits(job_timeout, None if worker_memory is None else worker_memory * 2**30),
        shard=None if shard is None else parse_shard(shard),
        retry_failed=retry_failed,
    )
    if not dry_run and (rows or price_per_gpu_hour is not None):
        raise UsageError("--rows and --price-per-gpu-hour are for --dry-run: add it, or leave them out")
    try:
        if dry_run:
            code = forecasting.dry_run(settings, rows=rows, price=price_per_gpu_hour, as_json=json_)
        else:
            if build_environments:
                from bench.cli import environments

                environments.build_for(settings)
            code = running.run(settings, as_json=json_)
    except KeyboardInterrupt:  # caught here: Typer would end without a word
        typer.echo("stopped; what is finished is kept, the same command goes on from there", err=True)
        code = 130
    raise typer.Exit(code)


@app.command()
def status(
    run: RunPath,
    every: Annotated[
        float | None,
        typer.Option(
            help="Look again after so many seconds, until the run ends.", min=0.5, metavar="SECONDS"
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print a line of JSON.")] = False,
) -> None:
    """How far a run is, what its workers do, what failed and what is blocked: of one that runs, was killed, or has ended."""
    from bench.cli import status as looking

    try:
        looking.show_status(run, every=every, as_json=json_)
    except KeyboardInterrupt:  # of who watches; the run goes on
        raise typer.Exit(130) from None


@app.command()
def merge(
    runs: Annotated[list[Path], typer.Argument(help="The folders of all shards.", metavar="RUN…")],
    out: Annotated[Path, typer.Option(help="The folder of the run that they become.")],
    data: Data = None,
    json_: Json = False,
) -> None:
    """Put the shards of a matrix together (serbench run --shard i/n), and score them as one run."""
    from bench.cli import running

    raise typer.Exit(running.merge(runs, out, tuple(data or ()), as_json=json_))


@app.command()
def claims(
    results: Results = Path("results"),
    check: Annotated[
        bool,
        typer.Option("--check", help="Fail where a page says what no record holds, or a record contradicts."),
    ] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Write the blocks of README and docs from the records.")
    ] = False,
    json_: Json = False,
) -> None:
    """Derive every headline sentence from all published records, studies among them."""
    from bench.cli import claims

    raise typer.Exit(claims.claims(results, check=check, write=write, as_json=json_))


@app.command("list")
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


@app.command()
def reparse(run: RunPath, data: Data = None, json_: Json = False) -> None:
    """Read a run's stored Audio-LLM replies again with today's parser, without any server, and score them."""
    from bench.cli import running

    raise typer.Exit(running.reparse(run, tuple(data or ()), as_json=json_))


@app.command()
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
    from bench.cli import results

    query = results.ResultsQuery(run, source, tuple(data or ()), item_level)
    results.score(query, slices=slices, as_json=json_)


@app.command()
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
    from bench.cli import results

    query = results.ResultsQuery(run, source, tuple(data or ()), item_level)
    results.compare(query, a, b, task, as_json=json_)


@app.command()
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


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="What to train: a .yaml file (docs/proposed_model.md).")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder (default trained/CONFIG).")] = None,
    data: Data = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "cpu",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it will take.")] = False,
    as_json: Json = False,
) -> None:
    """Train the proposed model, or an Audio-LLM, on whole tasks and keep it, as a folder that is a system; or go on with it."""
    from bench.cli import train_predict

    if dry_run:
        raise typer.Exit(train_predict.forecast(config, data=tuple(data or ()), as_json=as_json))
    raise typer.Exit(
        train_predict.train(config, out=out, data=tuple(data or ()), device=device, as_json=as_json)
    )


@app.command()
def predict(
    system: Annotated[str, typer.Argument(help="A system by name, or the path of its card.")],
    audio: Annotated[list[Path], typer.Argument(help="Audio files of any format and length.")],
    trained_on: Annotated[
        list[str] | None,
        typer.Option("--trained-on", help="A task to learn from first (repeatable); for systems that learn."),
    ] = None,
    view: Annotated[
        Literal["seven", "four"], typer.Option(help="Labels to choose from, where the system is free to.")
    ] = "seven",
    data: Data = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "cpu",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Any system on unlabelled audio."""
    from bench.cli import train_predict

    raise typer.Exit(
        train_predict.predict(
            system,
            audio,
            trained_on=tuple(trained_on or ()),
            view=view,
            data=tuple(data or ()),
            device=device,
            seed=seed,
            as_json=as_json,
        )
    )


@app.command()
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
        from bench.cli import results

        results.report_as_one_file(run, single_file, tuple(data or ()), against, audio=audio, out=out)
    else:
        from reports.pages.report import write_report

        typer.echo(
            write_report(run, out or run / "report", data=tuple(data or ()), audio=audio, against=against)
        )
    if export is not None:
        from bench.cli import leaderboard

        leaderboard.export(run, export)


@app.command()
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


@app.command()
def submit(
    run: RunPath,
    by: Annotated[
        str,
        typer.Option("--as", help="Who sends it; goes before the names of your systems.", metavar="OWNER"),
    ],
    results: Results = Path("results"),
    name: Annotated[str | None, typer.Option(help="Name of the publication (default: OWNER-MATRIX).")] = None,
    only: Annotated[
        str, typer.Option(help="Send a part: system=…,task=…,protocol=…,condition=… (patterns allowed).")
    ] = "",
    link: Annotated[str, typer.Option(help="Where more is told of it (https).", metavar="URL")] = "",
    data: Data = None,
    json_: Json = False,
) -> None:
    """Put a run's own records on the board of this checkout, checked as the board will check them, and say what is left to do."""
    from bench.cli import leaderboard

    leaderboard.send(run, results, by, name=name, only=only, link=link, data=tuple(data or ()), as_json=json_)


@app.command("import")
def import_(
    run: Annotated[Path | None, typer.Argument(help="The folder of a run.")] = None,
    table: Annotated[
        Path | None, typer.Argument(help="Predictions: .csv, .tsv, .json, .jsonl or .parquet.")
    ] = None,
    system: Annotated[Path | None, typer.Option("--system", help="The system's card (.yaml).")] = None,
    task: Annotated[
        str | None, typer.Option(help="The task (default: the one that has these clips).")
    ] = None,
    protocol: Annotated[
        Literal["within", "zero-shot"] | None,
        typer.Option(help="Default: zero-shot for a released system, else within."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns", help="Which column is which, theirs first: file=clip_id,emotion=label (repeatable)."
        ),
    ] = None,
    map_labels: Annotated[
        list[str] | None,
        typer.Option(
            "--map-labels",
            help="What labels mean: 0=angry,1=happy; none=unparsed for no answer (repeatable).",
        ),
    ] = None,
    missing: Annotated[
        Literal["refuse", "failed"],
        typer.Option(help='What becomes of clips without a row, and of cells that say "None" or NaN.'),
    ] = "refuse",
    template: Annotated[
        str | None, typer.Option("--template", help="Write the table to fill for this task.", metavar="TASK")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="With --template: the file (default TASK.csv; - prints it)."),
    ] = None,
    data: Data = None,
    json_: Json = False,
) -> None:
    """Bring predictions that were made elsewhere into a run: checked, scored like any other, and marked."""
    from bench.cli import importing
    from bench.execution.imports.columns import parse_columns, parse_labels
    from bench.execution.imports.rows import ReadingRules

    folders = tuple(data or ())
    if template is not None:
        importing.write_import_template(template, out, protocol, folders, as_json=json_)
        return
    request = importing.ImportRequest(run, table, system, task, protocol, folders)
    rules = ReadingRules(parse_columns(columns or []), parse_labels(map_labels or []), missing)
    importing.import_predictions(request, rules, as_json=json_)


@app.command()
def check(
    system: Annotated[str, typer.Argument(help="A system by name, or the path of its card.")],
    build_environments: BuildEnvironments = False,
    json_: Json = False,
) -> None:
    """Run the adapter contract test on a system: small synthetic corpora, short and odd clips, determinism."""
    from bench.cli import checking

    if build_environments:
        from bench.cli import environments

        environments.build_if_asked_for(system)
    raise typer.Exit(checking.check(system, as_json=json_))


@app.command()
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
