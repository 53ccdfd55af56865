"""Readers for formats that need code. Each is one small module; a card names it under ``reader:``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.corpora.preparation.readers import emo_evaluation, merged_segments, nested_dialogues

if TYPE_CHECKING:
    from bench.cards.corpus_layout import Part
    from bench.corpora.preparation.listing import Listing
    from bench.corpora.preparation.tree import SourceTree

READERS: dict[str, Callable[[Part, SourceTree, Listing], None]] = {
    "emo-evaluation": emo_evaluation.read,
    "nested-dialogues": nested_dialogues.read,
    "segments": merged_segments.read,
}


def read_with(part: Part, tree: SourceTree, listing: Listing) -> None:
    """List a part's clips with the reader it names.

    Args:
        part: of the card's layout, with ``reader``.
        tree: the source.
        listing: what the clips and problems are added to.
    """
    assert part.reader is not None
    READERS[part.reader](part, tree, listing)
