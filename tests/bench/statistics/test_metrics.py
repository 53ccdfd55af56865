"""Scores equal what two independent libraries compute, and say what they mean where those disagree."""

from __future__ import annotations

import audmetric
import numpy as np
import pytest
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk

from bench.errors import CannotSeparate, UsageError
from bench.metrics import (
    concordance_cc,
    confusion_statistics,
    macro_f1,
    moment_statistics,
    pearson_cc,
    precisions,
    recalls,
    unweighted_accuracy,
    value,
    weighted_accuracy,
)
from bench.statistics.additive import METRICS, InputError, only_present_classes
from tests.bench.statistics.example_statistics import example

EMOTIONS = ["neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised"]


def _answers(seed: int, clips: int = 400) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    truth = rng.choice(EMOTIONS, size=clips, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.06, 0.04])
    said = np.where(rng.random(clips) < 0.55, truth, rng.choice(EMOTIONS, size=clips))
    return list(map(str, truth)), list(map(str, said))


def _ratings(seed: int, clips: int = 300) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    truth = np.clip(0.5 + 0.2 * rng.normal(size=clips), 0, 1)
    return truth, np.clip(0.2 + 0.6 * truth + 0.1 * rng.normal(size=clips), 0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_accuracies_and_f1_equal_scikit_learn_and_audmetric(seed: int) -> None:
    truth, said = _answers(seed)

    assert unweighted_accuracy(truth, said) == pytest.approx(
        sk.balanced_accuracy_score(truth, said), abs=1e-12
    )
    assert unweighted_accuracy(truth, said) == pytest.approx(
        audmetric.unweighted_average_recall(truth, said), abs=1e-12
    )
    assert weighted_accuracy(truth, said) == pytest.approx(sk.accuracy_score(truth, said), abs=1e-12)
    assert weighted_accuracy(truth, said) == pytest.approx(audmetric.accuracy(truth, said), abs=1e-12)
    assert macro_f1(truth, said) == pytest.approx(sk.f1_score(truth, said, average="macro"), abs=1e-12)
    assert macro_f1(truth, said) == pytest.approx(audmetric.unweighted_average_fscore(truth, said), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_correlations_equal_audmetric_torchmetrics_and_scipy(seed: int) -> None:
    truth, said = _ratings(seed)
    mine = concordance_cc(truth, said)
    covariance = np.cov(truth, said, ddof=0)
    by_hand = 2 * covariance[0, 1] / (covariance.trace() + (truth.mean() - said.mean()) ** 2)

    assert mine == pytest.approx(by_hand, abs=1e-12)
    assert mine == pytest.approx(audmetric.concordance_cc(truth, said), abs=1e-12)
    assert pearson_cc(truth, said) == pytest.approx(stats.pearsonr(truth, said).statistic, abs=1e-12)
    assert pearson_cc(truth, said) == pytest.approx(audmetric.pearson_cc(truth, said), abs=1e-12)
    theirs = torchmetrics.functional.pearson_corrcoef(torch.tensor(said), torch.tensor(truth))
    assert pearson_cc(truth, said) == pytest.approx(float(theirs), abs=1e-12)


def test_concordance_with_n_minus_1_moments_is_another_number() -> None:
    truth, said = _ratings(0, clips=12)
    # torchmetrics divides by n − 1; ours (Lin's, 1/N) is what the benchmark defines.
    unbiased = torchmetrics.functional.concordance_corrcoef(torch.tensor(said), torch.tensor(truth))

    covariance = np.cov(truth, said, ddof=1)
    formula = 2 * covariance[0, 1] / (covariance.trace() + (truth.mean() - said.mean()) ** 2)
    assert float(unbiased) == pytest.approx(formula, abs=1e-12)
    assert abs(concordance_cc(truth, said) - formula) > 1e-4


def test_a_clip_without_an_answer_counts_as_wrong() -> None:
    truth = ["sad", "sad", "happy", "happy"]

    assert unweighted_accuracy(truth, ["sad", None, "happy", "happy"]) == 0.75
    assert weighted_accuracy(truth, [None] * 4) == 0.0
    # Silence takes precision from nobody: happy has F1 1, sad 2·1/(2 + 1).
    assert macro_f1(truth, ["sad", None, "happy", "happy"]) == pytest.approx((1 + 2 / 3) / 2)
    assert unweighted_accuracy(truth, ["sad", float("nan"), "happy", "happy"]) == 0.75


def test_a_name_outside_the_labels_is_wrong_but_no_class() -> None:
    truth, said = ["sad", "sad", "happy"], ["bored", "sad", "happy"]

    assert unweighted_accuracy(truth, said, labels=["sad", "happy"]) == 0.75
    assert macro_f1(truth, said, labels=["sad", "happy"]) == pytest.approx((2 / 3 + 1) / 2)
    # scikit-learn, left to itself, averages in a third class that has no true clip.
    assert sk.f1_score(truth, said, average="macro") < 0.6


def test_a_class_without_true_clips_leaves_the_mean() -> None:
    truth, said = ["sad", "sad", "happy"], ["sad", "angry", "happy"]

    assert unweighted_accuracy(truth, said, labels=EMOTIONS) == 0.75
    assert macro_f1(truth, said, labels=EMOTIONS) == pytest.approx(
        sk.f1_score(truth, said, labels=["sad", "happy"], average="macro", zero_division=0)
    )


def test_constant_ratings_have_a_stated_meaning() -> None:
    truth = [0.1, 0.4, 0.7]

    assert concordance_cc(truth, [0.9, 0.9, 0.9]) == 0.0
    assert concordance_cc([0.7, 0.7, 0.7], truth) == 0.0
    assert concordance_cc([0.7, 0.7], [0.3, 0.3]) == 0.0
    with pytest.raises(CannotSeparate, match="one constant"):
        concordance_cc([0.7, 0.7], [0.7, 0.7])
    with pytest.raises(CannotSeparate, match="constant"):
        pearson_cc(truth, [0.9, 0.9, 0.9])
    # The same from statistics centred elsewhere, where the sums no longer cancel exactly.
    constant = moment_statistics(truth, [0.9, 0.9, 0.9], [0, 0, 0], n_clusters=1)
    assert value("ccc", constant[0]) == 0.0
    assert np.isnan(value("pearson", constant[0]))


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="truth has 2, prediction has 1"):
        unweighted_accuracy(["sad", "happy"], ["sad"])
    with pytest.raises(InputError, match="empty"):
        weighted_accuracy([], [])
    with pytest.raises(InputError, match="empty"):
        concordance_cc([], [])
    with pytest.raises(InputError, match=r"truth\[1\] is 'bored'.*sad, happy"):
        macro_f1(["sad", "bored"], ["sad", "sad"], labels=["sad", "happy"])
    with pytest.raises(InputError, match=r"truth\[0\] is None"):
        macro_f1([None, "sad"], ["sad", "sad"])
    with pytest.raises(InputError, match="twice"):
        macro_f1(["sad"], ["sad"], labels=["sad", "sad"])
    with pytest.raises(InputError, match=r"prediction\[1\] is None"):
        concordance_cc([0.1, 0.2], [0.1, None])
    with pytest.raises(ValueError, match=r"truth\[0\] is nan"):
        concordance_cc([float("nan"), 0.2], [0.1, 0.2])
    with pytest.raises(InputError, match="numbers"):
        concordance_cc([0.1, 0.2], ["0.1", "0.2"])
    with pytest.raises(UsageError, match="did you mean 'macro_f1'"):
        value("macro-f1", np.ones((2, 3)))
    with pytest.raises(InputError, match=r"\(…, 6\)"):
        value("ccc", np.ones((4, 5)))
    with pytest.raises(InputError, match="from 0 to 1"):
        confusion_statistics([0, 2], [0, 0], [0, 0], n_labels=2, n_clusters=1)


def test_statistics_add_up_over_clusters_and_score_any_stack() -> None:
    truth, said = _answers(3)
    code = {name: i for i, name in enumerate(EMOTIONS)}
    t, p = [code[x] for x in truth], [code[x] for x in said]
    p[:5] = [-1, 7, 99, -1, 7]
    speakers = np.random.default_rng(0).integers(9, size=len(t))

    tables = confusion_statistics(t, p, speakers, n_labels=7, n_clusters=9)

    assert tables.dtype == np.int64
    assert tables.shape == (9, 7, 8)
    assert tables[..., -1].sum() == 5
    whole = tables.sum(axis=0)
    assert np.array_equal(whole[:, :7], sk.confusion_matrix(t[5:], p[5:], labels=range(7)))
    for name in ("ua", "wa", "macro_f1"):
        stack = value(name, tables.reshape(3, 3, 7, 8))
        assert stack.shape == (3, 3)
        assert stack[1, 2] == pytest.approx(float(value(name, tables[5])), abs=1e-15)
    by_sk = sk.precision_recall_fscore_support(t, np.where(np.isin(p, range(7)), p, 7), labels=range(7))
    assert precisions(whole) == pytest.approx(by_sk[0], abs=1e-12)
    assert recalls(whole) == pytest.approx(by_sk[1], abs=1e-12)


def test_precision_and_recall_of_an_unseen_class_are_undefined() -> None:
    table = np.array([[3, 0, 1], [0, 0, 0]])

    assert np.isnan(recalls(table)[1])
    assert np.isnan(precisions(table)[1])
    assert np.isnan(value("ua", np.zeros((2, 3))))


def test_moments_do_not_depend_on_where_they_are_centred() -> None:
    truth, said = _ratings(1)
    speakers = np.arange(len(truth)) % 7
    for name in ("ccc", "pearson"):
        found = [
            value(name, moment_statistics(truth, said, speakers, n_clusters=7, centre=c))
            for c in (0.0, 0.5, 2.0)
        ]
        assert found[0] == pytest.approx(found[1], abs=1e-12)
        assert found[2] == pytest.approx(found[1], abs=1e-12)


def test_dropping_absent_classes_keeps_every_score() -> None:
    rng = np.random.default_rng(4)
    tables = rng.integers(0, 9, size=(6, 5, 6)).astype(float)
    tables[:, [1, 4]] = 0
    smaller = only_present_classes(tables)

    assert smaller.shape == (6, 3, 4)
    for name in ("ua", "wa", "macro_f1"):
        assert value(name, smaller) == pytest.approx(value(name, tables), abs=1e-15)


@pytest.mark.parametrize("name", METRICS)
def test_gradients_are_derivatives_and_metrics_are_homogeneous(name: str) -> None:
    metric = METRICS[name]
    # Off the integers: there ECE has a kink, where a cut falls exactly between two fine bins.
    statistics = example(name, 6, 5, clusters=11).sum(axis=1) * (1 + 1e-3 / np.pi)
    c = metric.components(statistics)

    step = 1e-5
    numeric = np.stack(
        [
            (metric.strict(c + step * e) - metric.strict(c - step * e)) / (2 * step)
            for e in np.eye(c.shape[-1])
        ],
        -1,
    )
    assert metric.gradient(c) == pytest.approx(numeric, abs=1e-7)
    assert (metric.gradient(c) * c).sum(-1) == pytest.approx(0, abs=1e-12)
    assert metric.strict(3 * c) == pytest.approx(metric.strict(c), abs=1e-12)


labelled = st.lists(
    st.tuples(st.sampled_from(EMOTIONS[:4]), st.sampled_from([*EMOTIONS[:5], None])), min_size=1, max_size=60
)


@settings(max_examples=60, deadline=None)
@given(labelled, st.randoms())
def test_scores_know_neither_the_order_of_clips_nor_the_names_of_classes(
    rows: list[tuple[str, str | None]], random: object
) -> None:
    shuffled = rows[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for score in (unweighted_accuracy, weighted_accuracy, macro_f1):
        plain = score([t for t, _ in rows], [p for _, p in rows])
        assert 0 <= plain <= 1
        assert score([t for t, _ in shuffled], [p for _, p in shuffled]) == pytest.approx(plain, abs=1e-12)
        renamed = score([t + "!" for t, _ in rows], [p and p + "!" for _, p in rows])
        assert renamed == pytest.approx(plain, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(labelled)
def test_answering_every_clip_rightly_is_1_and_one_more_mistake_never_helps_ua(
    rows: list[tuple[str, str | None]],
) -> None:
    truth, said = [t for t, _ in rows], [p for _, p in rows]
    assert unweighted_accuracy(truth, truth) == macro_f1(truth, truth) == weighted_accuracy(truth, truth) == 1
    spoiled = [None, *said[1:]]
    assert unweighted_accuracy(truth, spoiled) <= unweighted_accuracy(truth, said)


rated = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=3, max_size=50)


@settings(max_examples=80, deadline=None)
@given(rated, st.integers(-5, 5), st.sampled_from([0.01, 1.0, 4.0]))
def test_concordance_is_symmetric_bounded_and_knows_no_unit(
    rows: list[tuple[int, int]], shift: int, scale: float
) -> None:
    x, y = (np.array(column) / 100 for column in zip(*rows, strict=True))
    if np.ptp(x) == 0 and np.ptp(y) == 0:
        return
    ccc = concordance_cc(x, y)
    assert ccc == pytest.approx(concordance_cc(y, x), abs=1e-12)
    assert concordance_cc(x * scale + shift, y * scale + shift) == pytest.approx(ccc, abs=1e-9)
    if np.ptp(x) > 0 and np.ptp(y) > 0:
        assert abs(ccc) <= abs(pearson_cc(x, y)) + 1e-12 <= 1 + 2e-12
        assert concordance_cc(x, x) == pytest.approx(1, abs=1e-12)
