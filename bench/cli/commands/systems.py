"""Systems, one at a time: ``train``, ``predict``, ``import``, ``check``, and the groups ``new`` and ``env``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.options import BuildEnvironments, Data, Json


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


new_app = typer.Typer(help="Start something of your own.", no_args_is_help=True, rich_markup_mode=None)


@new_app.callback()
def _new() -> None:
    """Keep the word ``adapter``: a group of one command would swallow it."""


@new_app.command()
def adapter(
    name: Annotated[str, typer.Argument(help="Name of the system, like my-model.")],
    into: Annotated[Path, typer.Option(help="Folder that it is written into.")] = Path(),
    kind: Annotated[
        Literal["classifier", "encoder", "audio-lm"],
        typer.Option(
            help="classifier: fits and answers; encoder: frozen layers under a probe; audio-lm: asked through a server."
        ),
    ] = "classifier",
    json_: Json = False,
) -> None:
    """Write a working skeleton of a system with its card and its test."""
    from bench.cli.new_adapter import new_adapter
    from bench.cli.printing import console, print_json

    paths = new_adapter(name, into, kind)
    if json_:
        print_json([str(p) for p in paths])
    else:
        console().print("\n".join(map(str, paths)), soft_wrap=True)
        console().print(f"try it: cd {into / name} && pip install -e . && pytest", soft_wrap=True)


env_app = typer.Typer(
    help="Environments of systems whose card names requirements.", no_args_is_help=True, rich_markup_mode=None
)


@env_app.callback()
def _env() -> None:
    """Keep the word ``build``: a group of one command would swallow it."""


@env_app.command("build")
def build_environment(
    system: Annotated[str, typer.Argument(help="A system by name, or the path of its card.")],
    json_: Json = False,
) -> None:
    """Fetch and install what a system's requirements file pins, into an environment of its own in the cache."""
    from bench.cli import environments

    environments.build(system, as_json=json_)
