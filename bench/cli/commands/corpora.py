"""Corpora: the group ``corpus``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Data, Json

corpus_app = typer.Typer(
    help="Prepare, check and describe corpora.", no_args_is_help=True, rich_markup_mode=None
)


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

    raise typer.Exit(
        preparing.prepare_corpus(
            corpus, source, data, out, unverified=unverified, workers=workers, as_json=json_
        )
    )


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
