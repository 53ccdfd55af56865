"""Scores follow from tables and labels by arithmetic that can be done by hand, and can be done again from a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from bench import load_task
from bench.cards.registry import load_system
from bench.errors import DataError
from bench.execution.planning.cells import make_plan
from bench.execution.planning.expansion import MatrixRow
from bench.execution.planning.matrix import Entry, Matrix
from bench.execution.planning.plan import RecordPlan
from bench.execution.planning.systems import resolve_system
from bench.execution.scoring_stage import score_planned
from bench.metrics import concordance_cc, cross_entropy, jensen_shannon, kullback_leibler
from bench.scoring import ScoreRow
from bench.scoring.comparisons import compare_pair, families
from bench.scoring.figures import figures
from bench.scoring.predictions import PredictionTable
from bench.scoring.records import Record, read_record, write_record
from bench.statistics.additive import value
from bench.statistics.intervals import interval
from bench.tasks import Task
from bench.tasks.folds import Fold, Leak
from reports.data.comparisons import compare_systems
from tests.conftest import write_tone_corpus

LABELS = ("neutral", "happy", "sad", "angry", "bored")


@pytest.fixture
def task(tmp_path: Path, cache: Path) -> Task:
    folder = write_tone_corpus(tmp_path / "tones", labels=LABELS, dimensions=True)
    card = folder / "card.yaml"
    card.write_text(card.read_text().replace("[1, 5]", "[-2, 8]"))  # room for five steps either way
    return load_task("tones.ms", data=[folder])


def record_plan(
    task: Task, system: str = "majority", seeds: tuple[int, ...] = (0,)
) -> tuple[RecordPlan, Matrix]:
    matrix = Matrix(name="m", entries=(Entry(systems=(system,), seeds=seeds),))
    wanted = MatrixRow(resolve_system(load_system(system)), task.name, "within", seeds)
    (record,) = make_plan(matrix, [wanted], lambda name, protocol: task).records
    return record, matrix


def tables(
    task: Task, record: RecordPlan, answers: list[str | None], **columns: object
) -> list[PredictionTable]:
    """Tables of a system that gives ``answers`` (one per clip of the task)."""
    n = len(task)
    whole = PredictionTable(
        task.clip_ids,
        ("ok",) * n,
        tuple(answers),
        task.labels,
        None,
        np.full((n, 3), np.nan),
        (None,) * n,
        {},
    )
    whole = replace(whole, **columns)  # type: ignore[arg-type]
    return [take(whole, task.folds[c.fold].test) for c in record.cells]


def take(table: PredictionTable, rows: np.ndarray) -> PredictionTable:
    def pick(column: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(column[i] for i in rows)

    probabilities = table.probabilities[rows] if table.probabilities is not None else None
    return PredictionTable(
        pick(table.clip_ids),
        pick(table.statuses),
        pick(table.answers),
        table.labels,
        probabilities,
        table.dimensions[rows],
        pick(table.replies),
        {},
    )  # type: ignore[arg-type]


def find(scores: Sequence[ScoreRow], **wanted: object) -> ScoreRow:
    (row,) = [s for s in scores if all(getattr(s, k) == v for k, v in wanted.items())]
    return row


def test_ua_of_noisy_answers_equals_scikit_learn_in_each_view(task: Task) -> None:
    rng = np.random.default_rng(0)
    answers = [str(rng.choice(LABELS)) if rng.random() < 0.5 else str(e) for e in task.emotions]
    record, matrix = record_plan(task)
    facts, _ = score_planned(record, tables(task, record, list(answers)), matrix, {})
    native = find(facts.scores, view="native", outside="wrong", rows="all", metric="ua")
    assert native.estimate == pytest.approx(balanced_accuracy_score(list(task.emotions), answers), abs=1e-12)
    inside = [i for i, e in enumerate(task.emotions) if e != "bored"]  # bored lies outside the view four
    four = find(facts.scores, view="four", outside="wrong", rows="all", metric="ua")
    recall = [np.mean([answers[i] == c for i in inside if task.emotions[i] == c]) for c in LABELS[:4]]
    assert four.estimate == pytest.approx(np.mean(recall), abs=1e-12)
    assert four.clips == len(inside)
    assert (native.speakers, native.seeds, native.coverage) == (6, 1, 1.0)
    assert native.low < native.estimate < native.high


def test_a_failed_clip_is_wrong_among_all_rows_and_absent_from_the_ok_ones(task: Task) -> None:
    answers: list[str | None] = list(task.emotions)
    statuses = ["ok"] * len(task)
    for i in range(3):
        answers[i], statuses[i] = None, "unparsed"
    record, matrix = record_plan(task)
    facts, _ = score_planned(record, tables(task, record, answers, statuses=tuple(statuses)), matrix, {})
    whole = find(facts.scores, view="native", rows="all", metric="wa")
    answered = find(facts.scores, view="native", rows="ok", metric="wa")
    assert whole.estimate == pytest.approx(1 - 3 / len(task))
    assert answered.estimate == 1.0
    assert answered.clips == len(task) - 3
    assert facts.coverage == pytest.approx(1 - 3 / len(task))
    assert facts.statuses == {"ok": len(task) - 3, "unparsed": 3}


def test_a_record_under_the_coverage_floor_cannot_be_published(task: Task) -> None:
    statuses = ("refused",) * 6 + ("ok",) * (len(task) - 6)
    answers: list[str | None] = [None] * 6 + list(task.emotions[6:])
    record, matrix = record_plan(task)
    facts, _ = score_planned(record, tables(task, record, answers, statuses=statuses), matrix, {})
    assert not facts.publishable
    assert "under the floor" in facts.obstacles[0]


def test_masking_takes_the_best_answer_inside_the_view(task: Task) -> None:
    # Every clip: 0.5 bored, 0.3 on the truth, the rest elsewhere. Wrong everywhere in "four" unless bored is masked.
    code = {label: i for i, label in enumerate(task.labels)}
    probabilities = np.full((len(task), 5), 0.2 / 3)
    for i, e in enumerate(task.emotions):
        probabilities[i, code["bored"]] = 0.5
        probabilities[i, code[str(e)]] = 0.3 if e != "bored" else 0.5
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    record, matrix = record_plan(task)
    facts, _ = score_planned(
        record, tables(task, record, ["bored"] * len(task), probabilities=probabilities), matrix, {}
    )
    assert find(facts.scores, view="four", outside="wrong", rows="all", metric="ua").estimate == 0.0
    assert find(facts.scores, view="four", outside="masked", rows="all", metric="ua").estimate == 1.0


def test_ccc_counts_a_missing_answer_at_mid_scale(task: Task) -> None:
    predicted = task.dimensions + 0.05
    predicted[:4] = np.nan
    record, matrix = record_plan(task)
    facts, _ = score_planned(
        record, tables(task, record, list(task.emotions), dimensions=predicted), matrix, {}
    )
    filled = np.where(np.isnan(predicted), 0.5, predicted)
    for d, dimension in enumerate(("valence", "arousal")):
        row = find(facts.scores, metric="ccc", dimension=dimension, rows="all")
        assert row.estimate == pytest.approx(concordance_cc(task.dimensions[:, d], filled[:, d]), abs=1e-10)
    # Dominance is constant in this corpus: no concordance is defined, so none is printed, rather than a NaN.
    assert [s for s in facts.scores if s.dimension == "dominance" and s.metric == "pearson"] == []


def test_rows_that_are_ok_leave_a_missing_dimension_out(task: Task) -> None:
    predicted = task.dimensions + 0.05
    predicted[:4] = np.nan
    record, matrix = record_plan(task)
    facts, _ = score_planned(
        record, tables(task, record, list(task.emotions), dimensions=predicted), matrix, {}
    )
    row = find(facts.scores, metric="ccc", dimension="valence", rows="ok")
    assert row.estimate == pytest.approx(concordance_cc(task.dimensions[4:, 0], predicted[4:, 0]), abs=1e-10)
    assert row.clips == len(task) - 4


def test_a_dimension_answered_on_no_clip_that_carries_it_has_no_score(task: Task) -> None:
    """Answers to other clips do not make it 0, the concordance of mid-scale with the truth."""
    truth = task.dimensions.copy()
    truth[: len(task) // 2, 0] = np.nan
    predicted = task.dimensions.copy()
    predicted[len(task) // 2 :, 0] = np.nan
    half = replace(task, dimensions=truth)
    record, matrix = record_plan(half)
    facts, _ = score_planned(
        record, tables(half, record, list(half.emotions), dimensions=predicted), matrix, {}
    )
    assert {s.dimension for s in facts.scores if s.metric == "ccc"} >= {"arousal"}
    assert not [s for s in facts.scores if s.dimension == "valence"]


def test_every_score_can_be_computed_again_from_the_record_alone(task: Task, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    record, matrix = record_plan(task, "chance", (0, 1))
    answers = [[str(rng.choice(LABELS)) for _ in task.emotions] for _ in range(2)]
    made = []
    for cell in record.cells:
        (table,) = [
            t
            for t, c in zip(tables(task, record, list(answers[cell.seed])), record.cells, strict=True)
            if c.key == cell.key
        ]
        made.append(table)
    facts, blocks = score_planned(record, made, matrix, {})
    write_record(tmp_path / "r.json", facts, blocks)
    again = read_record(tmp_path / "r.json")
    assert len(again.blocks) == len(blocks)
    for row in again.scores:
        block = again.block(row.view, row.outside, row.rows, str(row.dimension or "category"))
        assert block is not None
        assert float(value(row.metric, block.averaged.sum(axis=0))) == row.estimate
        found = interval(row.metric, block.averaged)
        assert (found.low, found.high) == (row.low, row.high)
    assert "0" not in {c.split("/")[-1] for c in again.clusters}  # no speaker id in the open
    assert all(len(c) == 32 for c in again.clusters)


def test_changed_statistics_are_noticed(task: Task, tmp_path: Path) -> None:
    record, matrix = record_plan(task)
    facts, blocks = score_planned(record, tables(task, record, list(task.emotions)), matrix, {})
    write_record(tmp_path / "r.json", facts, blocks)
    path = tmp_path / "r.parquet"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DataError, match=r"changed since r\.json was written"):
        read_record(tmp_path / "r.json")


def test_a_clip_without_answer_row_is_refused(task: Task) -> None:
    record, matrix = record_plan(task)
    made = tables(task, record, list(task.emotions))
    made[0] = take(made[0], np.arange(len(made[0].clip_ids) - 1))
    with pytest.raises(DataError, match="1 of 60 missing"):
        score_planned(record, made, matrix, {})


def scored(task: Task, tmp_path: Path, system: str, answers: list[str | None]) -> Record:
    record, matrix = record_plan(task, system)
    facts, blocks = score_planned(record, tables(task, record, answers), matrix, {})
    write_record(tmp_path / f"{system}.json", facts, blocks)
    return read_record(tmp_path / f"{system}.json")


def test_a_comparison_says_who_is_better_and_turns_round(task: Task, tmp_path: Path) -> None:
    right = scored(task, tmp_path, "majority", list(task.emotions))
    wrong = scored(task, tmp_path, "chance", ["bored"] * len(task))
    forth = [
        p
        for p in compare_pair([right, wrong], "majority", "chance")
        if (p.view, p.metric) == ("native", "ua")
    ]
    back = [
        p
        for p in compare_pair([right, wrong], "chance", "majority")
        if (p.view, p.metric) == ("native", "ua")
    ]
    assert forth[0].difference == pytest.approx(0.8)
    assert forth[0].verdict in {
        "better",
        "this corpus cannot separate them",
    }  # six speakers: the smallest p is 2/64 = 0.031
    assert forth[0].smallest_p == pytest.approx(2 / 64)
    assert (back[0].difference, back[0].p_value) == (-forth[0].difference, forth[0].p_value)
    assert {forth[0].verdict, back[0].verdict} in ({"better", "worse"}, {"this corpus cannot separate them"})
    assert "majority beats chance by 80.0 points of UA" in forth[0].sentence
    assert back[0].sentence == forth[0].sentence


def test_a_pair_outside_the_plan_is_a_family_of_its_own(task: Task, tmp_path: Path) -> None:
    a = scored(task, tmp_path, "majority", list(task.emotions))
    b = scored(task, tmp_path, "chance", ["sad"] * len(task))
    other = Record(b.facts.model_copy(update={"system": "elsewhere", "track": "probed"}), b.blocks)
    names = [name for name, _, _ in families([a, other], ("majority", "elsewhere"))]
    assert names == ["not in the plan"]
    (pairing,) = [
        p for p in compare_pair([a, other], "majority", "elsewhere") if (p.view, p.metric) == ("native", "ua")
    ]
    assert "They differ in supervision" in pairing.sentence


def test_probabilities_are_held_against_the_listeners_votes(task: Task) -> None:
    rng = np.random.default_rng(3)
    votes = rng.integers(0, 4, (len(task), 5))
    votes[:5] = 0
    clip_votes = [dict(zip(task.labels, map(float, v), strict=True)) if v.any() else None for v in votes]
    clip_votes[7] = {"": 3.0}  # three listeners, none of whom chose a class of the corpus
    votes[7] = 0
    voted = replace(task, votes=tuple(clip_votes))
    q = rng.dirichlet(np.ones(5), len(task))
    q[20] = np.nan
    statuses = ["ok"] * len(task)
    statuses[20] = "unparsed"
    answers = [task.labels[int(np.argmax(row))] if i != 20 else None for i, row in enumerate(q)]
    record, matrix = record_plan(voted)
    answered = tables(voted, record, list(answers), probabilities=q, statuses=tuple(statuses))
    facts, _ = score_planned(record, answered, matrix, {})
    with_votes = votes.sum(axis=1) > 0
    rows = [list(r) if np.isfinite(r).all() else None for r in q[with_votes]]
    for metric, reference in (
        ("cross_entropy", cross_entropy),
        ("kullback_leibler", kullback_leibler),
        ("jensen_shannon", jensen_shannon),
    ):
        row = find(facts.scores, metric=metric, rows="all")
        assert row.estimate == pytest.approx(reference(votes[with_votes].tolist(), rows), abs=1e-12)
        assert row.clips == with_votes.sum()
        assert find(facts.scores, metric=metric, rows="ok").clips == with_votes.sum() - 1
    # A clip without an answer is uniform and wrong: its Brier score is (1 − 1/5)² + 4/25.
    sure = np.where(np.isfinite(q), q, 0.2)
    truth = np.array([task.labels.index(str(e)) for e in task.emotions])
    brier = ((sure - np.eye(5)[truth]) ** 2).sum(axis=1).mean()
    assert find(facts.scores, metric="brier", rows="all").estimate == pytest.approx(brier, abs=1e-12)


def test_a_record_says_what_one_listener_scores(task: Task, tmp_path: Path) -> None:
    # Three listeners agree on every clip but the first speaker's, where one of three hears "bored".
    torn = [s == task.speakers[0] for s in task.speakers]
    votes = tuple(
        {str(e): 2.0, "bored": 1.0} if t and e != "bored" else {str(e): 3.0}
        for e, t in zip(task.emotions, torn, strict=True)
    )
    voted = replace(task, votes=votes, card=task.card.model_copy(update={"truth": "intended"}))
    record, matrix = record_plan(voted, "chance", (0, 1))
    answered = [t for s in (0, 1) for t in tables(voted, record, list(task.emotions))[5 * s : 5 * s + 5]]
    facts, blocks = score_planned(record, answered, matrix, {})
    share = sum(torn) / len(torn)
    intended = next(h for h in facts.human if (h.truth, h.view, h.metric) == ("intended", "native", "ua"))
    assert intended.estimate == pytest.approx(1 - share * 4 / 5 / 3, abs=1e-12)
    assert intended.clips == len(task)
    assert intended.low < intended.estimate < intended.high
    assert {h.truth for h in facts.human} == {"perceived", "intended"}
    write_record(tmp_path / "r.json", facts, blocks)
    again = read_record(tmp_path / "r.json")
    assert figures(again.facts, again.blocks, again.slices).human == facts.human


def test_means_over_dimensions_name_what_they_average(task: Task) -> None:
    rng = np.random.default_rng(4)
    predicted = np.clip(task.dimensions + 0.2 * rng.standard_normal(task.dimensions.shape), 0, 1)
    record, matrix = record_plan(task)
    facts, _ = score_planned(
        record, tables(task, record, list(task.emotions), dimensions=predicted), matrix, {}
    )
    single = [
        find(facts.scores, metric="rmse", dimension=d, rows="all")
        for d in ("valence", "arousal", "dominance")
    ]
    errors = np.sqrt(((task.dimensions - predicted) ** 2).mean(axis=0))
    assert [r.estimate for r in single] == pytest.approx(list(errors), abs=1e-12)
    mean = find(facts.scores, metric="rmse", dimension="mean", rows="all")
    assert mean.estimate == pytest.approx(errors.mean(), abs=1e-12)
    assert mean.low < mean.estimate < mean.high
    assert mean.notes[0] == "mean over valence, arousal, dominance"
    # Dominance is constant here and has no Pearson correlation: the mean says that it is over two.
    pearson = find(facts.scores, metric="pearson", dimension="mean", rows="all")
    assert pearson.notes[0] == "mean over valence, arousal"


def test_no_verdict_rests_on_a_split_that_leaks(task: Task, tmp_path: Path) -> None:
    leaking = replace(
        task,
        leaks=(Leak("speaker", "official", 2, "tones/03", ("train", "test")),),
        badges=("leaking official split",),
    )
    right = scored(leaking, tmp_path, "majority", list(task.emotions))
    wrong = scored(leaking, tmp_path, "chance", ["bored"] * len(task))
    (leak,) = right.facts.leaks
    assert (leak.kind, leak.count, leak.sides) == ("speaker", 2, ("train", "test"))
    assert "tones/03" not in str(right.facts), "speakers stay private in records"
    found = compare_pair([right, wrong], "majority", "chance")
    assert {p.verdict for p in found} == {"no verdict"}
    assert {p.verdict for p in compare_pair([right, wrong], "chance", "majority")} == {"no verdict"}
    assert "official split leaks speakers: no verdict on majority and chance" in found[0].sentence
    (contest,) = compare_systems([right, wrong])
    assert contest.rank(contest.subjects[0], "reference", "majority") is None


def test_a_trained_and_a_zero_shot_system_are_compared_on_the_same_clips(task: Task, tmp_path: Path) -> None:
    trained = scored(task, tmp_path, "majority", list(task.emotions))
    untrained = replace(task, protocol="zero-shot", folds=(Fold("all", np.arange(0), np.arange(0), np.arange(len(task))),), folds_hash="f" * 32)  # fmt: skip
    matrix = Matrix(name="m", entries=(Entry(systems=("chance",), protocol="zero-shot"),))
    wanted = MatrixRow(resolve_system(load_system("chance")), task.name, "zero-shot", (0,))
    (record,) = make_plan(matrix, [wanted], lambda name, protocol: untrained).records
    facts, blocks = score_planned(record, tables(untrained, record, ["bored"] * len(task)), matrix, {})
    zero = Record(facts.model_copy(update={"track": "released"}), tuple(b for b in blocks if not b.axis))
    assert set(zero.clusters) == set(trained.clusters)
    (pairing,) = [
        p
        for p in compare_pair([trained, zero], "majority", "chance")
        if (p.view, p.metric) == ("native", "ua")
    ]
    assert pairing.difference == pytest.approx(0.8)
    assert (pairing.protocol, pairing.protocol_a, pairing.protocol_b) == (
        "within / zero-shot",
        "within",
        "zero-shot",
    )
    assert pairing.family == "not in the plan"
    assert "They differ in protocol: majority ran within, chance zero-shot" in pairing.sentence


def test_a_system_of_dimensions_alone_has_no_categorical_score_rather_than_one_of_zero(task: Task) -> None:
    record, matrix = record_plan(task)
    silent: list[str | None] = [None] * len(task)
    guesses = np.full((len(task), 3), 0.5)
    guesses[:, 0] += 0.01 * np.arange(len(task)) / len(task)
    facts, blocks = score_planned(record, tables(task, record, silent, dimensions=guesses), matrix, {})
    assert {b.target for b in blocks} == {"valence", "arousal", "dominance"}
    assert {s.metric for s in facts.scores}.isdisjoint({"ua", "wa", "macro_f1"})
    # A clip it could not take changes nothing of that; one label does: then its silence is an answer that is missing.
    failed = ("failed", *("ok",) * (len(task) - 1))
    _, blocks = score_planned(
        record, tables(task, record, silent, dimensions=guesses, statuses=failed), matrix, {}
    )
    assert "category" not in {b.target for b in blocks}
    _, blocks = score_planned(
        record, tables(task, record, ["happy", *silent[1:]], dimensions=guesses), matrix, {}
    )
    assert "category" in {b.target for b in blocks}
    # A system that failed on every clip is scored: each class is missed.
    _, blocks = score_planned(
        record, tables(task, record, silent, statuses=("failed",) * len(task)), matrix, {}
    )
    assert "category" in {b.target for b in blocks}


def test_answers_to_nothing_that_a_task_has_are_no_record(task: Task) -> None:
    plain = replace(task, dimensions=np.full((len(task), 3), np.nan))
    record, matrix = record_plan(plain)
    numbers = tables(plain, record, [None] * len(plain), dimensions=np.full((len(plain), 3), 0.5))
    with pytest.raises(DataError, match=r"majority answers nothing that tones\.ms has \(categories\)"):
        score_planned(record, numbers, matrix, {})
