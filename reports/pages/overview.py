"""What a first page is filled with: the answer by family, languages, one table, and what follows over all tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

from bench.cards.registry import load_system, system_names
from bench.errors import BenchError
from bench.scoring.outcomes import count_outcomes, outcome_words
from bench.scoring.subject import Subject
from bench.tasks.catalogue import CatalogueEntry
from reports import formatting
from reports.data.comparisons import TRACKS, TaskComparison, overview_comparisons
from reports.data.conditions import condition_words, severity
from reports.data.run_data import RunData
from reports.pages.overview_rows import rows_json
from reports.sections.average_ranks import rankings_across_pools
from reports.sections.costs import hours_of_audio, quality_and_cost, seconds_per_hour
from reports.sections.family_answers import family_answers
from reports.sections.language_coverage import language_strip, what_it_takes
from reports.sections.leaders import PERCENT, leader_rows
from reports.sections.over_tasks import over_all_tasks
from reports.sections.system_table import SystemTable, system_table
from reports.sections.task_columns import main_columns, shown_first, task_columns

ROWS = 40
"""Systems in the page itself; the script file beside it has all of them."""
ALWAYS_ASKED = ("telephone", "noise-10db")
"""Audio that people ask for, offered also where nobody measured it, so that the answer is that."""


@dataclass(frozen=True)
class Overview:
    """A first page in the making; what is dear is made once, and only when it is asked for.

    Args:
        run: what is reported.
        comparisons: every comparison.
        catalogued: tasks of the shipped corpus cards.
        pairs: two systems and the address of their page.
        published: whether it is a board.
    """

    run: RunData
    comparisons: Sequence[TaskComparison]
    catalogued: Sequence[CatalogueEntry]
    pairs: Sequence[tuple[str, str, str]]
    published: bool

    @cached_property
    def table(self) -> SystemTable:
        """Every system on everything."""
        columns = task_columns(self.comparisons)
        main = main_columns(columns)
        return system_table(columns, main, shown_first(main), self._speed)

    @cached_property
    def _speed(self) -> dict[str, float]:
        return seconds_per_hour(self.run.records, self.run.work, self._hours_of_audio)

    @cached_property
    def _hours_of_audio(self) -> dict[str, float]:
        return hours_of_audio(self.run.records)

    @cached_property
    def _shown(self) -> list[tuple[TaskComparison, Subject]]:
        return [(c, c.subjects[0]) for c in overview_comparisons(self.comparisons) if c.subjects]

    @cached_property
    def _unscored(self) -> dict[str, tuple[str, str]]:
        """Family and reason of systems that were planned and have no record at all, as far as a card is known."""
        scored = {r.system for r in self.table.rows}
        found: dict[str, tuple[str, str]] = {}
        known = set(system_names())
        for o in self.run.outcomes:
            if o.system not in scored and o.system not in found and o.state != "scored":
                try:
                    family = load_system(o.system).family if o.system in known else ""
                except BenchError:
                    family = ""
                found[o.system] = family, o.reason
        return found

    def rows(self) -> str:
        """The data of the script file beside the page."""
        covered, others = language_strip(self.table.columns, self.catalogued)
        return rows_json(
            self.table,
            [*covered, *others],
            what_it_takes(self.table.main),
            self.pairs,
            [(s, family, reason) for s, (family, reason) in self._unscored.items()],
        )

    def context(self) -> dict[str, Any]:
        """Everything that the page's template asks for."""
        run, table, shown = self.run, self.table, self._shown
        covered, others = language_strip(table.columns, self.catalogued)
        clips = {c.task: c.facts.clips for c in self.comparisons}
        return {
            "table": table,
            "answers": family_answers(table, run.outcomes, {s: f for s, (f, _) in self._unscored.items()}),
            "main_languages": len({c.language for c in table.main}),
            "covered": covered,
            "others": others,
            "others_measured": [c for c in others if c.state == "measured"],
            "conditions": self._conditions(),
            "shown": [k for k, c in enumerate(table.columns) if c in table.shown],
            "by_track": [
                (t, list(own)) for t, own in groupby(table.rows[:ROWS], key=lambda r: r.facts.track)
            ],
            "rows_left": max(0, len(table.rows) - ROWS),
            "leaders": leader_rows(table.columns),
            "percent_axis": PERCENT,
            "not_publishable": [
                r
                for c in overview_comparisons(self.comparisons)
                for r in c.records
                if not r.facts.publishable and not r.facts.synthetic and not r.facts.limited
            ],
            "tally": formatting.tally([p for c, s in shown for p in c.tested(s)]),
            "rankings": rankings_across_pools(shown),
            "over_tasks": over_all_tasks(shown),
            "clips": clips,
            "tracks": [t for t in TRACKS if any(t in c.tracks for c in self.comparisons)],
            "outcomes_said": outcome_words(run.outcomes, "published" if self.published else "scored"),
            "outcome_counts": count_outcomes(run.outcomes),
            "planned": sum(o.planned for o in run.outcomes),
            "planned_and_scored": sum(o.planned and o.state == "scored" for o in run.outcomes),
            "costs": quality_and_cost(shown, run.work, self._hours_of_audio),
            "pools": {c.facts.pool for c in self.comparisons},
        }

    def _conditions(self) -> list[tuple[str, str]]:
        """Conditions to choose from, each with what it does."""
        names = {c.condition for c in self.table.columns} | set(ALWAYS_ASKED)
        usual = self.table.main[0].condition if self.table.main else "clean"
        return [
            (name, f"{name}: {condition_words(name)}" if condition_words(name) else name)
            for name in sorted(names - {usual}, key=severity)
        ]
