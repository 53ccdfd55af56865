"""Blocks of Markdown pages that are made from published records, by the names that stand in their markers.

``claims:QUESTION`` is a question of the ledger with its claims, ``headline:QUESTION`` its summary alone, ``verdicts:NAME`` the planned pairs of a publication,
``results:NAME`` a table of ``claims.yaml`` or the scores of a publication, ``families:NAME`` the highest score of each family of systems.
"""

from __future__ import annotations

from bench.errors import DataError, nearest
from bench.leaderboard.claims.ledger import ClaimLedger
from bench.leaderboard.claims.sentences import NOTHING, block, summary
from bench.leaderboard.claims.verdicts import planned_verdicts, verdict_line
from bench.leaderboard.evidence import Evidence
from bench.leaderboard.lazy_records import stored_record
from bench.scoring.records import Record
from reports.exports.markdown import results_table
from reports.pages.family_table import family_table
from reports.pages.study_tables import study_table


class MarkdownBlocks:
    """Makes a block when a page asks for it.

    Args:
        ledger: claims, and everything published.
    """

    def __init__(self, ledger: ClaimLedger) -> None:
        self._ledger = ledger
        self._cells = ledger.cells
        self._made: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """The text of the block ``name``.

        Raises:
            DataError: nothing is known under that name.
        """
        if name not in self._made:
            kind, _, subject = name.partition(":")
            make = {
                "claims": self._claims,
                "headline": self._headline,
                "verdicts": self._verdicts,
                "results": self._results,
                "families": self._families,
            }
            self._made[name] = make[kind](subject)
        return self._made[name]

    def _claims(self, question: str) -> str:
        return block(self._ledger, self._asked(question))

    def _headline(self, question: str) -> str:
        return summary(self._ledger.of(self._asked(question))) or NOTHING

    def _asked(self, question: str) -> str:
        known = [q.id for q in self._ledger.rules.questions]
        if question not in known:
            raise DataError(f"{question!r} is no question of claims.yaml; {nearest(question, known)}")
        return question

    def _verdicts(self, name: str) -> str:
        pairs = self._ledger.rules.pairs.get(name)
        found = planned_verdicts(self._records(name), pairs)
        return "\n".join(f"- {verdict_line(p, self._cells)}" for p in found)

    def _results(self, name: str) -> str:
        table = self._ledger.rules.tables.get(name)
        if table is None:
            return results_table(self._records(name)).strip()
        return study_table(table, self._records(table.study))

    def _families(self, name: str) -> str:
        records = self._records(name)
        tasks = {r.task for r in records}
        others = [
            e
            for e in self._ledger.evidence
            if e.stands and e.publication.removeprefix("studies/") != name and e.facts.task in tasks
        ]
        ranked = {(e.facts.task, e.facts.card.family) for e in others if e.standing == "board"}
        # What stands on the board speaks before studies, which also ask controls that nobody ranks.
        elsewhere = [
            _record(e)
            for e in others
            if e.standing == "board" or (e.facts.task, e.facts.card.family) not in ranked
        ]
        return family_table(records, elsewhere)

    def _records(self, name: str) -> list[Record]:
        """Standing records of a publication, by its name on the board or among the studies."""
        standing = [e for e in self._ledger.evidence if e.stands]
        for publication in (name, f"studies/{name}"):
            if found := [_record(e) for e in standing if e.publication == publication]:
                return found
        known = {e.publication.removeprefix("studies/") for e in standing}
        raise DataError(
            f"nothing is published as {name!r}, which a page's block names; {nearest(name, known)}"
        )


def _record(e: Evidence) -> Record:
    return stored_record(e.path, e.facts)
