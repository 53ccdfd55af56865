"""Further tables joined onto the listed clips; then composed and translated columns, in the order the card gives."""

from __future__ import annotations

from bench.cards.corpus import CorpusCard
from bench.cards.corpus_layout import Join, fill
from bench.corpora.preparation.listing import Listing, path_columns
from bench.corpora.preparation.tables import TableRow, read_table
from bench.corpora.preparation.tree import SourceTree
from bench.corpora.preparation.votes import votes_and_ratings
from bench.errors import UsageError


def complete(card: CorpusCard, tree: SourceTree, listing: Listing) -> None:
    """Add to each listed clip what joins, ``compose`` and ``translate`` of the card's layout say.

    Args:
        card: whose layout it is.
        tree: the source, with the joined tables.
        listing: the clips, changed in place; problems are added to it.

    Raises:
        UsageError: the layout names a column that is not there.
    """
    layout = card.layout
    assert layout is not None
    try:
        for join in layout.join:
            _join(join, tree, listing)
        for draft in listing.drafts:
            for column, template in layout.compose.items():
                draft.columns[column] = fill(
                    template, draft.columns | path_columns(draft.columns["source_path"])
                )
    except KeyError as error:
        raise UsageError(f"card {card.name!r}, layout: {error.args[0]}") from None
    for draft in listing.drafts:
        for column, values in layout.translate.items():
            raw = draft.columns.get(column, "")
            if raw in values or "*" in values:
                draft.columns[column] = values.get(raw, values.get("*", raw))


def _join(join: Join, tree: SourceTree, listing: Listing) -> None:
    _, tables = tree.matching(join.table or ())
    if not tables:
        if not join.optional:
            listing.say(
                "no row", ", ".join(join.table or ()), "there is no such table; its columns stay blank"
            )
        for draft in listing.drafts:
            for column in _given(join):
                draft.columns.setdefault(column, "")
        return
    rows: dict[str, list[TableRow]] = {}
    for rel in tables:
        listing.used.add(rel)
        for row in read_table(tree.files[rel].path, join, rel):
            rows.setdefault(fill(join.key, row), []).append(row)
    first = tables[0]
    made: dict[str, TableRow] = {}
    for draft in listing.drafts:
        key = fill(join.on, draft.columns | path_columns(draft.columns["source_path"]))
        if key not in rows:
            if not join.optional:
                listing.say(
                    "no row", draft.columns["source_path"], f"{first} has no row with {join.key} {key!r}"
                )
            for column in _given(join):
                draft.columns.setdefault(column, "")
            continue
        if key not in made:
            made[key] = _columns(join, rows[key], listing, f"{first}: {key}")
        draft.columns |= made[key]


def _given(join: Join) -> list[str]:
    votes = ["soft_votes"] if join.votes or join.tally is not None else []
    return [*join.columns, *votes, *join.ratings]


def _columns(join: Join, rows: list[TableRow], listing: Listing, where: str) -> TableRow:
    found: TableRow = {}
    for ours, theirs in join.columns.items():
        values = list(dict.fromkeys(fill(theirs, row) for row in rows))
        if len(values) > 1:
            listing.say(
                "listed twice", where, f"{ours} is {values[0]!r} and {values[1]!r}; the first was taken"
            )
        found[ours] = values[0]
    return found | votes_and_ratings(join, rows, listing.problems, where)
