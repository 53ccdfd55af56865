"""The script file beside a first page: every row, column and verdict, for the page's own script to search and filter.

It is loaded by a script tag, never fetched, so that it works from a folder on disk; the page's policy lets it through because
the page's own script, known by its hash, asks for it. It holds nothing but JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from bench.scoring.pair_results import PairResult
from bench.storage.scrubbing import Scrubber
from reports import formatting
from reports.data.caution_badges import caution_badges
from reports.data.reference_lines import shared_line
from reports.pages.templating import page_name, visible
from reports.sections.family_answers import FAMILIES, TURNED, sign
from reports.sections.language_coverage import LanguageCoverage, Needs
from reports.sections.leaders import axis_of
from reports.sections.system_table import MET, SystemTable, TableRow
from reports.sections.task_columns import TaskColumn, is_clean

FILE = "rows.js"
VARIABLE = "SERBENCH_ROWS"


def rows_json(
    table: SystemTable,
    covered: Sequence[LanguageCoverage],
    needs: Needs | None,
    pairs: Sequence[tuple[str, str, str]],
    planned: Sequence[tuple[str, str, str]],
) -> str:
    """Everything that a first page can show, as JSON that may stand inside a script.

    Args:
        table: every system.
        covered: languages, measured or catalogued.
        needs: what an unmeasured language would take.
        pairs: two systems and the address of their page.
        planned: systems without a record: name, family, reason.

    Returns:
        ASCII, without any ``<``.
    """
    words = Scrubber.of_this_machine()
    place = {r.system: i for i, r in enumerate(table.rows)}
    shown = {id(c) for c in table.shown}
    main = {id(c) for c in table.main}
    data = {
        "families": FAMILIES,
        "met": MET,
        "tracks": formatting.TRACK_TITLES,
        "level": formatting.level_words(table.main[0].facts.plan.level) if table.main else "",
        "usual": table.main[0].condition if table.main else "clean",
        "percent": not table.main or formatting.is_percent(table.main[0].subject),
        "metric": formatting.METRIC_TITLES[table.main[0].subject.metric] if table.main else "",
        "systems": [_system(r) for r in table.rows],
        "columns": [
            _column(k, table, place, shown=id(c) in shown, main=id(c) in main)
            for k, c in enumerate(table.columns)
        ],
        "means": [
            [place[s], condition, language, *_figures(m.estimate, m.low, m.high, table), m.tasks]
            for (s, condition, language), m in sorted(table.means.items())
        ],
        "languages": [
            [c.tag, c.name, c.state, c.words, [[e.name, e.title, e.access, e.licence] for e in c.catalogued]]
            for c in covered
        ],
        "needs": needs.words if needs else "",
        "pairs": [[a, b, address] for a, b, address in pairs],
        "planned": [list(p) for p in planned],
    }
    text = json.dumps(_cleaned(data, words), separators=(",", ":"))
    return text.replace("<", "\\u003c")


def rows_script(data: str) -> str:
    """The file's text."""
    return f"window.{VARIABLE}={data};\n"


def _cleaned(value: Any, words: Scrubber) -> Any:
    """The same values without what is private, and without letters that hide."""
    if isinstance(value, str):
        return visible(words.text(value))
    if isinstance(value, dict):
        return {k: _cleaned(v, words) for k, v in value.items()}
    return [_cleaned(v, words) for v in value] if isinstance(value, list | tuple) else value


def _system(row: TableRow) -> list[Any]:
    facts, rank = row.facts, row.rank
    return [
        row.system,
        facts.title,
        facts.family,
        facts.track,
        facts.card.parameters,
        facts.card.licence,
        row.commercial,
        None if row.seconds_per_hour is None else round(row.seconds_per_hour, 1),
        bool(facts.imported),
        row.one_seed,
        quote(page_name("system", row.system)),
        [rank.words, round(rank.mean, 3)] if rank else None,
        [[m, n] for m, n in row.met],
    ]


def _figures(estimate: float, low: float | None, high: float | None, table: SystemTable) -> list[Any]:
    percent = not table.main or formatting.is_percent(table.main[0].subject)
    return [
        formatting.number(estimate, percent=percent),
        formatting.span(low, high, percent=percent),
        round(estimate, 5),
    ]


def _column(
    number: int, table: SystemTable, place: dict[str, int], *, shown: bool, main: bool
) -> dict[str, Any]:
    column = table.columns[number]
    facts = column.facts
    line = shared_line(column.subject, list(column.records.values()))
    axis = axis_of(column)
    reference = {r.system for r in table.rows if r.facts.track == "reference"}
    return {
        "task": column.task,
        "page": quote(page_name("task", column.task)),
        "language": column.language,
        "name": formatting.language_name(facts.language),
        "setting": column.setting,
        "condition": column.condition,
        "clean": is_clean(column),
        "unit": column.unit,
        "percent": formatting.is_percent(column.subject),
        "plain": column.plain and bool(table.main) and column.subject == table.main[0].subject,
        "shown": shown,
        "main": main,
        "access": facts.corpus_card.access,
        "synthetic": facts.synthetic,
        "badges": [[b.word, b.title, b.grave] for b in caution_badges(facts)],
        "chance": axis.x(line.value) if line else None,
        "cells": [_cell(number, column, i, table.rows[i]) for s, i in place.items() if s in column.records],
        "signs": _signs(column.tested, place, reference),
    }


def _cell(number: int, column: TaskColumn, place: int, row: TableRow) -> list[Any]:
    record, axis = column.records[row.system], axis_of(column)
    scored, cell = column.subject.row(record), row.cells[number]
    assert scored is not None
    assert cell is not None
    rank = column.comparison_of(row.system).rank(column.subject, record.facts.track, row.system)
    return [
        place,
        cell.score.estimate,
        cell.score.interval,
        round(scored.estimate, 5),
        round(20 * min(max(cell.depth, 0.0), 1.0)),
        MET.index(cell.met) if cell.met in MET else MET.index("undisclosed"),
        "" if rank is None or record.facts.track == "reference" else formatting.rank_words(rank),
        axis.x(scored.estimate),
        None if scored.low is None else axis.x(scored.low),
        None if scored.high is None else axis.x(scored.high),
    ]


def _signs(tested: Sequence[PairResult], place: dict[str, int], reference: set[str]) -> list[list[Any]]:
    """Verdicts: [systems, letters of the pairs (0, 1), (0, 2), (1, 2) …] by family of tests; a dot where there is none."""
    families: dict[str, list[PairResult]] = {}
    for p in tested:
        if p.system_a in place and p.system_b in place and not {p.system_a, p.system_b} & reference:
            families.setdefault(p.family, []).append(p)
    made = []
    for own in families.values():
        said = {(p.system_a, p.system_b): sign(p) for p in own}
        if len(own) < 3:
            made += [[[place[a], place[b]], s or "."] for (a, b), s in said.items()]
            continue
        members = sorted({s for pair in said for s in pair}, key=place.__getitem__)
        letters = [
            said.get((a, b)) or TURNED.get(said.get((b, a), ""), said.get((b, a), "")) or "."
            for j, b in enumerate(members)
            for a in members[:j]
        ]
        made.append([[place[m] for m in members], "".join(letters)])
    return made
