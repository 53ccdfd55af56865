"""The task catalogue: a self-contained page, and the table of tasks for a Markdown page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from bench.cards.registry import system_card_files
from bench.errors import DataError
from bench.storage.atomic import write_text
from bench.tasks.catalogue import CatalogueEntry
from reports.formatting import VERIFIED, language_name
from reports.pages.templating import environment

SEEN = ("seen", "same corpus", "undisclosed", "unseen")
"""Contamination, worst first."""
MARKER = "tasks:catalogue"


def write_page(entries: Sequence[CatalogueEntry], path: Path) -> Path:
    """Write the catalogue as one HTML page that needs nothing else. The same entries give the same bytes."""
    write_text(path, page(entries))
    return path


def page(entries: Sequence[CatalogueEntry], home: str = "") -> str:
    """Render the catalogue, tasks by language; synthetic ones last. ``home`` is the title of the board it lies beside, if any."""

    def heading(e: CatalogueEntry) -> str:
        return "Synthetic" if e.synthetic else language_name(e.language)

    ordered = sorted(entries, key=lambda e: (e.synthetic, heading(e), e.name))
    groups = [(language, list(own)) for language, own in groupby(ordered, key=heading)]
    real = [e for e in entries if not e.synthetic]
    return (
        environment()
        .get_template("catalogue.html.j2")
        .render(
            groups=groups,
            home=home,
            real=real,
            languages=sorted({language_name(e.language) for e in real}),
            pools={e.pool for e in real},
            prepared=[e for e in real if e.prepared],
            levels=[(k, words, sum(e.verification == k for e in real)) for k, words in VERIFIED.items()],
            systems=sorted({s for e in entries for s in e.contamination}),
            by_status=by_status,
        )
    )


def by_status(contamination: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Systems by what they had met of a task, worst first.

    >>> by_status({"a": "unseen", "b": "seen"})
    [('seen', ['b']), ('unseen', ['a'])]
    """
    return [(s, own) for s in SEEN if (own := sorted(n for n, had in contamination.items() if had == s))]


def markdown_table(entries: Sequence[CatalogueEntry]) -> str:
    """Return one row per task, for a Markdown page; synthetic tasks are left out, and only models known to have met it are named."""
    lines = [
        "| task | language | clips | speakers | classes | dimensions | licence | access | verified by | seen in training by |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for e in entries:
        if e.synthetic:
            continue
        met = {_model(name) for name, had in e.contamination.items() if had in ("seen", "same corpus")}
        cells = (
            f"`{e.name}`",
            language_name(e.language),
            _number(e.clips),
            _number(e.speakers),
            str(len(e.labels) or "–"),
            "yes" if e.dimensions else "–",
            e.licence.replace("|", "/"),
            e.access,
            e.verification or "–",
            ", ".join(f"`{name}`" for name in sorted(met)) or "–",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _model(system: str) -> str:
    """Name a system's card file: its modes have one and the same training data."""
    files = [stem for stem in system_card_files() if system == stem or system.startswith(f"{stem}-")]
    return max(files, key=len, default=system)


def update_markdown(entries: Sequence[CatalogueEntry], path: Path) -> Path:
    """Renew the table between the markers ``<!-- tasks:catalogue -->`` of a Markdown file.

    Raises:
        DataError: the file has no such markers.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    marked = re.compile(rf"(<!-- {MARKER} -->\n).*?(<!-- /{MARKER} -->)", re.DOTALL)
    if not marked.search(text):
        raise DataError(
            f"{path}: has no lines <!-- {MARKER} --> and <!-- /{MARKER} --> to put the table between; add them where it should stand"
        )
    table = markdown_table(entries)
    write_text(path, marked.sub(lambda found: f"{found[1]}{table}{found[2]}", text))
    return path


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
