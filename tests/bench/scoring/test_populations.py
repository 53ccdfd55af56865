"""Records of a corpus whose sentences are known: counts by sentence, intervals and verdicts over more of them, and pairs over tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import load_task
from bench.cards.analysis_plan import AnalysisPlan
from bench.errors import DataError
from bench.execution.planning.matrix import Entry, Matrix
from bench.execution.scoring_stage import score_planned
from bench.scoring.across_tasks import claims_over_tasks, in_main_view, over_pools
from bench.scoring.comparisons import compare_pair, run_family
from bench.scoring.pair_results import PairResult, sentence
from bench.scoring.records import Record, read_record, write_record
from bench.scoring.rescoring import from_record
from bench.statistics.families import CANNOT_SEPARATE
from bench.statistics.populations import Population
from bench.statistics.synthesis import Synthesis
from bench.tasks import Task
from reports.data.comparisons import compare_systems
from reports.sections.over_tasks import over_all_tasks
from tests.bench.scoring.test_scoring import find, record_plan, tables
from tests.conftest import rewrite, write_tone_corpus

SENTENCES = 4
LABELS = ("happy", "sad", "angry")


@pytest.fixture
def task(tmp_path: Path, cache: Path) -> Task:
    """Eight speakers say four sentences in three emotions."""
    folder = write_tone_corpus(tmp_path / "spoken", speakers=8, labels=LABELS, clips=SENTENCES)
    rewrite(folder, script=lambda row: f"sentence {row['file_name'][-5]}")
    return load_task("spoken.ms", data=[folder])


def answers(task: Task, hard: str, seed: int, share: float = 0.8) -> list[str | None]:
    """Right but for one sentence that is never heard, and chance."""
    rng = np.random.default_rng(seed)
    return [
        str(e) if s != hard and rng.random() < share else LABELS[int(rng.integers(3))]
        for e, s in zip(task.emotions, task.scripts, strict=True)
    ]


def scored(
    task: Task, tmp_path: Path, population: Population, system: str, given: list[str | None], **plan: Any
) -> Record:
    record, _ = record_plan(task, system)
    matrix = Matrix(
        name="m",
        entries=(Entry(systems=(system,)),),
        plan=AnalysisPlan(population=population, permutations=1000, **plan),
    )
    facts, blocks = score_planned(record, tables(task, record, given), matrix, {})
    path = tmp_path / f"{system}-{population.replace(' ', '')}.json"
    write_record(path, facts, blocks)
    return read_record(path)


def test_a_record_keeps_counts_by_sentence_that_add_up_to_the_whole(task: Task, tmp_path: Path) -> None:
    record = scored(task, tmp_path, "speakers x sentences", "majority", answers(task, "sentence 0", 0))
    facts = record.facts
    assert (len(facts.sentence_names), len(facts.sentence_cells)) == (SENTENCES, 8 * SENTENCES)
    assert not any("sentence" in name for name in facts.sentence_names), "names are hashed"
    (block,) = [b for b in record.slices if b.axis == "sentence" and b.view == "native"]
    whole = record.block("native", "wrong", "all", "category")
    assert whole is not None
    assert block.values.sum(axis=1) == pytest.approx(whole.values.sum(axis=1))
    row = find(record.scores, view="native", rows="all", metric="ua", outside="wrong")
    assert row.population == "speakers x sentences"
    assert row.low is not None and row.high is not None  # noqa: PT018
    assert row.population_low is not None and row.population_high is not None  # noqa: PT018
    assert row.population_high - row.population_low > 1.5 * (row.high - row.low), "one of four is never heard"
    values = [np.mean([v[k, k] / v[k].sum() for k in range(3)]) for v in whole.averaged]
    assert row.by_speaker == pytest.approx(np.mean(values))
    path = tmp_path / "majority-speakersxsentences.json"
    assert from_record(path).record.scores == record.scores


def test_a_plan_that_asks_for_speakers_has_no_wider_interval(task: Task, tmp_path: Path) -> None:
    record = scored(task, tmp_path, "speakers", "majority", answers(task, "sentence 0", 0))
    row = find(record.scores, view="native", rows="all", metric="ua", outside="wrong")
    assert (row.population, row.population_low, row.population_lacking) == ("speakers", None, ())
    assert (
        Matrix(name="m", entries=(Entry(systems=("majority",)),)).hash
        == Matrix(
            name="m", entries=(Entry(systems=("majority",)),), plan=AnalysisPlan(population="speakers")
        ).hash
    )


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("", "the manifest has a column 'script', which tells nothing"),
        ("one", "all clips speak one sentence"),
        (lambda row: row["file_name"], "too few to tell sentences from speakers"),
        (lambda row: "" if row["speaker"] == "00" else "x", "name no sentence"),
    ],
)
def test_where_sentences_are_not_crossed_a_record_says_why(
    tmp_path: Path, cache: Path, script: str | Callable[[dict[str, str]], str], words: str
) -> None:
    folder = write_tone_corpus(tmp_path / "spoken", speakers=4, labels=LABELS)
    rewrite(folder, script=script)
    task = load_task("spoken.ms", data=[folder])
    record = scored(task, tmp_path, "speakers x sentences", "majority", answers(task, "", 0))
    assert words in record.facts.sentences_absent
    row = find(record.scores, view="native", rows="all", metric="ua", outside="wrong")
    assert (row.population, row.population_low) == ("speakers", None)
    assert words in row.population_lacking[0]


def pair(task: Task, tmp_path: Path, population: Population) -> PairResult:
    """Two systems of which one never hears a sentence: sure over these four, not over more."""
    made = [
        scored(task, tmp_path, population, "egemaps-linear", answers(task, "", 1, 0.95)),
        scored(task, tmp_path, population, "egemaps-svm", answers(task, "sentence 2", 2, 0.95)),
    ]
    found = compare_pair(made, "egemaps-linear", "egemaps-svm")
    (main,) = [p for p in found if (p.view, p.metric, p.outside) == ("native", "ua", "wrong")]
    return main


def test_a_verdict_over_more_sentences_needs_them(task: Task, tmp_path: Path) -> None:
    narrow = pair(task, tmp_path, "speakers")
    assert narrow.verdict == "better"
    assert "more such speakers, these sentences, these weights" in narrow.sentence
    wide = pair(task, tmp_path, "speakers x sentences")
    assert wide.population == "speakers x sentences"
    assert wide.verdict == CANNOT_SEPARATE
    assert wide.population_low is not None
    assert wide.population_low < 0 < wide.low
    assert "more such speakers, more such sentences" in wide.sentence
    assert any("holds for more such clusters, these sentences" in note for note in wide.notes)
    turned = wide.turned()
    assert (turned.population_low, turned.population_high) == (-wide.population_high, -wide.population_low)  # type: ignore[operator]
    assert json.dumps(wide.as_json())


def test_a_record_whose_cells_do_not_add_up_is_refused(task: Task, tmp_path: Path) -> None:
    record = scored(task, tmp_path, "speakers x sentences", "majority", answers(task, "", 0))
    (block,) = [b for b in record.slices if b.axis == "sentence" and b.view == "native"]
    changed = replace(block, values=block.values * 2)
    path = tmp_path / "majority-speakersxsentences.json"
    others = [b for b in record.slices if b is not block]
    write_record(path, record.facts, [*record.blocks, *others, changed])
    with pytest.raises(DataError, match="by sentence do not add up"):
        from_record(path)
    said = json.loads(path.read_text())
    said["sentence_cells"][0] = [99, 0]
    path.write_text(json.dumps(said))
    with pytest.raises(DataError, match="names no cluster and sentence"):
        read_record(path)


def made_pair(task: str, difference: float, p: float, **given: Any) -> PairResult:
    plain = PairResult(
        "a", "b", task, "within", "", "clean", "probed", "probed", "within", "within", "native", "wrong", "all", "ua", None,
        difference, difference - 0.04, difference + 0.04, p, p, p, 0.001, "better" if p <= 0.05 else CANNOT_SEPARATE, "",
        "track probed", 1, 12, 0.95, 0.06, 0.14, None, 1, 1, None, None, (), "clusters", (), 0.02,
    )  # fmt: skip
    return replace(plain, **given)


def test_pairs_are_combined_over_pools_and_seen_from_one_side() -> None:
    pools = {"t1.en": "x", "t2.en": "x", "t3.en": "y", "t4.en": "z"}
    turned = made_pair("t4.en", 0.12, 0.03).turned()
    pairs = [
        made_pair("t1.en", 0.10, 0.01),
        made_pair("t2.en", 0.14, 0.01),
        made_pair("t3.en", 0.09, 0.04),
        turned,
    ]
    (row,) = over_pools([*pairs, made_pair("t1.en@loso", 0.9, 0.01)], pools | {"t1.en@loso": "x"})
    assert isinstance(row.found, Synthesis)
    assert row.found.difference == pytest.approx(np.mean([0.12, 0.09, 0.12]))
    assert "over 3 pools the mean difference is 11.0 points of UA" in row.sentence
    claims = claims_over_tasks(pairs, pools)
    assert claims is not None
    # Two tasks share their pool's third: .01 · 2 · 3 = .06. Then two pools are left, .03 · 2, and then one, .04.
    assert [round(c.p_value, 3) for c in claims.claims] == [0.06, 0.06, 0.06, 0.06]
    assert "0 of 4 verdicts stand" in claims.sentence
    assert claims.out_of_reach == 0
    few = claims_over_tasks([replace(p, smallest_p=0.02) for p in pairs], pools)
    assert few is not None
    assert "On 4 of the families too few speakers were tested" in few.sentence
    assert claims_over_tasks([], pools) is None
    (short,) = over_pools(pairs[:2], pools)
    assert "1 pool(s) of recordings" in short.sentence


def test_a_pair_beside_its_tasks_is_read_from_the_plans_view(task: Task, tmp_path: Path) -> None:
    made = [
        scored(task, tmp_path, "speakers", system, answers(task, "", seed))
        for seed, system in enumerate(("egemaps-linear", "egemaps-svm"))
    ]
    main = in_main_view(compare_pair(made, "egemaps-linear", "egemaps-svm"), made)
    assert {(p.view, p.outside) for p in main} == {("native", "wrong")}
    assert {p.metric for p in main} == {"ua", "wa", "macro_f1"}
    (comparison,) = compare_systems(made)
    assert over_all_tasks([(comparison, comparison.subjects[0])]) is None, "one task is not all"
    tested = run_family("f", made, [("egemaps-linear", "egemaps-svm")], ["ua"])
    assert all(p.sentence == sentence(p) for p in tested)


def test_a_class_that_two_speakers_hold_is_named(tmp_path: Path, cache: Path) -> None:
    folder = write_tone_corpus(tmp_path / "spoken", speakers=8, labels=LABELS, clips=SENTENCES)
    rewrite(
        folder,
        emotion=lambda row: "sad" if row["emotion"] == "angry" and row["speaker"] > "01" else row["emotion"],
    )
    task = load_task("spoken.ms", data=[folder])
    said = "class angry is spoken by 2 of 8 speakers"
    made = [
        scored(task, tmp_path, "speakers", system, answers(task, "", seed))
        for seed, system in enumerate(("egemaps-linear", "egemaps-svm"))
    ]
    for metric, noted in (("ua", True), ("macro_f1", True), ("wa", False)):
        row = find(made[0].scores, view="native", rows="all", metric=metric, outside="wrong")
        assert any(note.startswith(said) for note in row.notes) == noted
        (pair_of,) = [
            p
            for p in compare_pair(made, "egemaps-linear", "egemaps-svm")
            if (p.view, p.metric, p.outside) == ("native", metric, "wrong")
        ]
        assert any(note.startswith(said) for note in pair_of.notes) == noted
