"""What is published: ``claims``, ``submit`` and the group ``leaderboard``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Data, Json, Results, RunPath


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


board_app = typer.Typer(
    help="Publish runs, check what is published, build the board.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


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
