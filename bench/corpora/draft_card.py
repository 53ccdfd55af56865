"""Drafting a corpus card from what stands in a prepared folder: its label names, languages and dimension ranges."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.cards.corpus import CorpusCard, Scale, check_language
from bench.cards.labels import label_table
from bench.cards.registry import corpus_cards
from bench.cards.typed_yaml import parse_typed
from bench.corpora.metadata import number_of, read_rows
from bench.corpora.prepared import METADATA, card_of, folder_name
from bench.errors import UsageError
from bench.protocols import DIMENSIONS
from bench.storage.atomic import write_text

CARD_FILE = "card.yaml"
USUAL_SCALES: tuple[Scale, ...] = ((0, 1), (-1, 1), (1, 5), (1, 7), (1, 9))
"""Rating scales in use, tried in this order: the first that holds every value found is suggested."""


@dataclass(frozen=True)
class CardDraft:
    """The text of a card, the card it parses to, and the raw labels that nobody could map."""

    text: str
    card: CorpusCard
    unknown: tuple[str, ...]


def draft_card(folder: Path) -> CardDraft:
    """Draft the card of a prepared folder; with it, the folder's metadata can be read.

    Raw labels the label table does not know are mapped to null: such clips carry no category until the user says more.
    """
    name = folder_name(folder)[:80]
    header, rows = read_rows(folder / METADATA, CorpusCard(name=name))

    def cells(column: str) -> list[str]:
        return [value for row in rows if column in header and (value := (row[header[column]] or "").strip())]

    emotions = Counter(cells("emotion"))
    canonical = {raw: label_table().canonical(raw) for raw in sorted(emotions)}
    ranges = _ranges({d: cells(d) for d in DIMENSIONS})
    lines = [
        "# Drafted by `serbench corpus describe --new-card` from metadata.csv. Look it over, then delete the comments.",
        f"name: {name}",
        _languages_line(cells("language")),
        *_label_lines(canonical, emotions),
        *_scale_lines(ranges),
    ]
    text = "\n".join(lines) + "\n"
    card = parse_typed(text, f"the draft for {folder}", CorpusCard)
    return CardDraft(text, card, tuple(raw for raw, known in canonical.items() if known is None))


def write_draft(folder: Path, draft: CardDraft) -> Path:
    """Write a draft as the folder's card.

    Raises:
        UsageError: the folder has a card already, of its own or shipped under its name; none is ever overwritten.
    """
    own = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    if own:
        raise UsageError(f"{own[0]}: the folder has a card already, and none is overwritten; edit that one")
    if card_of(folder) is not None or draft.card.name in corpus_cards():
        raise UsageError(
            f"{folder}: the suite ships a card for a corpus called {draft.card.name!r}; if this is another corpus, "
            "rename its folder, then draft again"
        )
    path = folder / CARD_FILE
    write_text(path, draft.text)
    return path


def usual_scale(low: float, high: float) -> Scale:
    """Return the usual rating scale that holds a range, else the range rounded outwards to whole numbers.

    >>> usual_scale(1.4, 4.9), usual_scale(-0.3, 0.8), usual_scale(0.2, 87.5)
    ((1, 5), (-1, 1), (0, 88))
    """
    usual = next((s for s in USUAL_SCALES if s[0] <= low and high <= s[1]), None)
    return usual or (math.floor(low), max(math.ceil(high), math.floor(low) + 1))


def _ranges(values: Mapping[str, Sequence[str]]) -> dict[str, tuple[float, float]]:
    """Lowest and highest number of each dimension; cells that hold no number are left to the reader's own error."""
    found = {}
    for dimension, cells in values.items():
        numbers = [x for c in cells if (x := _number(c)) is not None]
        if numbers:
            found[dimension] = (min(numbers), max(numbers))
    return found


def _number(cell: str) -> float | None:
    try:
        value = number_of(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _languages_line(cells: Sequence[str]) -> str:
    tags = []
    for tag in sorted(set(cells)):
        try:
            check_language(tag)
        except ValueError:
            continue
        tags.append(tag)
    if tags:
        return f"languages: [{', '.join(map(_scalar, tags))}]"
    return "languages: []  # BCP 47, e.g. [ms]: then it stands for clips whose language cell is blank"


def _label_lines(canonical: Mapping[str, str | None], clips: Mapping[str, int]) -> list[str]:
    if not canonical:
        return []
    lines = ["labels:"]
    for raw, known in canonical.items():
        remark = f"  # {clips[raw]} clips; not in the label table: " if known is None else ""
        choice = "name one of the names below, or keep null to leave them out" if known is None else ""
        lines.append(f"  {_scalar(raw)}: {known or 'null'}{remark}{choice}")
    if None in canonical.values():
        lines.append(f"  # names: {', '.join(label_table().names)}")
    return lines


def _scale_lines(ranges: Mapping[str, tuple[float, float]]) -> list[str]:
    if not ranges:
        return []
    low, high = usual_scale(min(r[0] for r in ranges.values()), max(r[1] for r in ranges.values()))
    seen = ", ".join(f"{d} {a:g} to {b:g}" for d, (a, b) in ranges.items())
    return [f"scale: [{low:g}, {high:g}]  # a guess from {seen}: put the scale the listeners were given"]


def _scalar(text: str) -> str:
    """Write text so that YAML reads this very text (03, no and 1.0 need quotes)."""
    plain = re.fullmatch(r"[^\W\d_]+([ _-][^\W\d_]+)*", text) and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)
