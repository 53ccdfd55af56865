"""The columns of a prepared corpus: ``metadata.csv`` read into typed columns."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.cards.corpus import CorpusCard, check_language
from bench.cards.labels import label_table
from bench.corpora.further_groups import further_groups
from bench.corpora.identities import IdentityNote, blank_nobody, read_names
from bench.corpora.prepared import COLUMNS, METADATA, PreparedCorpus
from bench.errors import DataError, UsageError, nearest
from bench.protocols import DIMENSIONS, Array
from bench.storage.file_kinds import kind_of_file


@dataclass(frozen=True)
class Metadata:
    """The typed columns of a ``metadata.csv``, one entry per clip, in file order; "" or None or NaN where unknown.

    ``speakers``, ``sessions`` and ``dialogues`` are scoped (``pool/speaker``, …); ``emotions`` are canonical;
    ``dimensions`` is (clips, 3) in 0..1; ``votes`` are counts by canonical name, "" for a name that the card leaves out;
    ``ratings`` are single listeners' values in 0..1 by dimension; ``splits`` is the raw column of folds or sides.
    """

    clip_ids: tuple[str, ...]
    speakers: tuple[str, ...]
    emotions: tuple[str | None, ...]
    dimensions: Array
    languages: tuple[str, ...]
    transcripts: tuple[str, ...]
    genders: tuple[str, ...]
    votes: tuple[Mapping[str, float] | None, ...]
    sessions: tuple[str, ...]
    dialogues: tuple[str, ...]
    scripts: tuple[str, ...]
    parents: tuple[str, ...]
    """Long clip that a segment was cut from (column ``parent``)."""
    splits: tuple[str, ...]
    ratings: tuple[Mapping[str, tuple[float, ...]] | None, ...]
    seconds: tuple[float | None, ...] = ()
    """Length per clip by a column of the table (:data:`LENGTH_COLUMNS`), None where it says nothing."""
    notes: tuple[IdentityNote, ...] = ()
    """Names that were read otherwise than they are written."""
    sliced: tuple[tuple[str, ...], ...] = ()
    """Per clip its groups by the card's ``slices``, in their order; "" where it tells none."""
    carried: frozenset[str] = frozenset()
    """Our columns that the table has, whether or not it says anything in them."""

    def __len__(self) -> int:
        return len(self.clip_ids)


def read_metadata(corpus: PreparedCorpus) -> Metadata:
    """Read and check ``metadata.csv``.

    Raises:
        DataError: no rows, a needed column missing, a clip listed twice or outside the folder, an unknown emotion
            name, a dimension off its scale or without one, votes that are no JSON counts; names file and line.
    """
    path, card = corpus.folder / METADATA, corpus.card
    columns, rows = read_rows(path, card)

    def cells(column: str) -> tuple[str, ...]:
        source = columns.get(column)
        return tuple((row[source] or "").strip() for row in rows) if source else ("",) * len(rows)

    notes: list[IdentityNote] = []

    def named(column: str) -> tuple[str, ...]:
        values, found = read_names(column, cells(column))
        notes.extend(found)
        return values

    def known(column: str) -> tuple[str, ...]:
        values, found = blank_nobody(column, cells(column))
        notes.extend(found)
        return values

    clip_ids = _clip_ids(cells("file_name"), path)
    speakers = _scoped(named("speaker"), (card.pool_name,) * len(rows))
    pools = (card.pool_name,) * len(rows)
    session_scope = speakers if card.split.session_scope == "speaker" else pools
    sessions = _scoped(named("session"), session_scope)
    dialogue_scope = {"corpus": pools, "speaker": speakers, "session": sessions}[card.split.dialogue_scope]
    further = {c: next((h for h in rows[0] if _folded(h) == _folded(c)), None) for c in card.slices}
    groups = [
        further_groups([r[source] for r in rows] if source else [""] * len(rows), card.slices[c])
        for c, source in further.items()
    ]
    return Metadata(
        clip_ids=clip_ids,
        speakers=speakers,
        emotions=_emotions(cells("emotion"), card, path),
        dimensions=np.stack([_dimension(d, cells(d), card, path) for d in DIMENSIONS], axis=1),
        languages=_languages(cells("language"), card, path),
        transcripts=cells("transcript"),
        genders=tuple(g.lower() for g in known("gender")),
        votes=_votes(cells("soft_votes"), card, path),
        sessions=sessions,
        dialogues=_scoped(named("dialogue"), dialogue_scope),
        scripts=known("script"),
        parents=known("parent"),
        splits=known("split"),
        ratings=_ratings(cells("ratings"), card, path),
        seconds=_seconds(rows),
        notes=tuple(notes),
        sliced=tuple(zip(*groups, strict=True)) if groups else ((),) * len(rows),
        carried=frozenset(columns) | {c for c, source in further.items() if source},
    )


def why_unknown(what: str, column: str, carried: Collection[str]) -> str:
    """Say why nothing is known of some clips: no column was carried over, or the one that was tells nothing of them.

    Args:
        what: what is not known, like ``gender``.
        column: our column for it.
        carried: our columns that the table has.

    >>> why_unknown("gender", "gender", {"speaker"})
    'the card and its manifest carry no gender'
    >>> why_unknown("gender", "gender", {"speaker", "gender"})
    "gender is not known for these clips: the manifest has a column 'gender', which tells nothing of any of them"
    """
    if column not in carried:
        return f"the card and its manifest carry no {what}"
    verb = "are" if what.endswith("s") else "is"
    return f"{what} {verb} not known for these clips: the manifest has a column {column!r}, which tells nothing of any of them"


def read_rows(path: Path, card: CorpusCard) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Read a ``metadata.csv`` as text: (our column → its column, rows); raises DataError when it is not one.

    Cells may be separated by commas, semicolons or tabs, whichever gives a column ``file_name``; case and separators in our columns'
    names do not matter.
    """
    if (kind := kind_of_file(path)) is not None:
        raise DataError(f"{path}: is {kind.sentence}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            delimiter = _delimiter(stream.readline(), card)
            stream.seek(0)
            reader = csv.DictReader(stream, strict=True, delimiter=delimiter)
            header = [h.strip() for h in reader.fieldnames or []]
            reader.fieldnames = header
            if twice := sorted({h for h in header if header.count(h) > 1}):
                raise DataError(
                    f"{path}: the header names {', '.join(map(repr, twice))} more than once; keep one"
                )
            rows = []
            for row in reader:
                if None in row or None in row.values():
                    raise DataError(
                        f"{path}, line {reader.line_num}: has not the {len(header)} cells of the header"
                    )
                rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 CSV ({error})") from None
    columns = _our_columns(header, path)
    for ours, theirs in card.columns.items():
        if ours not in COLUMNS:
            raise UsageError(
                f"card {card.name!r}: columns: {ours!r} is no column of ours; {nearest(ours, COLUMNS)}"
            )
        if theirs not in header:
            raise DataError(
                f"{path}: has no column {theirs!r}, which the card names for {ours!r}; {nearest(theirs, header)}"
            )
        columns[ours] = theirs
    if "file_name" not in columns:
        raise DataError(f"{path}: has no column 'file_name'; {nearest('file_name', header)}")
    if not {"emotion", *DIMENSIONS} & set(columns):
        raise DataError(
            f"{path}: has neither a column 'emotion' nor one of {', '.join(DIMENSIONS)}; columns found: {', '.join(header)}"
        )
    if not rows:
        raise DataError(f"{path}: the corpus is empty (a header and no clips)")
    return columns, rows


DELIMITERS = (",", ";", "\t")


def _delimiter(line: str, card: CorpusCard) -> str:
    """What separates the cells of a header: what gives our column of file names, else a comma."""
    wanted = {_folded("file_name"), _folded(card.columns.get("file_name", "file_name"))}
    for delimiter in DELIMITERS:
        if wanted & {_folded(cell.strip().strip('"')) for cell in line.split(delimiter)}:
            return delimiter
    return ","


def _folded(column: str) -> str:
    return re.sub(r"[\s-]+", "_", column.strip()).casefold()


def _our_columns(header: Sequence[str], path: Path) -> dict[str, str]:
    """Our columns in a header: those of the very name, else the one that differs in case and separators alone."""
    columns = {c: c for c in COLUMNS if c in header}
    for ours in COLUMNS:
        alike = [h for h in header if _folded(h) == _folded(ours)] if ours not in columns else []
        if len(alike) > 1:
            raise DataError(
                f"{path}: the columns {', '.join(map(repr, alike))} could all be {ours!r}; keep one"
            )
        if alike:
            columns[ours] = alike[0]
    return columns


LENGTH_COLUMNS = (
    "table_seconds",
    "seconds",
    "duration_s",
    "duration_sec",
    "duration_seconds",
    "duration",
    "length_s",
)
"""Columns that say how long a clip is, in seconds; the first that is there is held against the audio."""


def _seconds(rows: Sequence[Mapping[str, str]]) -> tuple[float | None, ...]:
    """Lengths by the table; a cell that holds no number says nothing."""
    column = next((c for c in LENGTH_COLUMNS if c in rows[0]), None)
    return tuple(length_of(row[column] or "") if column else None for row in rows)


def length_of(text: str) -> float | None:
    """Read a length: seconds, or hours, minutes and seconds; None for anything else.

    >>> length_of("2.5"), length_of("00:16:16,059"), length_of("long")
    (2.5, 976.059, None)
    """
    total = 0.0
    for part in text.strip().replace(",", ".").split(":"):
        try:
            total = 60 * total + float(part)
        except ValueError:
            return None
    return total if math.isfinite(total) else None


def plain_path(name: str) -> str:
    """Write a clip's path in one way: without ``./`` and doubled slashes.

    >>> plain_path("./audio//x.wav"), plain_path("audio/./x.wav"), plain_path("../x.wav")
    ('audio/x.wav', 'audio/x.wav', '../x.wav')
    """
    if name.startswith("/") or not name:
        return name
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _clip_ids(names: tuple[str, ...], path: Path) -> tuple[str, ...]:
    for i, name in enumerate(names):
        if (
            not plain_path(name)
            or ".." in name.split("/")
            or name.startswith("/")
            or "\\" in name
            or "\0" in name
        ):
            mend = f", like {name.replace(chr(92), '/')!r}" if "\\" in name else ""
            raise DataError(
                f"{path}, clip {i + 1}: file_name {name!r} must be a path inside the corpus folder{mend}"
            )
    names = tuple(map(plain_path, names))
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise DataError(
            f"{path}: {len(twice)} file_name(s) are listed more than once, first {twice[0]!r}; keep one row per clip"
        )
    return names


def _scoped(values: tuple[str, ...], scopes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{scope}/{value}" if value else "" for value, scope in zip(values, scopes, strict=True))


def _emotions(values: tuple[str, ...], card: CorpusCard, path: Path) -> tuple[str | None, ...]:
    known: dict[str, str | None] = {"": None}
    for value in set(values) - {""}:
        known[value] = _canonical(
            value,
            card,
            f"{path}: unknown emotion name {value!r} ({values.count(value)} clips, first in clip {values.index(value) + 1})",
        )
    return tuple(known[v] for v in values)


def _canonical(value: str, card: CorpusCard, problem: str) -> str | None:
    """Return the canonical name of a raw label, None when the card leaves it out."""
    if value in card.labels:
        return card.labels[value]
    if value in card.classes:
        return value
    table = label_table()
    if (name := table.canonical(value)) is None:
        raise DataError(
            f"{problem}; map it on the card under 'labels:' to one of our names. {table.near(value, [*card.labels, *card.classes])}"
        )
    return name


def _dimension(dimension: str, values: tuple[str, ...], card: CorpusCard, path: Path) -> Array:
    raw = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if value:
            try:
                raw[i] = number_of(value)
            except ValueError:
                raise DataError(
                    f"{path}, clip {i + 1}: {dimension} is {value!r}, expected a number or nothing"
                ) from None
    if np.isnan(raw).all():
        return raw
    scale = card.scale_of(dimension)
    if scale is None:
        low, high = np.nanmin(raw), np.nanmax(raw)
        raise DataError(
            f"{path}: has {dimension} from {low:g} to {high:g}, but the card gives no scale; add e.g. 'scale: [1, 5]' to the card of {card.name!r}"
        )
    low, high = scale
    off = np.flatnonzero((raw < low) | (raw > high) | np.isinf(raw))
    if off.size:
        raise DataError(
            f"{path}, clip {off[0] + 1}: {dimension} is {raw[off[0]]:g}, outside the card's scale {low:g} to {high:g}"
        )
    return (raw - low) / (high - low)


def number_of(text: str) -> float:
    """Read a number, with a point or a comma before its decimals; raises ValueError for anything else.

    >>> number_of("3,5"), number_of("3.5")
    (3.5, 3.5)
    """
    return float(text.replace(",", ".") if re.fullmatch(r"[-+]?\d+,\d+", text) else text)


def _languages(values: tuple[str, ...], card: CorpusCard, path: Path) -> tuple[str, ...]:
    default = card.languages[0] if len(card.languages) == 1 else "und"
    for value in set(values) - {""}:
        try:
            check_language(value)
        except ValueError as error:
            raise DataError(f"{path}: language {error}") from None
        if card.languages and value not in card.languages:
            raise DataError(
                f"{path}: language {value!r} is not on the card of {card.name!r} ({', '.join(card.languages)})"
            )
    return tuple(v or default for v in values)


def _votes(values: tuple[str, ...], card: CorpusCard, path: Path) -> tuple[Mapping[str, float] | None, ...]:
    """Parse JSON counts, by canonical name; names that the card leaves out are counted together under ""."""
    parsed: list[Mapping[str, float] | None] = []
    known: dict[str, str] = {}
    read: dict[str, Mapping[str, float] | None] = {"": None}
    for i, value in enumerate(values):
        if value in read:
            parsed.append(read[value])
            continue
        try:
            raw = {str(k): float(v) for k, v in json.loads(value).items()}
        except (ValueError, TypeError, AttributeError):
            raw = {"": math.nan}
        if not all(math.isfinite(v) and v >= 0 for v in raw.values()):
            raise DataError(
                f'{path}, clip {i + 1}: soft_votes is {value[:60]!r}, expected JSON counts like {{"happy": 3}}'
            )
        counts: dict[str, float] = {}
        for name, n in raw.items():
            if name not in known:
                problem = f"{path}, clip {i + 1}: soft_votes has the unknown emotion name {name!r}"
                known[name] = _canonical(name, card, problem) or ""
            counts[known[name]] = counts.get(known[name], 0.0) + n
        read[value] = counts
        parsed.append(counts)
    return tuple(parsed)


def _ratings(
    values: tuple[str, ...], card: CorpusCard, path: Path
) -> tuple[Mapping[str, tuple[float, ...]] | None, ...]:
    """Parse JSON lists of listeners' ratings on the raw scale, mapped to 0..1."""
    parsed: list[Mapping[str, tuple[float, ...]] | None] = []
    for i, value in enumerate(values):
        if not value:
            parsed.append(None)
            continue
        try:
            raw = {str(k): tuple(float(x) for x in v) for k, v in json.loads(value).items()}
            scaled = {d: _on_scale(d, given, card) for d, given in raw.items()}
        except (ValueError, TypeError, AttributeError):
            raise DataError(
                f"{path}, clip {i + 1}: ratings is {value[:60]!r}, expected JSON lists on the card's scale, like "
                '{"valence": [3, 4]}'
            ) from None
        parsed.append(scaled)
    return tuple(parsed)


def _on_scale(dimension: str, given: tuple[float, ...], card: CorpusCard) -> tuple[float, ...]:
    scale = card.scale_of(dimension) if dimension in DIMENSIONS else None
    if scale is None or not all(scale[0] <= x <= scale[1] for x in given):
        raise ValueError(dimension)
    return tuple((x - scale[0]) / (scale[1] - scale[0]) for x in given)
