"""What is kept so that it is not computed or asked twice: the groups ``features`` and ``replies``."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli.options import Data, Json

features_app = typer.Typer(
    help="Look after stored encoder output: why, verify, gc.", no_args_is_help=True, rich_markup_mode=None
)


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


replies_app = typer.Typer(
    help="Look after stored replies of Audio-LLMs: list, forget.", no_args_is_help=True, rich_markup_mode=None
)


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
