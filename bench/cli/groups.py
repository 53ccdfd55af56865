"""Commands that come in groups: ``corpus``, ``leaderboard``, ``new``, ``features``, ``replies``, ``plan``, ``env``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.options import Data, Json, Results, RunPath

corpus_app = typer.Typer(
    help="Prepare, check and describe corpora.", no_args_is_help=True, rich_markup_mode=None
)
board_app = typer.Typer(
    help="Publish runs, check what is published, build the board.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
new_app = typer.Typer(help="Start something of your own.", no_args_is_help=True, rich_markup_mode=None)


@new_app.callback()
def _new() -> None:
    """Keep the word ``adapter``: a group of one command would swallow it."""


features_app = typer.Typer(
    help="Look after stored encoder output: why, verify, gc.", no_args_is_help=True, rich_markup_mode=None
)
replies_app = typer.Typer(
    help="Look after stored replies of Audio-LLMs: list, forget.", no_args_is_help=True, rich_markup_mode=None
)


plan_app = typer.Typer(help="Write plans down first.", no_args_is_help=True, rich_markup_mode=None)


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


@corpus_app.command()
def prepare(
    corpus: Annotated[
        str,
        typer.Argument(
            help="A corpus by its card's name, the path of a card (.yaml), or a download with a card in it."
        ),
    ],
    source: Annotated[
        Path | None,
        typer.Option(
            help="The owner's download: a folder or an archive (open corpora are fetched without it)."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="The folder that holds prepared corpora (else SERBENCH_DATA)."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The corpus's own folder (default DATA/NAME).")] = None,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Prepare by a layout that was never checked on files.")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="Processes (default: one per core).", min=1)] = None,
    json_: Json = False,
) -> None:
    """Turn the owner's download into a prepared corpus, with a report of what was found against what is promised."""
    from bench.cli import preparing

    try:
        code = preparing.prepare_corpus(
            corpus, source, data, out, unverified=unverified, workers=workers, as_json=json_
        )
    except KeyboardInterrupt:
        typer.echo("stopped; what is finished is kept, the same command goes on from there", err=True)
        code = 130
    raise typer.Exit(code)


@corpus_app.command()
def describe(
    corpus: Annotated[str, typer.Argument(help="A corpus by name, or a prepared folder.")],
    data: Data = None,
    new_card: Annotated[bool, typer.Option("--new-card", help="Draft a card into the folder.")] = False,
    json_: Json = False,
) -> None:
    """Count clips, speakers, labels and minutes of a prepared corpus, or draft its card."""
    from bench.cli import corpora

    corpora.describe(corpus, tuple(data or ()), new_card=new_card, as_json=json_)


@corpus_app.command()
def verify(
    corpus: Annotated[str, typer.Argument(help="A corpus by name, or a prepared folder.")],
    data: Data = None,
    json_: Json = False,
) -> None:
    """Decode every clip again and compare with what the suite knows: changed, missing, unreadable files by name."""
    from bench.cli import corpora

    raise typer.Exit(corpora.verify(corpus, tuple(data or ()), as_json=json_))


@corpus_app.command()
def names(
    corpus: Annotated[str, typer.Argument(help="A corpus by name, or a prepared folder.")],
    data: Data = None,
    json_: Json = False,
) -> None:
    """Print what each clip and speaker is called in published tables, as CSV: holders of the audio alone can make it."""
    from bench.cli import corpus_names

    corpus_names.print_names(corpus, tuple(data or ()), as_json=json_)


@board_app.command()
def add(
    run: RunPath,
    results: Results = Path("results"),
    name: Annotated[str | None, typer.Option(help="Name of the publication (default: the matrix's).")] = None,
    tables: Annotated[
        bool, typer.Option("--tables/--no-tables", help="With the prediction tables, or without.")
    ] = True,
    only: Annotated[
        str, typer.Option(help="Publish a part: system=…,task=…,protocol=…,condition=… (patterns allowed).")
    ] = "",
    owner: Annotated[
        str | None,
        typer.Option(
            "--as", help="Whose systems these are; not needed for the suite's own.", metavar="OWNER"
        ),
    ] = None,
    attest_as: Annotated[
        str | None,
        typer.Option(
            help="Vouch for the labels under this name, where the corpora are at hand.", metavar="NAME"
        ),
    ] = None,
    data: Data = None,
    json_: Json = False,
) -> None:
    """Publish a run's records, with their statistics and prediction tables; what stands there already is skipped."""
    from bench.cli import leaderboard

    leaderboard.add(
        run,
        results,
        name,
        tables=tables,
        only=only,
        owner=owner,
        attest_as=attest_as,
        data=tuple(data or ()),
        as_json=json_,
    )


@board_app.command("attest")
def attest_(
    by: Annotated[str, typer.Option("--as", help="Who vouches, as board.yaml may list him.", metavar="NAME")],
    records: Annotated[
        list[str] | None,
        typer.Argument(
            help="NAME/RECORD, or names of publications (all whose corpus is at hand unless given)."
        ),
    ] = None,
    results: Results = Path("results"),
    data: Data = None,
    json_: Json = False,
) -> None:
    """Count published records again from their tables and your copy of the corpus, and vouch for those that hold."""
    from bench.cli import leaderboard

    leaderboard.vouch(tuple(records or ()), results, by, tuple(data or ()), as_json=json_)


@board_app.command()
def convert(results: Results = Path("results"), data: Data = None, json_: Json = False) -> None:
    """Bring publications of earlier versions to the present schema, while their corpora are at hand."""
    from bench.cli import converting

    raise typer.Exit(converting.convert_publications(results, tuple(data or ()), as_json=json_))


@board_app.command("validate")
def validate_(results: Results = Path("results"), data: Data = None, json_: Json = False) -> None:
    """Refuse what is incomplete or was edited by hand, and say of each record what was checked."""
    from bench.cli import leaderboard

    raise typer.Exit(leaderboard.check(results, tuple(data or ()), as_json=json_))


@board_app.command()
def retract(
    record: Annotated[str, typer.Argument(help="NAME/RECORD, as validate lists them.")],
    why: Annotated[str, typer.Option(help="The reason, which the board shows.")],
    results: Results = Path("results"),
    json_: Json = False,
) -> None:
    """Mark a record as withdrawn; it is kept and shown with its reason."""
    from bench.cli import leaderboard

    leaderboard.take_back(record, results, why, as_json=json_)


@board_app.command()
def build(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the site.")] = Path("board"),
    results: Results = Path("results"),
    data: Data = None,
    json_: Json = False,
) -> None:
    """Build the board as a static site, with its exports; nothing is built when something is refused."""
    from bench.cli import leaderboard

    leaderboard.build(results, out, tuple(data or ()), as_json=json_)


@board_app.command()
def history(
    system: Annotated[str, typer.Argument(help="A system by name.")],
    task: Annotated[str, typer.Argument(help="A task by name.")],
    results: Results = Path("results"),
    json_: Json = False,
) -> None:
    """List every value that was published for a system on a task: board, studies, superseded and retracted records."""
    from bench.cli import claims

    claims.history(system, task, results, as_json=json_)


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


@features_app.command()
def why(
    system: Annotated[str, typer.Argument(help="A system by name, or the path of its card.")],
    task: Annotated[
        str | None, typer.Argument(help="A task; every task of the corpora at hand unless given.")
    ] = None,
    data: Data = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="SYSTEM:key=value, as in serbench run (repeatable).")
    ] = None,
    json_: Json = False,
) -> None:
    """Say what a system's stored features are found by, and why they are or are not there."""
    from bench.cli import features, running

    settings = running.parse_settings(set_ or [])
    raise typer.Exit(features.why(system, task, tuple(data or ()), settings, as_json=json_))


@features_app.command("verify")
def verify_features(
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Also encode the clips at hand once more, and compare with what is stored."
        ),
    ] = False,
    system: Annotated[
        list[str] | None,
        typer.Option(
            "--system", help="With --deep: this system alone, by name or the path of its card (repeatable)."
        ),
    ] = None,
    data: Data = None,
    device: Annotated[str, typer.Option(help="With --deep: auto, cpu, cuda or cuda:N.")] = "auto",
    json_: Json = False,
) -> None:
    """Read every stored shard again and name those that are damaged; with --deep, compare with the audio itself."""
    from bench.cli import features

    if not deep and system:
        from bench.errors import UsageError

        raise UsageError("--system goes with --deep: without it every shard is read, whosever it is")
    if not deep:
        raise typer.Exit(features.verify_store(as_json=json_))
    raise typer.Exit(features.verify_deep(system or (), data or (), device=device, as_json=json_))


@features_app.command()
def gc(
    card: Annotated[
        list[str] | None,
        typer.Option(
            "--card", help="Also keep what this system needs: a name or the path of a card (repeatable)."
        ),
    ] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove it; without this it is only listed.")
    ] = False,
    json_: Json = False,
) -> None:
    """List what no shipped or given card reaches, and damaged files; remove them with --delete."""
    from bench.cli import features

    raise typer.Exit(features.gc(tuple(card or ()), delete=delete, as_json=json_))


@replies_app.command("list")
def list_(
    system: Annotated[
        str | None, typer.Argument(help="An Audio-LLM by name, or the path of its card; all unless given.")
    ] = None,
    json_: Json = False,
) -> None:
    """Count stored replies by model, and say which of them are of no use and why."""
    from bench.cli import replies

    raise typer.Exit(replies.list_replies(system, as_json=json_))


@replies_app.command()
def forget(
    system: Annotated[str, typer.Argument(help="An Audio-LLM by name, or the path of its card.")],
    unusable: Annotated[
        bool, typer.Option("--unusable", help="Those of no use, as serbench replies list counts them.")
    ] = False,
    containing: Annotated[
        str | None, typer.Option("--containing", help="Those whose words hold this text.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of the model's, which its systems share.")] = False,
    json_: Json = False,
) -> None:
    """Remove stored replies, so that they are asked for again."""
    from bench.cli import replies
    from bench.errors import UsageError

    given = {"unusable": unusable, "containing": bool(containing), "all": all_}
    chosen = [name for name, wanted in given.items() if wanted]
    if len(chosen) != 1:
        raise UsageError(
            "serbench replies forget: say which with one of --unusable, --containing TEXT, --all"
        )
    raise typer.Exit(replies.forget_replies(system, which=chosen[0], containing=containing, as_json=json_))
