"""From layout and tree to a listing of clips: which file is which clip, and what its path and its table say of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from bench.audio.decoding import AUDIO_SUFFIXES
from bench.cards.corpus import CorpusCard
from bench.cards.corpus_layout import Layout, Part, alternatives, fill
from bench.errors import DataError, UsageError
from bench.preparation.problems import Problem
from bench.preparation.tables import Row, decode_text, read_table
from bench.preparation.tree import SourceTree, glob_pattern
from bench.preparation.votes import votes_and_ratings


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
    columns: Row


@dataclass
class Listing:
    """What scanning found: clips in order, problems, files that were used, clips left out because the card says so."""

    drafts: list[Draft] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    left_out: int = 0

    def say(self, kind: object, where: str, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(kind, where, message))  # type: ignore[arg-type]


def scan(card: CorpusCard, tree: SourceTree) -> Listing:
    """List the clips of a source tree as the card's layout says.

    Raises:
        UsageError: the card has no layout, or names a column that is not there.
        DataError: the tree does not look like this corpus at all, or a table cannot be read.
    """
    if card.layout is None:
        raise UsageError(
            f"the card of {card.name!r} has no 'layout:', so nothing says how its download is laid out"
        )
    listing = Listing()
    for number, part in enumerate(card.layout.parts, 1):
        try:
            _scan_part(part, tree, listing)
        except KeyError as error:
            raise UsageError(f"card {card.name!r}, layout part {number}: {error.args[0]}") from None
    if not listing.drafts and not any(p.kind == "missing audio" for p in listing.problems):
        wanted = "; ".join(_wanted(p) for p in card.layout.parts)
        shown = ", ".join(list(tree.files)[:5]) or "nothing"
        raise DataError(
            f"the source does not look like {card.name}: expected {wanted}; found {len(tree)} files (first: {shown}). "
            "Point --source at the folder or archive as its owner ships it"
        )
    _unique_names(listing, tree)
    _stray_files(card.layout, tree, listing)
    return listing


def _wanted(part: Part) -> str:
    match part.kind:
        case "audio":
            return f"audio {', '.join(part.audio or ())}" + (
                f" matching {part.pattern}" if part.pattern else ""
            )
        case "table":
            return f"a table {', '.join(part.table or ())}"
        case "reader":
            return f"what the reader {part.reader!r} reads"
        case "huggingface":
            return "Parquet files with audio"


def _scan_part(part: Part, tree: SourceTree, listing: Listing) -> None:
    if part.kind == "reader":
        from bench.preparation.readers import read_with

        read_with(part, tree, listing)
    elif part.kind == "huggingface":
        from bench.preparation.huggingface import read_data_set

        read_data_set(part, tree, listing)
    elif part.kind == "table":
        scan_table(part, tree, listing)
    else:
        _scan_audio(part, tree, listing)


def _scan_audio(part: Part, tree: SourceTree, listing: Listing) -> None:
    pattern = re.compile(part.pattern) if part.pattern else None
    root, found = tree.matching(part.audio or ())
    for rel in found:
        if rel in listing.used or not rel.lower().endswith(AUDIO_SUFFIXES):
            continue
        if pattern is None:
            add_clip(part, tree, listing, rel[len(root) :], rel, {})
        elif matched := match_tail(pattern, rel):
            add_clip(part, tree, listing, matched[0], rel, matched[1])
        # whatever else matches the glob stays unused, and is reported as a file that nothing matched


def scan_table(part: Part, tree: SourceTree, listing: Listing) -> None:
    """List the clips that a part's tables name."""
    for rel, row in table_rows(part, part.pattern, tree, listing):
        values = {**part.set, **row}
        templates = [a for t in part.audio or () for a in alternatives(t, values)]
        # A text without braces is a column's name where there is such a column, else the path itself.
        wanted = [fill(t, values) if "{" in t or t in values else t for t in templates]
        tail, found = next(((w, f) for w in wanted if (f := tree.find(w))), (wanted[0], []))
        if len(found) == 1:
            add_clip(part, tree, listing, tail, found[0], {}, seen=row)
        elif found:
            listing.say("ambiguous", tail, f"listed in {rel}; {len(found)} files end so, first {found[0]}")
        elif _kept(part, values, listing):
            listing.say("missing audio", tail, f"listed in {rel}, but there is no such file")


def table_rows(
    spec: Part, pattern: str | None, tree: SourceTree, listing: Listing
) -> Iterator[tuple[str, Row]]:
    """Yield (table, row) of all tables of a part; groups of ``pattern`` over the table's path are columns of its rows."""
    _, tables = tree.matching(spec.table or ())
    for rel in tables:
        groups: Row = {}
        if pattern is not None:
            matched = match_tail(re.compile(pattern), rel)
            if matched is None:
                continue
            groups = matched[1]
        listing.used.add(rel)
        for row in read_table(tree.files[rel].path, spec, rel):
            yield rel, {**row, **groups}


def match_tail(pattern: re.Pattern[str], rel: str) -> tuple[str, Row] | None:
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
    row: Row,
    pieces: Sequence[Piece] | None = None,
    seen: Row | None = None,
    shown: str = "",
) -> None:
    """Add a clip with the columns that a part gives it, unless its ``where`` leaves it out.

    ``row`` becomes columns; ``seen`` (a table's row) is only there for templates. ``shown`` is the path that reports
    name, where it is not the ``source`` itself.
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
    if not _kept(part, {**values, **own}, listing):
        return
    start, end = own.pop("start", ""), own.pop("end", "")
    if pieces is None:
        pieces = [Piece(source, _seconds(start, source), _seconds(end, source))]
    listing.drafts.append(Draft(_without_suffix(name), tuple(pieces), {**own, "source_path": source}))


def _without_suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return name[: -len(suffix)] if suffix.lower() in AUDIO_SUFFIXES else name


def _safe_name(name: str) -> str:
    r"""Return a clip's name as a path that stays inside the corpus folder and is not hidden.

    >>> _safe_name("../a\\b/.c")
    '_./a_b/_c'
    """
    parts = [re.sub(r"[\x00-\x1f\x7f\\:]", "_", p).strip() for p in name.split("/")]
    return "/".join("_" + p[1:] if p.startswith(".") else p for p in parts if p) or "_"


def path_columns(source: str) -> Row:
    """Return the columns that every clip has for templates: its source's path, folder, stem and suffix."""
    path = PurePosixPath(source)
    folder = "" if path.parent == PurePosixPath(".") else path.parent.as_posix()
    return {"source_path": source, "folder": folder, "stem": path.stem, "suffix": path.suffix}


def _seconds(text: str, source: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise DataError(f"{source}: start and end must be seconds, found {text!r}") from None


def _kept(part: Part, values: Row, listing: Listing) -> bool:
    for column, allowed in part.where.items():
        if fill(column, values) not in allowed:
            listing.left_out += 1
            return False
    return True


def _unique_names(listing: Listing, tree: SourceTree) -> None:
    """Two files of one name get their whole path; two rows for one file stand as one clip and a problem."""
    seen: dict[tuple[Piece, ...], Draft] = {}
    kept = []
    for draft in listing.drafts:
        first = seen.setdefault(draft.pieces, draft)
        where = draft.columns["source_path"]
        if first is draft:
            kept.append(draft)
        elif draft.columns == first.columns:
            listing.say("listed twice", where, "listed twice with the same columns; one row was kept")
        else:
            differ = sorted(k for k in draft.columns if draft.columns[k] != first.columns.get(k))
            listing.say(
                "listed twice", where, f"listed again with other {', '.join(differ)}; the first row was kept"
            )
        draft.name = _safe_name(draft.name)
    claims = Counter(d.name.casefold() for d in kept)
    taken: set[str] = set()
    for draft in kept:
        if claims[draft.name.casefold()] > 1:
            draft.name = _safe_name(_without_suffix(tree.inside_root(draft.columns["source_path"])))
        # one recording cut into several clips, a.wav beside a.mp3, or names that differ in case alone
        bare, n = draft.name, 1
        while draft.name.casefold() in taken:
            n += 1
            draft.name = f"{bare}~{n}"
        taken.add(draft.name.casefold())
    listing.drafts = kept


def _stray_files(layout: Layout, tree: SourceTree, listing: Listing) -> None:
    ignored = [glob_pattern(g) for g in layout.ignore]
    for rel in tree.files:
        if rel in listing.used or not rel.lower().endswith(AUDIO_SUFFIXES):
            continue
        if not any(
            p.fullmatch(rel, len(root)) for root in tree.roots if rel.startswith(root) for p in ignored
        ):
            listing.say(
                "no match",
                rel,
                "an audio file that no part of the card's layout matches; it is not in the corpus",
            )
