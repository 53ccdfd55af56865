"""Further tables joined onto the listed clips; then composed and translated columns, in the order the card gives."""

from __future__ import annotations

import json
from collections.abc import Mapping

from bench.cards.corpus import CorpusCard
from bench.cards.corpus_layout import Join, Winner, fill
from bench.corpora.preparation.listing import Listing, path_columns
from bench.corpora.preparation.tables import TableRow, read_table
from bench.corpora.preparation.tree import SourceTree
from bench.corpora.preparation.votes import add_ratings, add_votes, votes_and_ratings
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
        if layout.winner is not None:
            _let_votes_decide(layout.winner, listing)
        for draft in listing.drafts:
            for column, cycle in layout.cycle.items():
                draft.columns[column] = _cycled(fill(cycle.of, draft.columns), cycle.length)
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


def _let_votes_decide(winner: Winner, listing: Listing) -> None:
    """Make a column of each clip's votes; without a single winner the clip is left out, as the card says."""
    decided = []
    for draft in listing.drafts:
        votes = json.loads(draft.columns.get("soft_votes") or "{}")
        first = [label for label, n in votes.items() if n == max(votes.values())]
        if len(first) != 1:
            listing.left_out += 1
            continue
        draft.columns[winner.column] = first[0]
        if winner.agreement:
            draft.columns[winner.agreement] = f"{votes[first[0]] / sum(votes.values()):.15g}"
        decided.append(draft)
    listing.drafts = decided


def _cycled(number: str, length: int) -> str:
    """Count a number within its stretch; a cell that holds none stays blank.

    >>> _cycled("000351", 350), _cycled("350", 350), _cycled("", 350)
    ('1', '350', '')
    """
    return str((int(number) - 1) % length + 1) if number.isdecimal() and int(number) > 0 else ""


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
    keys_of: dict[str, dict[str, None]] = {}
    for rel in tables:
        listing.used.add(rel)
        for row in read_table(tree.files[rel].path, join, rel, listing.say_of_table):
            key = fill(join.key, row)
            rows.setdefault(key, []).append(row)
            keys_of.setdefault(rel, {})[key] = None
    first = tables[0]
    wanted: dict[str, None] = {}
    made: dict[str, TableRow] = {}
    for draft in listing.drafts:
        key = fill(join.on, draft.columns | path_columns(draft.columns["source_path"]))
        wanted[key] = None
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
        _add(draft.columns, made[key], listing)
    _say_what_fills_nothing(join, keys_of, wanted, made, listing)


def _say_what_fills_nothing(
    join: Join,
    keys_of: Mapping[str, Mapping[str, None]],
    wanted: Mapping[str, None],
    made: Mapping[str, TableRow],
    listing: Listing,
) -> None:
    """Note tables none of whose rows is any clip's, and joins whose rows are found and hold nothing."""
    for rel, keys in keys_of.items():
        if listing.drafts and keys and not any(key in wanted for key in keys):
            text = (
                f"none of its {len(keys)} rows is a clip's: {join.key} is e.g. {next(iter(keys))[:60]!r}, the clips ask for "
                f"e.g. {next(iter(wanted))[:60]!r}; its columns stay blank"
            )
            listing.say("empty join", rel, text)
    if made and not any(value for columns in made.values() for value in columns.values()):
        text = f"its rows are found, and every cell of {', '.join(_given(join))} is blank"
        listing.say("empty join", next(iter(keys_of)), text)


def _add(columns: TableRow, further: TableRow, listing: Listing) -> None:
    """Add a join's columns: blank never overwrites what is known, votes and single ratings add up, what differs is said."""
    for name, value in further.items():
        known = columns.get(name, "")
        if not known or known == value:
            columns[name] = value
        elif value and name in ADDING:
            columns[name] = ADDING[name](known, value)
        elif value:
            text = f"{name} is {known!r}, and a further table says {value!r}; the first was kept"
            listing.say("listed twice", columns["source_path"], text)


ADDING = {"soft_votes": add_votes, "ratings": add_ratings}
"""Columns that several tables fill together."""


def _given(join: Join) -> list[str]:
    votes = ["soft_votes"] if join.votes or join.tally else []
    return [*join.columns, *votes, *join.ratings, *(["ratings"] if join.ratings and join.single else [])]


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
