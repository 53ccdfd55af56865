"""Rows of a prediction table from elsewhere, one answer after the other, nothing taken on trust.

What can mean only one thing is read and remarked upon; the rest is refused with what to write instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal

from bench.cards.labels import fold_name, label_table
from bench.errors import DataError, nearest, quoted
from bench.execution.imports.columns import COLUMNS, SHARE, named_columns, suggested_columns
from bench.execution.imports.reading import CELL_CHARACTERS, Cells, fold_column, json_value, read_cells
from bench.execution.imports.remarks import Remarks
from bench.protocols import DIMENSIONS, STATUSES

SUM_TOLERANCE = 1e-3
"""How far probabilities may sum from one: tables are written with few digits. They are divided by their sum."""
MOST_ROUNDING = 0.05
"""How far at most, where they are written with so few digits that rounding explains it."""
NO_ANSWERS = frozenset(
    ["none", "nan", "na", "n/a", "null", "nil", "nat", "missing", "<na>", "#n/a", "#na", "-", "--", "?"]
)
"""Words by which programs write that there is nothing."""
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
PERCENT = "probabilities sum to 100 and are divided by it"
ROUNDED = "probabilities sum to one but for rounding, and are divided by their sum"
DERIVED = "rows have probabilities and no label: the most probable label is taken"


@dataclass(frozen=True)
class ReadingRules:
    """What a user says of a table: which column is what, which label is meant, what becomes of clips without an answer."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Our column by theirs; with any, columns that are neither named here nor known are left out."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Label, or a status for no answer, by what stands in the table."""
    missing: Literal["refuse", "failed"] = "refuse"
    """Whether clips that have no row, and cells that say "None" or NaN, count as failed."""

    @property
    def said(self) -> dict[str, Any]:
        """What decides answers, as JSON; empty where nothing was said."""
        given = {"columns": dict(self.columns), "labels": dict(self.labels), "missing": self.missing}
        return {} if self == ReadingRules() else given


@dataclass(frozen=True)
class ImportedRow:
    """One answer, its labels by canonical name or the corpus's own class; ``place`` says where it stood, for messages.

    ``clip_id`` is as written. ``probabilities`` by label, None where none were given; ``dimensions`` in 0..1 with NaN for no answer.
    """

    place: str
    clip_id: str
    label: str | None
    status: str
    probabilities: Mapping[str, float] | None
    dimensions: tuple[float, float, float]
    reply: str | None
    seed: int
    fold: str | None


def read_rows(
    path: Path,
    own: Sequence[str] | None = (),
    rules: ReadingRules | None = None,
    *,
    labels_given: bool = False,
    remarks: Remarks | None = None,
) -> Iterator[ImportedRow]:
    """Yield the rows of a table, bounded in memory whatever the file says of itself.

    Columns: ``clip_id`` (or ``file_name``), ``label``, and where there are any ``status``, ``probabilities`` (an object of label
    → share, as JSON text in CSV) or ``p_<label>``, ``valence``, ``arousal``, ``dominance`` (0..1), ``reply``, ``seed``, ``fold``.

    Args:
        path: the table.
        own: class names that the corpus's card declares beside the label table's; None while the corpus is not known yet: names
            are then taken as they are written.
        rules: what the user says of the table.
        labels_given: whether other rows of the table have labels: one that has probabilities alone is then refused.
        remarks: gets what was read otherwise than written.

    Raises:
        UsageError: no file, or a format that is not read.
        DataError: a row that cannot be an answer; the message names its line.
    """
    rules, remarks = rules or ReadingRules(), remarks or Remarks()
    reader = _RowReader(own, rules, remarks, labels_given=labels_given)
    known = [*COLUMNS, "file_name", *map(fold_column, rules.columns)]
    for place, cells in read_cells(path, known, remarks):
        yield reader.read(f"{path}, {place}", place, cells)


class _RowReader:
    """Makes answers of cells, by what is known of the corpus and what the user said of the table."""

    def __init__(
        self, own: Sequence[str] | None, rules: ReadingRules, remarks: Remarks, *, labels_given: bool
    ) -> None:
        self._own, self._rules, self._labels_given = own, rules, labels_given
        self._remarks = remarks
        self._sums: float | None = None
        """What probabilities sum to in this table: 1 or 100."""

    def read(self, place: str, short: str, given: Cells) -> ImportedRow:
        """The answer of one row."""
        cells = named_columns(given, self._rules.columns, place, self._remarks)
        columns = {k.removeprefix(SHARE): cells.pop(k) for k in list(cells) if k.startswith(SHARE)}
        if strange := sorted(k for k in cells if k not in COLUMNS):
            raise DataError(f"{place}: {_unknown_column(strange, given)}")
        clip, reply, fold = (_text(place, name, cells.get(name)) for name in ("clip_id", "reply", "fold"))
        if not clip:
            raise DataError(f"{place}: names no clip (column clip_id){suggested_columns(given, cells)}")
        values = [self._dimension(place, short, d, cells.get(d)) for d in DIMENSIONS]
        label, status, said_none = self._answer(place, cells)
        shares = self._probabilities(place, short, cells.get("probabilities", columns or None))
        answered = label is not None or not all(map(math.isnan, values))
        if said_none and not answered and status is None:
            status = "failed"
        if self._own is not None and shares and label is None and status in (None, "ok"):
            label = self._most_probable(place, short, shares)
            answered = True
        return ImportedRow(
            place=place,
            clip_id=clip,
            label=label,
            status=_status(place, status, answered=answered),
            probabilities=shares,
            dimensions=(values[0], values[1], values[2]),
            reply=reply,
            seed=_seed(place, cells.get("seed", 0)),
            fold=fold,
        )

    def _answer(self, place: str, cells: Cells) -> tuple[str | None, str | None, bool]:
        """Label and status as the row says them, no status where it says none; and whether its label says that there is none."""
        status = _text(place, "status", cells.get("status"))
        raw = _text(place, "label", cells.get("label"))
        mapped = self._mapped(raw)
        if mapped in STATUSES:
            return None, mapped, False
        label = self._label(place, mapped)
        return label, status, label is None and bool(raw and raw.strip())

    def _mapped(self, raw: str | None) -> str | None:
        """A label by what ``--map-labels`` says of it; pandas writes 1 as 1.0 beside blank cells."""
        if raw is None:
            return None
        labels = {fold_name(k): v for k, v in self._rules.labels.items()}
        plain = raw.strip()
        whole = plain.removesuffix(".0") if plain.endswith(".0") and plain[:-2].isdigit() else plain
        return labels.get(fold_name(plain), labels.get(fold_name(whole), raw))

    def _label(self, place: str, raw: str | None, what: str = "") -> str | None:
        if raw is None or not raw.strip() or self._own is None:
            return raw if raw and raw.strip() else None
        folded = fold_name(raw)
        own = next((x for x in self._own if fold_name(x) == folded), None)
        if (found := label_table().canonical(raw) or own) is not None:
            return found
        if folded in NO_ANSWERS or raw.strip().casefold() in NO_ANSWERS:
            if self._rules.missing == "failed":
                self._remarks.note('cells that say "None", NaN or the like count as no answer')
                return None
            raise DataError(
                f"{place}: label {raw[:60]!r} is no answer; leave the label blank where there is none, or let --missing failed "
                "count such rows as failed"
            )
        raise DataError(f"{place}: {self._no_emotion(raw, what)}")

    def _no_emotion(self, raw: str, what: str) -> str:
        beside = " and which is no class of this corpus's own" if self._own else ""
        near = label_table().near(raw[:60], self._own or ())
        if re.fullmatch(r"\d+(\.0)?", raw.strip()):
            return (
                f"{raw[:60]!r} is a number, and which emotion it stands for is not said; say it with --map-labels, like "
                "--map-labels 0=angry,1=happy,2=sad"
            )
        blank = "leave that column out" if what else "leave the label blank and say status unparsed"
        return (
            f"{what}{raw[:60]!r} is no emotion the label table knows{beside}; {blank}, map it with --map-labels "
            f"{raw[:20].strip()}=LABEL, or {near}"
        )

    def _most_probable(self, place: str, short: str, shares: Mapping[str, float]) -> str:
        if self._labels_given:
            raise DataError(
                f"{place}: has probabilities and no label, where other rows have labels; write the label it answers, or say in status why it answers none"
            )
        most = max(shares.values())
        first, *others = [x for x, p in shares.items() if p >= most - 1e-12]
        if others:
            raise DataError(
                f"{place}: {first!r} and {others[0]!r} are equally probable ({most:g}), so it answers neither; write a column label "
                "with what the system answered"
            )
        self._remarks.note(DERIVED, short)
        return first

    def _dimension(self, place: str, short: str, name: str, value: Any) -> float:
        number = self._number(place, short, name, value)
        if number is not None and not 0 <= number <= 1:
            raise DataError(
                f"{place}: {name} must lie in 0..1, found {number:g}; map the raw scale to 0..1 first"
            )
        return math.nan if number is None else number

    def _number(self, place: str, short: str, name: str, value: Any) -> float | None:
        """A finite number; None for a blank cell, and for one that says so where ``--missing failed`` allows it."""
        if value is None:
            return None
        if isinstance(value, str) and DECIMAL_COMMA.fullmatch(value.strip()):
            self._remarks.note("decimal commas are read as points", short)
            value = value.replace(",", ".")
        scale = 1.0
        if isinstance(value, str) and value.strip().endswith("%"):
            self._remarks.note("values with a per cent sign are divided by 100", short)
            value, scale = value.strip().removesuffix("%"), 100.0
        nothing = str(value).strip().casefold() in NO_ANSWERS
        if nothing and self._rules.missing == "failed":
            self._remarks.note('cells that say "None", NaN or the like count as no answer')
            return None
        try:
            number = math.nan if isinstance(value, bool) else float(value) / scale
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            mend = (
                "; leave the cell blank (null in JSON) where there is none, or give --missing failed"
                if nothing
                else ""
            )
            raise DataError(f"{place}: {name} must be a finite number, found {str(value)[:60]!r}{mend}")
        return number

    def _probabilities(self, place: str, short: str, given: Any) -> dict[str, float] | None:
        if isinstance(given, str):
            given = json_value(f"{place}: probabilities", given)
        if isinstance(given, list) and all(isinstance(p, tuple) and len(p) == 2 for p in given):
            given = dict(given)  # a Parquet map
        if given is None or given == {}:
            return None
        if not isinstance(given, dict):
            raise DataError(
                f'{place}: probabilities must be an object of label and share, like {{"happy": 0.7, …}}'
            )
        found: dict[str, float] = {}
        for raw, value in given.items():
            raw = str(raw)
            name = self._label(place, self._mapped(raw), "the probabilities' ")
            merged = raw.strip() in self._rules.labels or fold_name(raw) in map(fold_name, self._rules.labels)
            if name is None or (name in found and not merged):
                raise DataError(f"{place}: probabilities name {raw[:60]!r} twice, or nothing")
            share = self._number(place, short, f"the probability of {name}", value) or 0.0
            found[name] = found.get(name, 0.0) + share
        if min(found.values()) < 0:
            name, share = next((x, p) for x, p in found.items() if not 0 <= p <= 1)
            raise DataError(
                f"{place}: the probability of {name} must lie in 0..1, found {share:g}; scores before the softmax are no probabilities"
            )
        return self._summing_to_one(place, short, found, _rounding(given.values()))

    def _summing_to_one(
        self, place: str, short: str, found: dict[str, float], rounding: float
    ) -> dict[str, float]:
        total = sum(found.values())
        allowed = max(SUM_TOLERANCE, min(rounding, MOST_ROUNDING))
        percent = total > 2 and abs(total - 100) <= max(
            100 * SUM_TOLERANCE, min(rounding, 100 * MOST_ROUNDING)
        )
        whole = 100.0 if percent else 1.0
        if not percent and abs(total - 1) > allowed + 1e-9:
            beyond = next((x for x, p in found.items() if p > 1), None)
            if beyond is not None:
                raise DataError(
                    f"{place}: the probability of {beyond} must lie in 0..1, found {found[beyond]:g}, and the row does not sum to 100 either"
                )
            raise DataError(
                f"{place}: probabilities sum to {total:g}, not to one; is a class without a column?"
            )
        if self._sums is not None and self._sums != whole:
            raise DataError(
                f"{place}: probabilities sum to {whole:g}, where rows before sum to {self._sums:g}; write all in one way"
            )
        self._sums = whole
        if percent:
            self._remarks.note(PERCENT, short)
        elif abs(total - 1) > SUM_TOLERANCE:
            self._remarks.note(ROUNDED, short)
        return {k: v / total for k, v in found.items()}


def _rounding(values: Any) -> float:
    """How far a sum may be off when each value is rounded to the digits that it is written with."""
    digits = []
    for value in values:
        text = str(value).strip().replace(",", ".")
        try:
            exponent = Decimal(f"{text[:-1].strip()}e-2" if text.endswith("%") else text).as_tuple().exponent
        except InvalidOperation:
            continue
        digits.append(max(0, -exponent) if isinstance(exponent, int) else 0)
    return len(digits) * 0.5 * 10.0 ** -max(digits, default=0)


def _unknown_column(strange: Sequence[str], given: Cells) -> str:
    first = strange[0][:60]
    if not first:
        return "a column without a name holds something; name it, or leave it out"
    near = nearest(first, [*COLUMNS, "p_happy"])
    return f"unknown column {first!r}; {near}{suggested_columns(given, ())}"


def _status(place: str, said: str | None, *, answered: bool) -> str:
    status = said or ("ok" if answered else "failed")
    if status not in STATUSES:
        raise DataError(f"{place}: status {status[:60]!r}; {nearest(status[:60], STATUSES)}")
    if status == "ok" and not answered:
        raise DataError(
            f"{place}: status ok, and neither a label nor a dimension; say unparsed, refused or failed"
        )
    return status


def _text(place: str, name: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, float):
        value = str(int(value)) if value.is_integer() else "nan" if math.isnan(value) else value
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"{place}: {name} must be text, found {quoted(value)}")
    text = str(value)
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise DataError(
            f"{place}: {name} holds half a character (a lone surrogate), which is no text; leave it out"
        )
    if len(text) > CELL_CHARACTERS:
        raise DataError(f"{place}: {name} has {len(text):,} characters; at most {CELL_CHARACTERS:,} are read")
    return text


def _seed(place: str, value: Any) -> int:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number != int(number) or not 0 <= number < 2**31:
        raise DataError(f"{place}: seed must be a whole number from 0 on, found {str(value)[:60]!r}")
    return int(number)
