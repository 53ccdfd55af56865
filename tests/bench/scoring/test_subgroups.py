"""Scores of groups of clips: the numbers are those of the clips alone, and the gap's interval is what its formula says."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.metrics import balanced_accuracy_score, recall_score

from bench import load_task
from bench.cards.corpus import CorpusCard
from bench.cards.typed_yaml import parse_typed
from bench.errors import CannotSeparate, UsageError
from bench.execution.scoring_stage import score_planned
from bench.protocols import SAMPLE_RATE
from bench.scoring.record_schema import Gap, SubgroupScore
from bench.scoring.sentences import sentence_cells
from bench.scoring.subgroups import UNKNOWN, axes_of, gap_interval
from bench.statistics.additive import METRICS, confusion_statistics
from bench.tasks import Task
from tests.bench.scoring.test_scoring import record_plan, tables
from tests.conftest import rewrite as set_columns
from tests.conftest import write_tone_corpus

LABELS = ("neutral", "happy", "sad", "angry")


@pytest.fixture
def task(tmp_path: Path, cache: Path) -> Task:
    """Eight speakers, the even ones female; clips whose lengths differ."""
    folder = write_tone_corpus(tmp_path / "tones", speakers=8, labels=LABELS, clips=3)
    rewrite(folder, lambda i, row: row | {"gender": "female" if int(row["speaker"]) % 2 == 0 else "male"})
    made = load_task("tones.ms", data=[folder])
    rng = np.random.default_rng(5)
    lengths = rng.integers(8_000, 40_000, len(made))
    return replace(
        made, decoded=tuple(replace(d, samples=int(n)) for d, n in zip(made.decoded, lengths, strict=True))
    )


def rewrite(folder: Path, change: object) -> None:
    """Change the rows of a metadata.csv."""
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as stream:
        rows = [change(i, row) for i, row in enumerate(csv.DictReader(stream))]
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def noisy(task: Task, seed: int = 0) -> list[str | None]:
    rng = np.random.default_rng(seed)
    return [str(rng.choice(LABELS)) if rng.random() < 0.4 else e for e in task.emotions]


def find(rows: Sequence[SubgroupScore | Gap], **wanted: object) -> SubgroupScore | Gap:
    (row,) = [r for r in rows if all(getattr(r, k) == v for k, v in wanted.items())]
    return row


def test_each_slice_scores_its_clips_alone(task: Task) -> None:
    answers = noisy(task)
    record, matrix = record_plan(task)
    facts, _ = score_planned(record, tables(task, record, answers), matrix, {})
    truth, predicted = np.array(task.emotions), np.array(answers)
    seconds = np.array([d.samples / SAMPLE_RATE for d in task.decoded])
    edges = next(a for a in facts.axes if a.axis == "duration").edges_seconds
    one, two = np.quantile(seconds, [1 / 3, 2 / 3])
    assert edges == pytest.approx([seconds.min(), one, two, seconds.max()], abs=1e-4)
    groups = {
        ("gender", "female"): np.array(task.genders) == "female",
        ("gender", "male"): np.array(task.genders) == "male",
        ("duration", "short"): seconds <= one,
        ("duration", "middle"): (seconds > one) & (seconds <= two),
        ("duration", "long"): seconds > two,
    }
    for (axis, group), inside in groups.items():
        row = find(facts.slices, axis=axis, group=group, view="native", metric="ua")
        assert row.estimate == pytest.approx(
            balanced_accuracy_score(truth[inside], predicted[inside]), abs=1e-12
        )
        assert row.clips == inside.sum()
        assert row.low < row.estimate < row.high
    for label in LABELS:
        row = find(facts.slices, axis="emotion", group=label, view="native")
        assert row.estimate == pytest.approx(
            recall_score(truth, predicted, labels=[label], average="macro", zero_division=0), abs=1e-12
        )


def test_the_gap_names_the_best_and_the_worst_group(task: Task) -> None:
    answers = [e if g == "female" else None for e, g in zip(noisy(task), task.genders, strict=True)]
    record, matrix = record_plan(task)
    facts, _ = score_planned(record, tables(task, record, answers), matrix, {})
    gap = find(facts.gaps, axis="gender", view="native", metric="ua")
    assert (gap.best, gap.worst, gap.worst_estimate) == ("female", "male", 0.0)
    assert 0 < gap.low < gap.gap < gap.high
    speakers = find(facts.gaps, axis="speaker", view="native", metric="ua")
    assert speakers.low is None
    assert speakers.method == "none: one speaker is one cluster"
    assert (speakers.groups, speakers.worst_estimate) == (8, 0.0)
    assert "/" not in speakers.worst, "speakers' names stay private"


def test_what_a_corpus_does_not_tell_is_said_rather_than_left_out(tmp_path: Path, cache: Path) -> None:
    folder = write_tone_corpus(tmp_path / "tones", labels=LABELS)
    axes = {a.name: a.absent for a in axes_of(load_task("tones.ms", data=[folder]))}
    assert axes["gender"] == "the card and its manifest carry no gender"
    assert "too alike in length (0.40 to 0.40 s)" in axes["duration"]
    assert axes["emotion"] == axes["speaker"] == ""
    task = load_task("tones.ms", data=[folder])
    absent = sentence_cells(task, np.zeros(len(task), dtype=np.intp), task.names).absent
    assert absent == "the card and its manifest carry no sentences"


@pytest.mark.parametrize("nobody", ["", "unknown", "n/a"])
def test_a_column_that_tells_nothing_is_another_thing_than_no_column(
    tmp_path: Path, cache: Path, nobody: str
) -> None:
    folder = write_tone_corpus(tmp_path / "tones", labels=LABELS)
    set_columns(folder, gender=nobody, script=nobody)
    task = load_task("tones.ms", data=[folder])
    (gender,) = [a.absent for a in axes_of(task) if a.name == "gender"]
    assert gender == (
        "gender is not known for these clips: the manifest has a column 'gender', which tells nothing of any of them"
    )
    cells = sentence_cells(task, np.zeros(len(task), dtype=np.intp), task.names)
    assert cells.absent.startswith(
        "sentences are not known for these clips: the manifest has a column 'script'"
    )


def test_a_group_that_lacks_a_class_is_scored_and_kept_out_of_the_gap(task: Task) -> None:
    lacking = replace(
        task,
        genders=tuple("diverse" if s == task.speakers[0] else g for s, g in zip(task.speakers, task.genders, strict=True)),
        emotions=tuple(None if (s, e) == (task.speakers[0], "sad") else e for s, e in zip(task.speakers, task.emotions, strict=True)),
    )  # fmt: skip
    record, matrix = record_plan(lacking)
    facts, _ = score_planned(record, tables(lacking, record, noisy(lacking)), matrix, {})
    row = find(facts.slices, axis="gender", group="diverse", view="native", metric="ua")
    assert (row.classes, row.low) == (3, None)
    assert "1 cluster(s)" in row.method
    gap = find(facts.gaps, axis="gender", view="native", metric="ua")
    assert (gap.groups, gap.left_out) == (2, 1)


def jackknife_error(values: np.ndarray) -> float:
    return float(np.sqrt((len(values) - 1) / len(values) * ((values - values.mean()) ** 2).sum()))


def world(rng: np.random.Generator, clusters: int, accuracy: float, clips: int = 12) -> np.ndarray:
    """Counts (clusters, 2, 3) of two classes; speakers differ in how well they are recognised."""
    truth = np.tile([0, 1], clusters * clips // 2)
    cluster = np.repeat(np.arange(clusters), clips)
    right = (
        rng.random(len(truth)) < np.clip(accuracy + 0.1 * rng.standard_normal(clusters), 0.02, 0.98)[cluster]
    )
    return confusion_statistics(
        truth, np.where(right, truth, 1 - truth), cluster, n_labels=2, n_clusters=clusters
    ).astype(float)


def ua(counts: np.ndarray) -> float:
    table = counts.sum(axis=0)
    return float(np.mean(np.diagonal(table) / table.sum(axis=1)))


def test_groups_of_other_speakers_have_independent_errors() -> None:
    rng = np.random.default_rng(0)
    women, men = world(rng, 9, 0.8), world(rng, 6, 0.7)
    a, b = (np.zeros((15, 2, 3)) for _ in range(2))
    a[:9], b[9:] = women, men
    errors = [
        jackknife_error(np.array([ua(np.delete(w, i, axis=0)) for i in range(len(w))])) for w in (women, men)
    ]
    total = errors[0] ** 2 + errors[1] ** 2
    df = total**2 / (errors[0] ** 4 / 8 + errors[1] ** 4 / 5)
    half = student.ppf(0.975, df) * np.sqrt(total)
    difference = ua(women) - ua(men)
    low, high, method = gap_interval(METRICS["ua"], [a, b], 0.95)
    ends = sorted((abs(difference) - half, abs(difference) + half))
    assert (low, high) == pytest.approx((max(0.0, ends[0]), ends[1]), abs=1e-12)
    assert "nested" in method


def test_groups_inside_the_same_speakers_have_a_paired_error() -> None:
    rng = np.random.default_rng(1)
    parts = [world(rng, 10, accuracy) for accuracy in (0.6, 0.75, 0.8)]
    ends = []
    for i, j in combinations(range(3), 2):
        without = np.array(
            [ua(np.delete(parts[i], g, axis=0)) - ua(np.delete(parts[j], g, axis=0)) for g in range(10)]
        )
        half = student.ppf(1 - 0.025 / 3, 9) * jackknife_error(without)
        difference = ua(parts[i]) - ua(parts[j])
        ends.append((difference - half, difference + half))
    low, high, method = gap_interval(METRICS["ua"], parts, 0.95)
    assert low == pytest.approx(max(0.0, *(max(first, -second) for first, second in ends)), abs=1e-12)
    assert high == pytest.approx(max(max(second, -first) for first, second in ends), abs=1e-12)
    assert "crossed" in method


def test_the_interval_of_a_gap_contains_it_also_when_there_is_none() -> None:
    # 400 worlds of three equal groups: the best minus the worst is never 0, the interval must nevertheless hold 0.
    rng = np.random.default_rng(2)
    hit = 0
    for _ in range(400):
        groups = np.zeros((3, 30, 2, 3))
        for g in range(3):
            groups[g, 10 * g : 10 * g + 10] = world(rng, 10, 0.75)
        low, _, _ = gap_interval(METRICS["ua"], list(groups), 0.95)
        hit += low == 0.0
    assert hit / 400 >= 0.94


def test_a_gap_of_single_clusters_has_no_interval() -> None:
    rng = np.random.default_rng(3)
    counts = world(rng, 2, 0.8)
    a, b = counts.copy(), counts.copy()
    a[1], b[0] = 0, 0
    with pytest.raises(CannotSeparate, match="fewer than two clusters"):
        gap_interval(METRICS["ua"], [a, b], 0.95)


def test_speakers_of_a_corpus_clustered_by_session_are_sliced_too(tmp_path: Path, cache: Path) -> None:
    folder = write_tone_corpus(tmp_path / "tones", speakers=8, labels=LABELS)
    rewrite(folder, lambda i, row: row | {"session": str(int(row["speaker"]) // 2)})
    card = folder / "card.yaml"
    card.write_text(card.read_text() + "cluster: session\nsplit: {folds: 3}\n")
    task = load_task("tones.ms", data=[folder])
    wrong = task.speakers[3]
    answers = [None if s == wrong else e for s, e in zip(task.speakers, task.emotions, strict=True)]
    record, matrix = record_plan(task)
    facts, blocks = score_planned(record, tables(task, record, answers), matrix, {})
    gap = find(facts.gaps, axis="speaker", view="native", metric="ua")
    assert (gap.groups, gap.best_estimate, gap.worst_estimate) == (8, 1.0, 0.0)
    assert len(facts.clusters) == 4
    assert len(facts.speaker_names) == 8
    assert not any(s in str(facts.speaker_names) for s in task.speakers)
    assert any(b.axis == "speaker" for b in blocks)


SLICED = "name: tones\nlanguages: [ms]\nslices: {age: [30, 45], race: [], dialect: []}\n"


def test_a_card_slices_by_further_columns(tmp_path: Path, cache: Path) -> None:
    folder = write_tone_corpus(tmp_path / "tones", speakers=9, labels=LABELS)
    ages = ("29.9", "30", "44", "45", "61", "unknown", "old", "18", "33,5")
    race = ("b", "a", "a", "b", "n/a", "a", "b", "b", "a")
    set_columns(folder, Age=lambda r: ages[int(r["speaker"])], race=lambda r: race[int(r["speaker"])])
    (folder / "card.yaml").write_text(SLICED)
    task = load_task("tones.ms", data=[folder])
    axes = {a.name: a for a in axes_of(task)}
    assert axes["age"].groups == ("under 30", "30 to under 45", "45 and over", UNKNOWN)
    assert axes["race"].groups == ("a", "b", UNKNOWN)
    assert axes["dialect"].absent == "the card and its manifest carry no dialect"
    record, matrix = record_plan(task)
    answers = noisy(task)
    facts, blocks = score_planned(record, tables(task, record, answers), matrix, {})
    truth, predicted = np.array(task.emotions), np.array(answers)
    band_of = {"/".join(("tones", f"0{i}")): b for i, b in enumerate((0, 1, 1, 2, 2, 3, 3, 0, 1))}
    places = np.array([band_of[s] for s in task.speakers])
    for k, group in enumerate(axes["age"].groups):
        row = find(facts.slices, axis="age", group=group, view="native", metric="ua")
        assert row.clips == (places == k).sum()
        assert row.estimate == pytest.approx(
            balanced_accuracy_score(truth[places == k], predicted[places == k]), abs=1e-12
        )
    assert (find(facts.gaps, axis="age", view="native", metric="ua").groups) == 3
    assert {b.group for b in blocks if b.axis == "race"} == {"a", "b", UNKNOWN}
    assert [x.groups for x in (task, task.tested) for x in axes_of(x) if x.name == "race"] == [
        ("a", "b", UNKNOWN)
    ] * 2


@pytest.mark.parametrize(
    ("slices", "said"),
    [
        ("{speaker: []}", "'speaker' cannot be sliced by"),
        ("{a/b: []}", "'a/b' cannot be sliced by"),
        ("{age: [30, 30]}", r"age: edges of bands must be .* that rise, like \[30, 45, 60\]; found 30, 30"),
        ("{age: [.nan]}", "age: edges of bands must be"),
    ],
)
def test_a_card_that_cannot_slice_is_refused(slices: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_typed(f"name: c\nslices: {slices}\n", "c", CorpusCard)


def test_a_column_of_too_many_values_makes_no_groups(tmp_path: Path, cache: Path) -> None:
    folder = write_tone_corpus(tmp_path / "tones", labels=LABELS)
    set_columns(folder, town=lambda r: r["file_name"])
    (folder / "card.yaml").write_text("name: tones\nlanguages: [ms]\nslices: {town: []}\n")
    (town,) = [a for a in axes_of(load_task("tones.ms", data=[folder])) if a.name == "town"]
    assert town.absent == "town has 48 values, more than 20 groups; give edges of bands on the card"
