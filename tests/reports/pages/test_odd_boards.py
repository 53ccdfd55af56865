"""Boards of what is seldom run together: metrics side by side, pairs that met under different protocols."""

from __future__ import annotations

from pathlib import Path

from bench.scoring.comparisons import ACROSS_PROTOCOLS
from bench.scoring.records import Record, read_records
from reports.data.comparisons import compare_systems
from reports.sections.forest_boards import system_boards
from reports.sections.pairwise import pair_page, pairs_to_show
from reports.sections.system_table import system_table
from reports.sections.task_columns import main_columns, shown_first, task_columns

RESULTS = Path(__file__).parents[3] / "results"
SMALL, PROBE = "meralion-ser-small", "whisper-tiny.en-superb"


def test_tasks_scored_in_different_metrics_have_a_board_and_a_heat_map_each() -> None:
    comparisons = compare_systems(read_records(RESULTS / "studies/dimensions/records"))
    comparison = next(c for c in comparisons if {s.metric for s in c.subjects} == {"ua", "ccc"})
    of = {s.metric: s for s in comparison.subjects}
    for order in (("ccc", "ua"), ("ua", "ccc")):
        shown = [(comparison, of[metric]) for metric in order]
        boards = system_boards(
            [comparison, comparison], "meralion-ser-logmel", {i: s for i, (_, s) in enumerate(shown)}
        )
        assert [b.subject.metric for b in boards] == list(order)
        for board in boards:
            (row,) = board.rows
            assert len(row.others) == len(board.other_titles)
            scored = board.subject.row(row.record)
            assert scored is not None
            assert board.axis.low <= scored.estimate <= board.axis.high


def test_means_are_of_one_metric_and_every_dimension_has_one_column() -> None:
    columns = task_columns(compare_systems(read_records(RESULTS / "studies/dimensions/records")))
    names = [(c.task, c.setting, c.condition, c.unit) for c in columns]
    assert len(names) == len(set(names))
    assert {c.subject.metric for c in columns} == {"ua", "ccc"}
    main = main_columns(columns)
    assert {c.subject.metric for c in main} == {"ua"}, "categories go before dimensions"
    only = [c for c in columns if c.subject.metric == "ccc"]
    (dimension,) = {c.subject.dimension for c in main_columns(only)}
    table = system_table(only, main_columns(only), shown_first(main_columns(only)), {})
    assert dimension in ("valence", "arousal", "dominance")
    assert all(r.mean is not None for r in table.rows if r.tasks)


def test_a_pair_that_the_plan_names_is_shown_where_its_systems_ran_under_different_protocols() -> None:
    records = [
        r
        for r in read_records(RESULTS / "quick/records")
        if r.task == "indowave.id" and r.system in (SMALL, PROBE)
    ]
    apart = [
        Record(r.facts.model_copy(update={"protocol": "zero-shot"}), r.blocks) if r.system == PROBE else r
        for r in records
    ]
    (together,), (first, second) = compare_systems(records), compare_systems(apart)
    assert [c.records[0].system for c in (first, second)] == [SMALL, PROBE]
    subject = together.subjects[0]
    (usual,), (found,) = together.across(subject), first.across(subject)
    assert (found.system_a, found.system_b, found.family) == (SMALL, PROBE, ACROSS_PROTOCOLS)
    assert (found.difference, found.low, found.high, found.p_value) == (
        usual.difference,
        usual.low,
        usual.high,
        usual.p_value,
    )
    assert "They differ in protocol" in found.sentence
    assert second.across(subject) == []
    assert pairs_to_show([first, second]) == [(SMALL, PROBE)]
    (test,) = [t for t in pair_page([first, second], PROBE, SMALL, None).tests if t[1] == subject]  # type: ignore[arg-type]
    assert test[2].difference == -found.difference
