"""``serbench``: its commands, in the order in which ``--help`` names them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from bench.cli.commands import board, corpora, installation, planning, results, runs, stores, systems

app = typer.Typer(
    name="serbench",
    help="Benchmark of speech emotion recognition: one protocol, one scorer, intervals and tests that respect speakers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS: Sequence[Callable[..., None]] = (
    runs.run,
    runs.status,
    runs.merge,
    board.claims,
    installation.list_,
    runs.reparse,
    results.score,
    results.compare,
    planning.power,
    systems.train,
    systems.predict,
    results.report,
    results.figures,
    board.submit,
    systems.import_,
    systems.check,
    installation.doctor,
)
GROUPS = {
    "corpus": corpora.corpus_app,
    "leaderboard": board.board_app,
    "new": systems.new_app,
    "features": stores.features_app,
    "replies": stores.replies_app,
    "plan": planning.plan_app,
    "env": systems.env_app,
}
for _command in COMMANDS:
    app.command(_command.__name__.rstrip("_"))(_command)
for _name, _group in GROUPS.items():
    app.add_typer(_group, name=_name)


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
