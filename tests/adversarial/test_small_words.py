"""Small words that would say more than a record holds: levels, seeds, ties, who is the hardest, who leads."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cards.analysis_plan import AnalysisPlan
from bench.cli.running import _print_summary
from bench.execution.prepared_run import RunSummary
from bench.scoring.clip_answers import ClipAnswers, TaskAnswers
from bench.scoring.pair_results import sentence
from bench.scoring.predictions import PredictionTable
from bench.scoring.record_schema import AxisDescription
from bench.scoring.records import Record, write_record
from bench.storage.run_folder import RunFolder
from bench.tasks import Task
from reports.data.comparisons import compare_systems
from reports.formatting import lead
from reports.pages.templating import environment
from reports.sections.hard_clips import CLIPS_SHOWN, judged_clips, missed_clips
from reports.sections.pairwise import PairPage
from reports.sections.subgroups import slice_tables
from tests.adversarial.forged import answered, changed, published
from tests.forging import EARLIER

CLASSES = ("happy", "sad")


def test_a_run_prints_the_level_of_its_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = changed(
        published("quick", "egemaps-linear__indowave.id__within__clean"), plan=AnalysisPlan(level=0.9)
    )
    folder = RunFolder(tmp_path)
    folder.records.mkdir(parents=True)
    write_record(folder.records / "r.json", record.facts, [*record.blocks, *record.slices])
    _print_summary(RunSummary(folder, 0, 1, (), {}, {}, (), 1.0))
    printed = capsys.readouterr().out
    assert "90 % interval" in printed
    assert "95 %" not in printed


def test_one_seed_of_many_is_not_drawn_anew() -> None:
    """A pair of three seeds and one: an interval over the seeds of one system alone is not one with seeds drawn anew."""
    three = published(EARLIER, "whisper-tiny.en-superb__indowave.id__within__clean")
    one = changed(published("quick", "fbank-superb__indowave.id__within__clean"), seeds=(0,))
    one = Record(one.facts, tuple(replace(b, values=b.values[:1]) for b in one.blocks))
    assert one.has_one_seed_of_many
    (comparison,) = compare_systems([three, one])
    subject = comparison.subjects[0]
    (pairing,) = comparison.tested(subject)
    assert pairing.redrawn_low is not None, "what the engine computes from one system's seeds"
    page = PairPage(pairing.system_a, pairing.system_b, ((comparison, subject, pairing),), (), ())
    assert page.redrawn == (), "so no column says what seeds drawn anew would give"
    both = replace(pairing, one_seed=())
    assert replace(page, tests=((comparison, subject, both),)).redrawn == (both,)
    near = replace(pairing, verdict="better", low=0.1, high=0.2, redrawn_low=-0.1, redrawn_high=0.3)
    assert f"for these seeds only: were those of {three.system} drawn anew" in sentence(near)


def test_equal_scores_share_the_lead() -> None:
    table = np.zeros((6, 2, 3))
    table[:, 0, 0], table[:, 0, 1], table[:, 1, 1], table[:, 1, 0] = 8, 2, 8, 2
    table[0, 0, 0], table[0, 0, 1] = 7, 3
    records = [answered(table, CLASSES, system=name) for name in ("beta", "alpha")]
    (comparison,) = compare_systems(records)
    subject = comparison.subjects[0]
    said = lead(comparison, subject, "probed")
    assert said.startswith("alpha and beta share the highest UA of 2 probed systems: 79.2 %.")
    assert "alpha beats none of the others. beta beats none of the others." in said


def hard_task(n: int) -> Task:
    task = Task.__new__(Task)
    decoded = tuple(_Clip(f"c{i:03}.wav") for i in reversed(range(n)))
    values: dict[str, Any] = {
        "emotions": ("happy",) * n, "decoded": decoded, "votes": (None,) * n, "speakers": ("",) * n,
        "card": published("quick", "egemaps-linear__indowave.id__within__clean").facts.corpus_card,
    }  # fmt: skip
    for name, value in values.items():
        object.__setattr__(task, name, value)
    return task


class _Clip:
    samples = 16_000

    def __init__(self, name: str) -> None:
        self.clip_id = name


def wrong(task: Task, probability: np.ndarray | None) -> ClipAnswers:
    n = len(task)
    given = None if probability is None else np.stack([probability, 1 - probability], axis=1)
    table = PredictionTable(
        task.clip_ids, ("ok",) * n, ("sad",) * n, CLASSES, given, np.full((n, 3), np.nan), (None,) * n, {}
    )
    counts = np.zeros((2, 2, 3))
    counts[:, 0, 1] = 5
    return ClipAnswers(answered(counts, CLASSES), table)


def missed(task: Task, system: ClipAnswers, tmp_path: Path) -> Any:
    (comparison,) = compare_systems([system.record])
    judged = judged_clips(TaskAnswers(task, tmp_path, (system,)), comparison.subjects[0])
    assert judged is not None
    return missed_clips(judged, None)


def test_the_hardest_clips_are_those_that_a_system_was_surest_of_and_wrong(tmp_path: Path) -> None:
    n = 50
    task = hard_task(n)
    found = missed(task, wrong(task, np.linspace(0.01, 0.4, n)), tmp_path)
    assert (found.hard, len(found.hardest), found.tied, found.by_probability) == (50, CLIPS_SHOWN, 0, True)
    assert found.hardest[0].clip == "c049.wav", "not the first by name"


def test_clips_that_nothing_tells_apart_are_said_to_tie(tmp_path: Path) -> None:
    task = hard_task(50)
    found = missed(task, wrong(task, None), tmp_path)
    assert (found.hard, found.tied, found.by_probability) == (50, 20, False)
    template = environment().from_string(
        '{% import "task_clips.html.j2" as clips with context %}{{ clips.missed(more, 1, "", "") }}'
    )
    more = type(
        "More",
        (),
        {"clips": type("C", (), {"missed": found, "left_out": 0, "absent": "", "not_browsed": ""})},
    )
    text = re.sub(r"<[^>]+>", "", template.render(more=more, site=type("Site", (), {"board": None})))
    assert "30 of the 50 clips that the system misses" in text
    assert "20 more clips are missed just as the last of these" in text
    assert "hardest clips (" not in text


def test_an_old_record_blames_the_corpus_and_the_page_does_not() -> None:
    axis = AxisDescription(axis="gender", groups=(), edges_seconds=(), absent="the corpus names no gender")
    record = changed(published("quick", "egemaps-linear__indowave.id__within__clean"), axes=(axis,))
    (comparison,) = compare_systems([record])
    _, absent = slice_tables([record], comparison.subjects[0])
    assert absent == ["Gender: the card and its manifest carry no gender"]
