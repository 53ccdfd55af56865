"""What a download holds, clip by clip: rows of its tables and files of its folders, before anything is decoded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from bench.audio.decoding import AUDIO_SUFFIXES
from bench.cards.corpus_layout import Part, alternatives, fill
from bench.corpora.metadata import length_of
from bench.corpora.preparation.problems import PreparationProblem
from bench.corpora.preparation.tables import TableRow, decode_text, read_table
from bench.corpora.preparation.tree import SourceTree, same_bytes
from bench.corpora.preparation.votes import votes_and_ratings
from bench.errors import DataError


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a source file: all of it, or ``start`` to ``end`` in seconds.

    ``row`` and ``column`` say where in an Arrow file the encoded audio stands."""

    source: str
    start: float | None = None
    end: float | None = None
    row: int | None = None
    column: str = ""


@dataclass(slots=True)
class Draft:
    """A clip as listed: its name (path without suffix), the pieces it is made of, its columns."""

    name: str
    pieces: tuple[Piece, ...]
    columns: TableRow


@dataclass
class Listing:
    """What scanning found: clips in order, problems, files that were used, clips left out because the card says so."""

    drafts: list[Draft] = field(default_factory=list)
    problems: list[PreparationProblem] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    left_out: int = 0
    doubles: dict[str, str] = field(default_factory=dict)
    """File that a table's row means as well → the equal one that was taken."""

    def say(self, kind: object, where: str, message: str) -> None:
        """Note a problem.

        Args:
            kind: a ``ProblemKind``.
            where: path in the source, or table and row.
            message: what is wrong, in a sentence.
        """
        self.problems.append(PreparationProblem(kind, where, message))  # type: ignore[arg-type]

    def say_of_table(self, table: str, message: str) -> None:
        """Note rows of a table that are not like the others."""
        self.say("bad cell", table, message)


def scan_table(part: Part, tree: SourceTree, listing: Listing) -> None:
    """List the clips that a part's tables name.

    Args:
        part: of the card's layout, with ``table``.
        tree: the source.
        listing: what the clips and problems are added to.
    """
    for rel, row in table_rows(part, part.pattern, tree, listing):
        values = {**part.set, **row}
        templates = [a for t in part.audio or () for a in alternatives(t, values)]
        # A text without braces is a column's name where there is such a column, else the path itself.
        wanted = [fill(t, values) if "{" in t or t in values else t for t in templates]
        tail, found = next(((w, f) for w in wanted if (f := tree.find(w))), (wanted[0], []))
        if len(found) == 1 or (found and same_bytes([tree.files[f].path for f in found])):
            # Equal files of one name are one clip; the report says which folder repeats which.
            listing.doubles.update(dict.fromkeys(found[1:], found[0]))
            add_clip(part, tree, listing, tail, found[0], {}, seen=row)
        elif found:
            listing.say("ambiguous", tail, f"listed in {rel}; {len(found)} files end so, first {found[0]}")
        elif _kept(part, values, listing):
            listing.say("missing audio", tail, f"listed in {rel}, but there is no such file")


def table_rows(
    spec: Part, pattern: str | None, tree: SourceTree, listing: Listing
) -> Iterator[tuple[str, TableRow]]:
    """Yield the rows of all tables of a part.

    Args:
        spec: the part.
        pattern: over the table's path; its groups are columns of the rows, and a path that it does not fit is passed over.
        tree: the source.
        listing: where the tables are noted as used.

    Yields:
        (path of the table, row).
    """
    _, tables = tree.matching(spec.table or ())
    for rel in tables:
        groups: TableRow = {}
        if pattern is not None:
            matched = match_tail(re.compile(pattern), rel)
            if matched is None:
                continue
            groups = matched[1]
        listing.used.add(rel)
        for row in read_table(tree.files[rel].path, spec, rel, listing.say_of_table):
            yield rel, {**row, **groups}


def match_tail(pattern: re.Pattern[str], rel: str) -> tuple[str, TableRow] | None:
    """Match a pattern to the end of a path, from the start of a file or folder name: (that end, its groups), or None.

    >>> match_tail(re.compile(r"(?P<speaker>[^/]+)/(?P<emotion>[a-z])\\d+\\.wav"), "top/DC/a01.WAV")
    ('DC/a01.WAV', {'speaker': 'DC', 'emotion': 'a'})
    """
    path = PurePosixPath(rel)
    text = rel[: len(rel) - len(path.suffix)] + path.suffix.lower()
    start = len(text)
    while start > 0:
        start = text.rfind("/", 0, start - 1) + 1
        if found := pattern.fullmatch(text, start):
            return rel[start:], {k: v or "" for k, v in found.groupdict().items()}
    return None


def add_clip(
    part: Part,
    tree: SourceTree,
    listing: Listing,
    name: str,
    source: str,
    row: TableRow,
    *,
    pieces: Sequence[Piece] | None = None,
    seen: TableRow | None = None,
    shown: str = "",
) -> None:
    """Add a clip with the columns that a part gives it, unless its ``where`` leaves it out.

    Args:
        part: of the card's layout.
        tree: the source.
        listing: what the clip and problems are added to.
        name: path that the clip is named after.
        source: path of its file in the tree.
        row: what becomes columns.
        pieces: what its audio is made of; None: the source, between the columns ``start`` and ``end`` where they are given.
        seen: a table's row that is only there for templates.
        shown: the path that reports name, where it is not the ``source`` itself.
    """
    listing.used.add(source)
    source = shown or source
    values = {**path_columns(source), **part.set, **(seen or {}), **row}
    own = {**part.set, **row}
    for step in part.extract:
        text = fill(step.from_, values)
        found = re.search(step.pattern, text)
        if found is None:
            listing.say("bad cell", source, f"{step.from_}: {text[:80]!r} does not match {step.pattern}")
            continue
        groups = {k: v or "" for k, v in found.groupdict().items()}
        values |= groups
        own |= groups
    taken = {ours: fill(theirs, values) for ours, theirs in part.columns.items()}
    own |= taken
    values |= taken
    for ours, template in part.beside.items():
        beside = tree.find(fill(template, values))
        own[ours] = ""
        if beside:
            listing.used.add(beside[0])
            own[ours] = " ".join(decode_text(tree.files[beside[0]].path, part.encoding, beside[0]).split())
        else:
            listing.say("no row", source, f"there is no {fill(template, values)!r} beside it ({ours})")
    own |= votes_and_ratings(part, [values], listing.problems, source)
    if part.lasts:
        own["table_seconds"] = _lasting([fill(t, values) for t in part.lasts])
    if not _kept(part, {**values, **own}, listing):
        return
    start, end = own.pop("start", ""), own.pop("end", "")
    if pieces is None:
        pieces = [Piece(source, _seconds(start, source), _seconds(end, source))]
    listing.drafts.append(Draft(without_suffix(name), tuple(pieces), {**own, "source_path": source}))


def _lasting(cells: Sequence[str]) -> str:
    """Seconds that a table's length, or its start and end, stand for; blank where they are no times."""
    times = [length_of(cell) for cell in cells]
    if None in times:
        return ""
    seconds = [t for t in times if t is not None]
    return f"{seconds[-1] - (seconds[0] if len(seconds) > 1 else 0.0):.3f}"


def without_suffix(name: str) -> str:
    """A file name less the ending that says which audio format it is in; other endings stay."""
    suffix = PurePosixPath(name).suffix
    return name[: -len(suffix)] if suffix.lower() in AUDIO_SUFFIXES else name


def path_columns(source: str) -> TableRow:
    """Return the columns that every clip has for templates: its source's path, folder, stem and suffix."""
    path = PurePosixPath(source)
    folder = "" if path.parent == PurePosixPath(".") else path.parent.as_posix()
    return {"source_path": source, "folder": folder, "stem": path.stem, "suffix": path.suffix}


def _seconds(text: str, source: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise DataError(f"{source}: start and end must be seconds, found {text!r}") from None


def _kept(part: Part, values: TableRow, listing: Listing) -> bool:
    for column, allowed in part.where.items():
        if fill(column, values) not in allowed:
            listing.left_out += 1
            return False
    return True
