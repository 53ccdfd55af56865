"""Short labelled segments of long clips, merged into longer ones where label and speaker stay the same.

The part's ``table`` lists the segments; ``columns`` must give ``parent`` (the long clip) and ``parent_start`` and
``parent_end`` (seconds in it). A segment is a file of its own, or ``start`` and ``end`` cut it out of one.
``parent`` stays a column, so that answers to segments can be put together to one answer per long clip.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from bench.corpora.preparation.listing import Draft, Listing, scan_table
from bench.corpora.preparation.votes import dump_votes
from bench.errors import DataError, UsageError, nearest

if TYPE_CHECKING:
    from bench.cards.corpus_layout import Part
    from bench.corpora.preparation.tree import SourceTree


@dataclass(frozen=True)
class Merging:
    """Whether to merge, and how long the result may be, in seconds."""

    merge: bool = True
    shortest: float = 2.0
    longest: float = 15.0
    gap: float = 0.05
    """Segments further apart than this are not neighbours."""


def read(part: Part, tree: SourceTree, listing: Listing) -> None:
    """List segments, merged unless ``options: {merge: false}``.

    Neighbours of one parent, speaker and emotion are joined as long as the whole stays within ``longest`` (15);
    what ends shorter than ``shortest`` (2) is left out and counted as such.

    Args:
        part: of the card's layout.
        tree: the source.
        listing: what the clips and problems are added to.
    """
    known = Merging.__dataclass_fields__
    if unknown := set(part.options) - set(known):
        raise UsageError(f"reader segments: no option {min(unknown)!r}; {nearest(min(unknown), known)}")
    rule = Merging(**part.options)
    before = len(listing.drafts)
    scan_table(part, tree, listing)
    segments = listing.drafts[before:]
    del listing.drafts[before:]
    ordered = sorted(segments, key=lambda d: (_parent(d), *_span(d)))
    groups = _merged(ordered, rule) if rule.merge else iter([d] for d in ordered)
    for group in groups:
        draft = _one(group)
        start, end = _span(draft)
        # Tenths of a millisecond are below what any annotation means: 2.0 s may be written 1.9999.
        if rule.merge and end - start < rule.shortest - 1e-4:
            listing.left_out += 1
        else:
            listing.drafts.append(draft)


def _merged(ordered: list[Draft], rule: Merging) -> Iterator[list[Draft]]:
    for _, same in groupby(ordered, key=_parent):
        group: list[Draft] = []
        for draft in same:
            if group and not _joins(group, draft, rule):
                yield group
                group = []
            group.append(draft)
        yield group


def _joins(group: list[Draft], draft: Draft, rule: Merging) -> bool:
    alike = all(draft.columns.get(c, "") == group[-1].columns.get(c, "") for c in ("emotion", "speaker"))
    start, end = _span(draft)
    near = abs(start - _span(group[-1])[1]) <= rule.gap
    return alike and near and end - _span(group[0])[0] <= rule.longest + 1e-4


def _one(group: list[Draft]) -> Draft:
    first, last = group[0], group[-1]
    start, end = _span(first)[0], _span(last)[1]
    columns = dict(first.columns) | {
        "parent_start": f"{start:g}",
        "parent_end": f"{end:g}",
        "segments": str(len(group)),
    }
    if any("soft_votes" in d.columns for d in group):
        votes: Counter[str] = Counter()
        for draft in group:
            votes.update(json.loads(draft.columns.get("soft_votes") or "{}"))
        columns["soft_votes"] = dump_votes(votes)
    if "transcript" in first.columns:
        columns["transcript"] = " ".join(filter(None, (d.columns["transcript"] for d in group)))
    name = f"{_parent(first)}/{start:08.3f}-{end:08.3f}"
    return Draft(name, tuple(p for d in group for p in d.pieces), columns)


def _parent(draft: Draft) -> str:
    try:
        return draft.columns["parent"]
    except KeyError:
        raise UsageError("reader segments: the part's 'columns' must give 'parent', the long clip") from None


def _span(draft: Draft) -> tuple[float, float]:
    try:
        return float(draft.columns["parent_start"]), float(draft.columns["parent_end"])
    except KeyError as missing:
        raise UsageError(f"reader segments: the part's 'columns' must give {missing}, in seconds") from None
    except ValueError as error:
        raise DataError(f"{draft.columns['source_path']}: parent_start, parent_end: {error}") from None
