"""Probes: equal to s3prl's head and to scikit-learn by hand; blind to test labels. How heads train: test_probe_training."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bench.errors import DataError, UsageError
from bench.features.probes import ProbeFold, ProbeOutcome, ProbeTask, build_probe, softmax
from bench.features.probes.batched_adam import HeadBatch, Schedule, Trial, train_heads
from bench.features.probes.learning_rate_search import NO_ROWS
from bench.features.probes.losses import CccLoss, CrossEntropy
from bench.features.probes.pooled_head import PooledHead, PooledHeads
from bench.features.probes.superb import SuperbProbe
from bench.metrics import concordance_cc, unweighted_accuracy

QUICK: dict[str, dict[str, Any]] = {
    "superb": {"learning_rates": [1e-3, 1e-2], "hidden": 16, "max_steps": 120, "evaluate_every": 10},
    "layerwise": {"learning_rates": [1e-2], "hidden": 16, "max_steps": 60, "evaluate_every": 10},
    "linear": {},
    "svm": {},
}


def ignore(done: float, total: float) -> None:
    pass


def make_task(
    *,
    clips: int = 240,
    layers: int = 3,
    dims: int = 12,
    classes: int = 3,
    seeds: Sequence[int] = (0,),
    noise: float = 1.0,
) -> ProbeTask:
    """Labels and dimensions live in the last layer only; 12 speakers, 4 folds, shifted by speaker."""
    random = np.random.default_rng(5)
    labels = np.arange(clips) % classes
    speakers = (np.arange(clips) // classes) % 12
    dimensions = np.clip(random.normal(0.5, 0.2, (clips, 3)), 0.0, 1.0)
    features = random.standard_normal((clips, layers, dims))
    features[:, -1, :classes] += 2.0 * np.eye(classes)[labels]
    features[:, -1, classes : classes + 3] = 5.0 * (dimensions - 0.5) + noise * 0.3 * random.standard_normal(
        (clips, 3)
    )
    features += 0.1 * random.standard_normal((12, layers, dims))[speakers]
    folds = []
    for k in range(4):
        role = (speakers + k) % 4
        folds.append(ProbeFold(*(np.flatnonzero(np.isin(role, r)) for r in ((0, 1), (2,), (3,)))))
    return ProbeTask(
        features.astype(np.float32),
        labels.astype(np.int64),
        classes,
        dimensions,
        tuple(f"p/{s}" for s in speakers),
        tuple(folds),
        tuple(seeds),
    )


def one_fold(task: ProbeTask, **changes: Any) -> ProbeTask:
    return dataclasses.replace(task, folds=task.folds[:1], **changes)


def scores(task: ProbeTask, outcomes: dict[tuple[int, int], ProbeOutcome], seed: int) -> tuple[float, float]:
    truth: list[int] = []
    answers: list[int] = []
    values, predicted = [], []
    for number, fold in enumerate(task.folds):
        outcome = outcomes[number, seed]
        assert outcome.probabilities is not None
        assert outcome.dimensions is not None
        truth += task.labels[fold.test].tolist()
        answers += outcome.probabilities.argmax(axis=1).tolist()
        values.append(task.dimensions[fold.test, 0])
        predicted.append(outcome.dimensions[:, 0])
    ccc = concordance_cc(np.concatenate(values).tolist(), np.concatenate(predicted).tolist())
    return unweighted_accuracy(truth, answers), ccc


@pytest.mark.parametrize("name", sorted(QUICK))
def test_a_probe_learns_what_is_there_and_answers_in_probabilities(name: str) -> None:
    task = make_task(seeds=(0, 1))
    calls: list[tuple[float, float]] = []
    outcomes = build_probe(name, QUICK[name]).run(task, lambda done, total: calls.append((done, total)))
    assert set(outcomes) == {(fold, seed) for fold in range(4) for seed in (0, 1)}
    ua, ccc = scores(task, outcomes, 0)
    assert ua > 0.8
    assert ccc > 0.7
    for (fold, _), outcome in outcomes.items():
        assert outcome.probabilities is not None
        assert outcome.dimensions is not None
        assert outcome.probabilities.shape == (len(task.folds[fold].test), 3)
        np.testing.assert_allclose(outcome.probabilities.sum(axis=1), 1.0, rtol=0, atol=1e-15)
        assert outcome.dimensions.min() >= 0.0
        assert outcome.dimensions.max() <= 1.0
    assert calls[-1][0] == calls[-1][1]
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


@pytest.mark.parametrize("name", sorted(QUICK))
def test_test_labels_do_not_reach_the_answers_and_runs_repeat_bit_for_bit(name: str) -> None:
    task = one_fold(make_task(clips=120))
    test = task.folds[0].test
    hidden_labels, hidden_dimensions = task.labels.copy(), task.dimensions.copy()
    hidden_labels[test], hidden_dimensions[test] = -1, np.nan
    hidden = dataclasses.replace(task, labels=hidden_labels, dimensions=hidden_dimensions)
    probe = build_probe(name, QUICK[name])
    seen, blind = probe.run(task, ignore)[0, 0], probe.run(hidden, ignore)[0, 0]
    assert seen.notes == blind.notes
    assert np.array_equal(seen.probabilities, blind.probabilities)  # type: ignore[arg-type]
    assert np.array_equal(seen.dimensions, blind.dimensions)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(QUICK))
def test_what_has_no_labels_is_not_answered(name: str) -> None:
    task = one_fold(make_task(clips=120))
    no_arousal = task.dimensions.copy()
    no_arousal[:, 1] = np.nan
    probe = build_probe(name, QUICK[name])
    partly = probe.run(dataclasses.replace(task, dimensions=no_arousal), ignore)[0, 0]
    assert partly.dimensions is not None
    assert np.isnan(partly.dimensions).tolist() == [[False, True, False]] * len(task.folds[0].test)
    none = probe.run(dataclasses.replace(task, dimensions=np.full_like(no_arousal, np.nan)), ignore)[0, 0]
    assert none.dimensions is None
    assert none.probabilities is not None
    unnamed = dataclasses.replace(task, labels=np.full(120, -1), n_labels=0)
    only_dimensions = probe.run(unnamed, ignore)[0, 0]
    assert only_dimensions.probabilities is None
    assert only_dimensions.dimensions is not None


@pytest.mark.parametrize("name", ["superb", "layerwise"])
def test_a_fold_with_too_few_dimensions_is_left_out_alone_and_says_so(name: str) -> None:
    task = make_task(clips=120)
    few = task.dimensions.copy()
    few[task.folds[0].dev[1:]] = np.nan
    whole = build_probe(name, QUICK[name]).run(task, ignore)
    partly = build_probe(name, QUICK[name]).run(dataclasses.replace(task, dimensions=few), ignore)
    assert partly[0, 0].dimensions is None
    assert "fewer than two" in partly[0, 0].notes["dimensions"]["left_out"]
    assert partly[0, 0].probabilities is not None
    assert all(partly[fold, 0].dimensions is not None for fold in range(1, 4))
    for fold in range(4):
        np.testing.assert_array_equal(partly[fold, 0].probabilities, whole[fold, 0].probabilities)


@pytest.mark.parametrize("name", ["linear", "svm"])
def test_a_class_without_training_clips_gets_no_probability(name: str) -> None:
    task = one_fold(make_task(clips=120))
    labels = task.labels.copy()
    fitted = task.folds[0].fitted
    labels[fitted] = np.where(labels[fitted] == 1, 0, labels[fitted])
    outcome = build_probe(name).run(dataclasses.replace(task, labels=labels), ignore)[0, 0]
    assert outcome.probabilities is not None
    assert (outcome.probabilities[:, 1] == 0.0).all()
    np.testing.assert_allclose(outcome.probabilities.sum(axis=1), 1.0, atol=1e-15)


def ragged_frames() -> tuple[list[torch.Tensor], torch.Tensor]:
    """Four layers of three clips of 17, 5 and 29 frames, padded with what must not be heard; their lengths."""
    random = torch.Generator().manual_seed(3)
    lengths = torch.tensor([17, 5, 29])
    layers = [torch.randn(3, 29, 24, generator=random) for _ in range(4)]
    for layer in layers:
        for i, length in enumerate(lengths):
            layer[i, length:] = 99.0
    return layers, lengths


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_the_pooled_head_equals_s3prls_frame_wise_head_on_ragged_clips(
    dtype: torch.dtype, tolerance: float
) -> None:
    from adapters.s3prl_upstream.compat import import_s3prl

    import_s3prl()
    from s3prl.downstream.model import UtteranceLevel
    from s3prl.nn.upstream import Featurizer

    class FourLayers:
        num_layers, hidden_sizes, downsample_rates = 4, [24] * 4, [320] * 4

    torch.manual_seed(0)
    featurizer = Featurizer(FourLayers()).to(dtype)
    featurizer.weights.data.normal_()
    projector = torch.nn.Linear(24, 256, dtype=dtype)
    model = UtteranceLevel(input_dim=256, output_dim=5, pooling="MeanPooling").to(dtype)
    layers, lengths = ragged_frames()
    layers = [layer.to(dtype) for layer in layers]
    pooled = torch.stack(
        [torch.stack([layer[i, :n].double().mean(dim=0) for layer in layers]) for i, n in enumerate(lengths)]
    ).to(dtype)
    labels = torch.tensor([3, 0, 4])

    mixed, mixed_lengths = featurizer(layers, [lengths] * 4)
    expected, _ = model(projector(mixed), mixed_lengths)
    torch.nn.functional.cross_entropy(expected, labels).backward()
    last = model.post_net.linear
    parameters = [featurizer.weights, projector.weight, projector.bias, last.weight, last.bias]
    theta = torch.cat([p.detach().flatten() for p in parameters])[None]
    gradients = torch.cat([p.grad.flatten() for p in parameters])[None]

    heads = PooledHeads(theta, 4, 24, 256, 5, None)
    torch.testing.assert_close(heads.scores(pooled)[0], expected.detach(), rtol=0, atol=tolerance)
    found = torch.full_like(theta, torch.nan)

    def score_gradient(scores: torch.Tensor) -> torch.Tensor:
        shares = torch.softmax(scores, dim=-1)
        return (shares - torch.nn.functional.one_hot(labels, 5).to(dtype)) / 3

    PooledHead(pooled).backward(heads, [HeadBatch(torch.arange(3), [0])], score_gradient, found)
    torch.testing.assert_close(found, gradients, rtol=0, atol=tolerance)
    assert float(expected.detach().std()) > 0.05
    assert float(gradients.abs().max()) > 0.05


def test_a_head_is_the_same_whatever_else_is_trained_beside_it() -> None:
    task = one_fold(make_task(clips=120))
    many = SuperbProbe(**{**QUICK["superb"], "learning_rates": [1e-4, 1e-2, 0.1]})
    few = SuperbProbe(**{**QUICK["superb"], "learning_rates": [1e-2]})
    both, alone = many.run(dataclasses.replace(task, seeds=(0, 3)), ignore), few.run(task, ignore)
    note = both[0, 0].notes["category"]
    assert note["learning_rate"] == 1e-2
    assert note["steps"] == alone[0, 0].notes["category"]["steps"]
    np.testing.assert_allclose(both[0, 0].probabilities, alone[0, 0].probabilities, atol=1e-5)  # type: ignore[arg-type]
    assert not np.allclose(both[0, 0].probabilities, both[0, 3].probabilities, atol=1e-5)  # type: ignore[arg-type]


def test_the_learning_rate_is_the_one_with_the_lowest_validation_loss_and_the_refit_uses_all_clips() -> None:
    task = one_fold(make_task(clips=120), dimensions=np.full((120, 3), np.nan))
    fold = task.folds[0]
    rates = [1e-5, 1e-3, 1e-2]
    settings = {**QUICK["superb"], "learning_rates": rates}
    outcome = SuperbProbe(**settings).run(task, ignore)[0, 0]
    note = outcome.notes["category"]
    assert note["steps"] == settings["max_steps"], "how long to train is not chosen"
    each = {
        r: SuperbProbe(**{**settings, "learning_rates": [r]}).run(task, ignore)[0, 0].notes["category"]
        for r in rates
    }
    assert note["learning_rate"] == min(rates, key=lambda r: each[r]["dev_loss"])
    assert sum(note["layer_weights"]) == pytest.approx(1.0, abs=1e-3)
    assert int(np.argmax(note["layer_weights"])) == 2
    x, labels = torch.from_numpy(task.features), torch.from_numpy(task.labels)
    steps = round(note["steps"] * len(fold.fitted) / len(fold.train))
    trial = Trial(fold.fitted, NO_ROWS, note["learning_rate"], 0, steps)
    again = train_heads(PooledHead(x, 16), [trial], CrossEntropy(labels, 3), Schedule(decay=True))
    expected = softmax(again.heads.scores(x[torch.from_numpy(fold.test)])[0].numpy())
    np.testing.assert_allclose(outcome.probabilities, expected, atol=1e-6)  # type: ignore[arg-type]


def test_at_a_constant_rate_without_refit_the_best_validated_step_is_kept() -> None:
    task = one_fold(make_task(clips=60, dims=8), dimensions=np.full((60, 3), np.nan))
    fold = task.folds[0]
    settings = {**QUICK["superb"], "learning_rates": [0.05], "refit": False, "decay": False, "patience": 2}
    outcome = SuperbProbe(**settings).run(task, ignore)[0, 0]
    note = outcome.notes["category"]
    assert note["steps"] < 120, "this task is overfitted soon: patience must have ended training"
    x, labels = torch.from_numpy(task.features), torch.from_numpy(task.labels)
    trial = Trial(fold.train, NO_ROWS, 0.05, 0, note["steps"])
    stopped = train_heads(PooledHead(x, 16), [trial], CrossEntropy(labels, 3), Schedule())
    expected = softmax(stopped.heads.scores(x[torch.from_numpy(fold.test)])[0].numpy())
    np.testing.assert_allclose(outcome.probabilities, expected, atol=1e-6)  # type: ignore[arg-type]
    dev = torch.from_numpy(fold.dev)
    loss = torch.nn.functional.cross_entropy(stopped.heads.scores(x[dev])[0], labels[dev])
    assert note["dev_loss"] == pytest.approx(float(loss), abs=1e-4)


def test_the_dimension_loss_is_one_minus_concordance_with_unknown_values_left_out() -> None:
    random = np.random.default_rng(2)
    truth = random.uniform(0, 1, (20, 3))
    truth[3:9, 1] = np.nan
    truth[:, 2] = np.nan
    raw = random.standard_normal((1, 20, 3))
    answers = 1.0 / (1.0 + np.exp(-raw[0]))
    objective = CccLoss(torch.from_numpy(truth))
    loss = float(objective.val_loss(torch.from_numpy(raw), torch.arange(20))[0])
    known = np.isfinite(truth[:, 1])
    expected = [
        1 - concordance_cc(truth[:, 0].tolist(), answers[:, 0].tolist()),
        1 - concordance_cc(truth[known, 1].tolist(), answers[known, 1].tolist()),
    ]
    assert loss == pytest.approx(np.mean(expected), abs=1e-9)
    batch = objective.losses(torch.from_numpy(raw), torch.arange(20)[None], torch.zeros(1, dtype=torch.int64))
    assert float(batch[0]) == pytest.approx(loss, abs=1e-9)


def by_hand(task: ProbeTask, make: Any, strengths: Sequence[float]) -> tuple[Any, NDArray[np.float32]]:
    """Choose by speaker-wise cross-validation and refit, with scikit-learn's own: (fitted pipeline, its test rows)."""
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fold, best = task.folds[0], (-1.0, 0, 0.0)
    rows = fold.fitted
    count = Counter(task.speakers[i] for i in rows)
    dealt = sorted(count, key=lambda speaker: (-count[speaker], speaker))
    inner = PredefinedSplit([dealt.index(task.speakers[i]) % min(4, len(dealt)) for i in rows])
    for strength in strengths:
        for layer in range(task.features.shape[1]):
            x = task.features[rows, layer].astype(np.float64)
            model = make_pipeline(StandardScaler(), make(strength))
            answers = cross_val_predict(model, x, task.labels[rows], cv=inner)
            ua = unweighted_accuracy(task.labels[rows].tolist(), answers.tolist())
            if ua > best[0]:
                best = (ua, layer, strength)
    x = task.features[:, best[1]].astype(np.float64)
    model = make_pipeline(StandardScaler(), make(best[2])).fit(x[fold.fitted], task.labels[fold.fitted])
    return model, x[fold.test]


@pytest.mark.parametrize("classes", [2, 4])
def test_the_svm_probe_is_scikit_learns_svm_and_its_answers_are_the_svms(classes: int) -> None:
    from sklearn.svm import SVC

    task = one_fold(make_task(clips=160, classes=classes, noise=3.0))
    model, test = by_hand(task, lambda c: SVC(C=c, break_ties=True), [1.0, 3.0, 10.0, 30.0, 100.0])
    outcome = build_probe("svm").run(task, ignore)[0, 0]
    assert outcome.probabilities is not None
    assert outcome.probabilities.argmax(axis=1).tolist() == model.predict(test).tolist()


@pytest.mark.parametrize("classes", [2, 4])
def test_the_linear_probe_is_scikit_learns_logistic_regression(classes: int) -> None:
    from sklearn.linear_model import LogisticRegression

    task = one_fold(make_task(clips=160, classes=classes))
    model, test = by_hand(
        task, lambda c: LogisticRegression(C=c, max_iter=1000), [0.0003, 0.001, 0.01, 0.1, 1.0]
    )
    outcome = build_probe("linear").run(task, ignore)[0, 0]
    np.testing.assert_allclose(outcome.probabilities, model.predict_proba(test), atol=1e-6)  # type: ignore[arg-type]
    assert outcome.notes["category"]["layer"] == 2


def test_every_seed_of_a_deterministic_probe_gets_the_same_answer() -> None:
    outcomes = build_probe("linear").run(one_fold(make_task(clips=120), seeds=(0, 1, 2)), ignore)
    assert outcomes[0, 0] is outcomes[0, 1] is outcomes[0, 2]


def test_mistakes_are_answered_in_words() -> None:
    task = make_task(clips=48)
    with pytest.raises(UsageError, match="did you mean 'superb'"):
        build_probe("supreb")
    with pytest.raises(UsageError, match="does not take these parameters"):
        build_probe("linear", {"learning_rate": 1})
    with pytest.raises(DataError, match="Fold 0 has 24 training and 0 validation clips"):
        dataclasses.replace(task, folds=(ProbeFold(task.folds[0].train, NO_ROWS, task.folds[0].test),))
    fold = task.folds[0]
    with pytest.raises(DataError, match="more than one of"):
        dataclasses.replace(task, folds=(ProbeFold(fold.train, fold.train, fold.test),))
    broken = task.features.copy()
    broken[0, 0, 0] = np.inf
    with pytest.raises(DataError, match="finite"):
        dataclasses.replace(task, features=broken)
    silent = dataclasses.replace(task, labels=np.zeros(48, dtype=np.int64))
    for name in QUICK:
        with pytest.raises(DataError, match="two classes"):
            build_probe(name, QUICK[name]).run(silent, ignore)
    with pytest.raises(DataError, match="diverged"):
        SuperbProbe(**{**QUICK["superb"], "learning_rates": [1e30]}).run(task, ignore)


def test_superbs_step_count_is_a_preset_that_patience_does_not_cut_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bench.features.probes import learning_rate_search

    assert (learning_rate_search.SUPERB_STEPS, learning_rate_search.SUPERB_LOOK) == (30_000, 1_000)
    monkeypatch.setattr(learning_rate_search, "SUPERB_STEPS", 60)
    monkeypatch.setattr(learning_rate_search, "SUPERB_LOOK", 20)
    task = one_fold(make_task(clips=60, dims=8), dimensions=np.full((60, 3), np.nan))
    looks: list[float] = []
    probe = SuperbProbe([0.05], hidden=16, max_steps="superb", patience=1, evaluate_every=1, refit=False)
    outcome = probe.run(task, lambda done, total: looks.append(done / total))[0, 0]
    assert outcome.notes["category"]["steps"] in (20, 40, 60)
    assert [round(60 * x) for x in dict.fromkeys(looks)] == [20, 40, 60]
