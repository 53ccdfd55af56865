"""Listeners' answers: columns of counts, one row per listener, or ratings to be averaged."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.cards.corpus_layout import fill
from bench.corpora.preparation.problems import PreparationProblem
from bench.corpora.preparation.tables import TableRow
from bench.protocols import DIMENSIONS

if TYPE_CHECKING:
    from bench.cards.corpus_layout import Join, Part


def votes_and_ratings(
    spec: Part | Join, rows: Sequence[TableRow], problems: list[PreparationProblem], where: str
) -> TableRow:
    """Return the columns ``soft_votes`` and ratings that a part or join makes of a clip's rows.

    Args:
        spec: with ``votes``, ``tally`` and ``ratings``.
        rows: one per listener, or one for all.
        problems: what cells that hold no number are added to.
        where: how such a problem names the clip.

    Returns:
        The columns; a rating is the mean over rows and columns, blank where nobody rated. With ``single``, the dimensions' ratings
        stand one by one in ``ratings``, too.
    """
    found: TableRow = {}
    counts: Counter[str] = Counter()
    for label, column in spec.votes.items():
        for row in rows:
            number = _number(fill(column, row), problems, f"{where}: {column}")
            if number:
                counts[label] += number  # type: ignore[assignment]
    for column in spec.tally:
        counts.update(answer for row in rows if (answer := fill(column, row)))
    if spec.votes or spec.tally:
        found["soft_votes"] = dump_votes(counts)
    single: dict[str, list[float]] = {}
    for ours, columns in spec.ratings.items():
        values = [
            number
            for row in rows
            for column in columns
            if (number := _number(fill(column, row), problems, f"{where}: {column}")) is not None
        ]
        # Listeners' ratings are few and coarse; six decimals keep the mean exact enough and its text short.
        found[ours] = f"{math.fsum(values) / len(values):.6f}".rstrip("0").rstrip(".") if values else ""
        if ours in DIMENSIONS and values:
            single[ours] = [int(v) if v.is_integer() else v for v in values]
    if spec.ratings and spec.single:
        found["ratings"] = json.dumps(single) if single else ""
    return found


def dump_votes(counts: Counter[str]) -> str:
    """Write counts as JSON, labels in alphabetical order, whole numbers as such; nothing when nobody voted.

    >>> dump_votes(Counter({"sad": 1, "angry": 2.0}))
    '{"angry": 2, "sad": 1}'
    """
    whole = {k: int(v) if float(v).is_integer() else v for k, v in sorted(counts.items()) if v}
    return json.dumps(whole, ensure_ascii=False) if whole else ""


def add_votes(known: str, further: str) -> str:
    """Add up two tables' votes.

    >>> add_votes('{"sad": 1}', '{"angry": 2, "sad": 1}')
    '{"angry": 2, "sad": 2}'
    """
    return dump_votes(Counter(json.loads(known)) + Counter(json.loads(further)))


def add_ratings(known: str, further: str) -> str:
    """Put two tables' single ratings together, the first table's first.

    >>> add_ratings('{"valence": [1]}', '{"valence": [2, 3]}')
    '{"valence": [1, 2, 3]}'
    """
    first, second = json.loads(known), json.loads(further)
    return json.dumps({d: [*first.get(d, []), *second.get(d, [])] for d in sorted({*first, *second})})


def _number(text: str, problems: list[PreparationProblem], where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        problems.append(PreparationProblem("bad cell", where, f"expected a number, found {text[:60]!r}"))
        return None
    return value
