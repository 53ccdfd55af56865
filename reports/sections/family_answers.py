"""The answer of a first page: of each family of systems the best, its score, what it beats and what it cannot be told from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.scoring.outcomes import RecordOutcome
from bench.scoring.pair_results import PairResult
from reports.sections.system_table import SystemTable, TableRow

FAMILIES = {
    "trained": ("Trained here", "a network whose weights learnt on the task’s other speakers"),
    "encoder": ("Frozen encoders", "a speech encoder as it is, and a small classifier that learnt here"),
    "audio-llm": ("Audio-LLMs", "a language model that hears, asked in words"),
    "acoustic": ("Acoustic features", "measured by formula, and a small classifier that learnt here"),
}
"""Of competing systems: title, and what it is in words."""
SIGNS = {"better": "+", "worse": "-", "equivalent": "=", "cannot-separate": "?"}
FOR_THESE_SEEDS = {"+": "p", "-": "m"}
"""Verdicts that hold for the seeds that were run only."""
TURNED = {"+": "-", "-": "+", "p": "m", "m": "p"}


def sign(p: PairResult) -> str:
    """A verdict as one letter, seen from the first of the two; blank where there is none."""
    plain = SIGNS.get(p.kind, "")
    return FOR_THESE_SEEDS.get(plain, plain) if p.rests_on_seeds else plain


@dataclass
class Opponent:
    """Another system, and the tasks on which it was tested against the best."""

    system: str
    signs: list[str] = field(default_factory=list)

    def on(self, signs: str) -> str:
        """On how many of the tasks tested: ``3/4``; ° where a verdict is for the seeds run only."""
        count = sum(s in signs for s in self.signs)
        return f"{count}/{len(self.signs)}{'°' if any(s in 'pm' and s in signs for s in self.signs) else ''}"

    def count(self, signs: str) -> int:
        """Tasks with one of these verdicts."""
        return sum(s in signs for s in self.signs)


@dataclass(frozen=True)
class FamilyAnswer:
    """A family's best system, or why there is none."""

    family: str
    title: str
    gloss: str
    row: TableRow | None
    opponents: tuple[Opponent, ...]
    planned: tuple[str, ...]
    """Systems that were planned and not scored, where the family has none."""
    reason: str

    def against(self, signs: str) -> list[tuple[str, str]]:
        """Opponents with one of these verdicts and on how many tasks, most tasks first."""
        found = [o for o in self.opponents if o.count(signs)]
        return [(o.system, o.on(signs)) for o in sorted(found, key=lambda o: (-o.count(signs), o.system))]


def family_answers(
    table: SystemTable, outcomes: Sequence[RecordOutcome], families: dict[str, str]
) -> list[FamilyAnswer]:
    """Answer for each family, over the table's main columns.

    The best is the one with the highest mean among those of the family that were scored on most of the tasks.

    Args:
        table: every system.
        outcomes: what became of everything planned, for families without a score.
        families: family of each system that has no record, as far as its card is known.

    Returns:
        One answer per family.
    """
    made = []
    for family, (title, gloss) in FAMILIES.items():
        rows = [r for r in table.rows if r.facts.family == family and r.mean_estimate is not None]
        most = max((r.tasks for r in rows), default=0)
        best = max(
            (r for r in rows if r.tasks == most and most),
            key=lambda r: (r.mean_estimate or 0.0, r.system),
            default=None,
        )
        missing = [o for o in outcomes if families.get(o.system) == family and o.state != "scored"]
        made.append(
            FamilyAnswer(
                family,
                title,
                gloss,
                best,
                tuple(_opponents(table, best)) if best else (),
                tuple(dict.fromkeys(o.system for o in missing)),
                missing[0].reason if missing else "",
            )
        )
    return made


def _opponents(table: SystemTable, best: TableRow) -> list[Opponent]:
    reference = {r.system for r in table.rows if r.facts.track == "reference"}
    met: dict[str, Opponent] = {}
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for column in table.main:
        for p in column.tested:
            if best.system not in (p.system_a, p.system_b):
                continue
            other = p.system_b if p.system_a == best.system else p.system_a
            said = sign(p)
            if other in reference or not said or column.task in seen[best.system, other]:
                continue
            seen[best.system, other].add(column.task)
            own = said if p.system_a == best.system else TURNED.get(said, said)
            met.setdefault(other, Opponent(other)).signs.append(own)
    return list(met.values())
