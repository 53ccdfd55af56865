"""From layout and tree to a listing of clips: which file is which clip, and what its path and its table say of it."""

from __future__ import annotations

import re
from collections import Counter

from bench.audio.decoding import AUDIO_SUFFIXES
from bench.cards.corpus import CorpusCard
from bench.cards.corpus_layout import Layout, Part
from bench.corpora.preparation.copies import leave_out_copies, refuse_unfetched
from bench.corpora.preparation.huggingface import read_data_set
from bench.corpora.preparation.listing import (
    Draft,
    Listing,
    Piece,
    add_clip,
    match_tail,
    scan_table,
    without_suffix,
)
from bench.corpora.preparation.readers import read_with
from bench.corpora.preparation.tree import SourceTree, glob_pattern
from bench.corpora.preparation.unpacking import short_name
from bench.errors import DataError, UsageError


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
    for archive, sentence in tree.repeated.items():
        listing.say("doubled", archive, sentence)
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
    refuse_unfetched(listing, tree)
    leave_out_copies(listing, tree)
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
        read_with(part, tree, listing)
    elif part.kind == "huggingface":
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


def _safe_name(name: str) -> str:
    r"""Return a clip's name as a path that stays inside the corpus folder and is not hidden.

    >>> _safe_name("../a\\b/.c")
    '_./a_b/_c'
    """
    parts = [short_name(re.sub(r"[\x00-\x1f\x7f\\:]", "_", p).strip()) for p in name.split("/")]
    return "/".join("_" + p[1:] if p.startswith(".") else p for p in parts if p) or "_"


def _unique_names(listing: Listing, tree: SourceTree) -> None:
    """Two files of one name get their whole path; two rows for one file stand as one clip and a problem."""
    seen: dict[tuple[Piece, ...], Draft] = {}
    distinct = []
    for draft in listing.drafts:
        first = seen.setdefault(draft.pieces, draft)
        where = draft.columns["source_path"]
        if first is draft:
            distinct.append(draft)
        elif draft.columns == first.columns:
            listing.say("listed twice", where, "listed twice with the same columns; one row was kept")
        else:
            differ = sorted(k for k in draft.columns if draft.columns[k] != first.columns.get(k))
            listing.say(
                "listed twice", where, f"listed again with other {', '.join(differ)}; the first row was kept"
            )
        draft.name = _safe_name(draft.name)
    claims = Counter(d.name.casefold() for d in distinct)
    taken: set[str] = set()
    for draft in distinct:
        if claims[draft.name.casefold()] > 1:
            draft.name = _safe_name(without_suffix(tree.inside_root(draft.columns["source_path"])))
        # one recording cut into several clips, a.wav beside a.mp3, or names that differ in case alone
        bare, n = draft.name, 1
        while draft.name.casefold() in taken:
            n += 1
            draft.name = f"{bare}~{n}"
        taken.add(draft.name.casefold())
    listing.drafts = distinct


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
