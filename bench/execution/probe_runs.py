"""All folds, seeds and conditions of a probe at once, on stored features."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from bench.cards.parameters import check_parameters
from bench.cards.system import SystemCard
from bench.errors import DataError, UsageError
from bench.execution.out_of_memory import probe_in_parts
from bench.execution.planning.plan import Group
from bench.features.probes import Probe, ProbeFold, ProbeOutcome, ProbeTask, build_probe
from bench.features.store import StoredFeatures
from bench.protocols import Answers
from bench.tasks.training_data import ConditionedClips

RowCondition = tuple[int, str]
"""A row of the training data, and the condition its audio is taken under."""


class FrameRows(Sequence[NDArray[np.float32]]):
    """Frames of a task's clips, (layers, frames, dims) each, read from the store's mapped files when asked for."""

    def __init__(self, features: StoredFeatures, pcm_hashes: Sequence[str]) -> None:
        self._features, self._hashes = features, pcm_hashes

    def __len__(self) -> int:
        return len(self._hashes)

    @overload
    def __getitem__(self, row: int) -> NDArray[np.float32]: ...

    @overload
    def __getitem__(self, row: slice) -> FrameRows: ...

    def __getitem__(self, row: int | slice) -> NDArray[np.float32] | FrameRows:
        """Frames of one clip; of a slice, the rows it names."""
        if isinstance(row, slice):
            return FrameRows(self._features, self._hashes[row])
        return self._features[self._hashes[row]]


def probe_task(group: Group, features: StoredFeatures, conditioned: ConditionedClips) -> ProbeTask:
    """Stack the features a probe learns from and answers on. Clips without features are left out everywhere.

    A fold's test rows are its clips under the group's conditions, one condition after the other. The labels of a
    conditioned test clip are withheld.

    Args:
        group: cells of one probe: all folds, seeds and conditions.
        features: pooled (layers, dims) or frames (layers, frames, dims) by PCM hash.
        conditioned: the clips under conditions other than clean.

    Returns:
        Features (rows, layers, dims), labels and dimensions of every row, and the folds over them.

    Raises:
        DataError: no clip has features.
    """
    data, train_condition = group.data, group.train_condition
    train_rows = sorted({int(i) for f in data.folds for i in np.concatenate([f.train, f.dev])})
    test_rows = sorted({int(i) for f in data.folds for i in f.test})
    inputs = sorted(
        {(i, train_condition) for i in train_rows}
        | {(i, train_condition) for i in test_rows if train_condition in group.conditions}
    )
    inputs += [(i, c) for c in group.conditions if c != train_condition for i in test_rows]
    spec = group.system.card.features
    frames = spec is not None and not spec.pooled
    stacked: list[NDArray[np.float32]] = []
    hashes: list[str] = []
    place: dict[RowCondition, int] = {}
    for row, condition in inputs:
        clip = data.clip_under(row, condition, conditioned)
        if clip.message is None and clip.pcm_hash in features:
            place[row, condition] = len(stacked)
            hashes.append(clip.pcm_hash)
            found = features[clip.pcm_hash]
            stacked.append(found.mean(axis=1) if frames else found)
    if not stacked:
        messages = [m for d in data.decoded if (m := features.failure(d.pcm_hash)) is not None]
        raise DataError(
            f"{group.task.name}: no clip has features; the encoder failed on every one ({(messages or ['no audio'])[0]})"
        )
    code = {label: i for i, label in enumerate(data.labels)}
    labels_given = [(row, condition == train_condition) for row, condition in place]
    unknown = np.full(3, np.nan)

    def placed(rows: NDArray[np.intp], conditions: Sequence[str]) -> NDArray[np.int64]:
        at = [place[int(i), c] for c in conditions for i in rows if (int(i), c) in place]
        return np.array(at, dtype=np.int64)

    return ProbeTask(
        features=np.stack(stacked),
        labels=np.array(
            [code.get(data.emotions[i] or "", -1) if labelled else -1 for i, labelled in labels_given]
        ),
        n_labels=len(data.labels),
        dimensions=np.stack([data.dimensions[i] if labelled else unknown for i, labelled in labels_given]),
        speakers=tuple(data.speakers[i] for i, _ in labels_given),
        folds=tuple(
            ProbeFold(
                placed(f.train, [train_condition]),
                placed(f.dev, [train_condition]),
                placed(f.test, group.conditions),
            )
            for f in data.folds
        ),
        seeds=tuple(dict.fromkeys(c.seed for c in group.cells)),
        frames=FrameRows(features, tuple(hashes)) if frames else None,
    )


def run_probe(
    group: Group,
    features: StoredFeatures,
    conditioned: ConditionedClips,
    device: str,
    progress: Callable[[float, float], None],
) -> list[Answers]:
    """Answer a group's cells, in their order: each on its fold's test clips that have features.

    Args:
        group: cells of one probe: all folds, seeds and conditions.
        features: what its encoder gave, by PCM hash.
        conditioned: the clips under conditions other than clean.
        device: ``cpu`` or ``cuda:N``.
        progress: told of (done, total) training steps.

    Returns:
        Answers per cell.

    Raises:
        DataError: no clip has features.
        UsageError: a parameter that the probe does not have.
    """
    task = probe_task(group, features, conditioned)
    outcomes = probe_in_parts(_probe(group, device), task, progress)
    answers = []
    for cell in group.cells:
        rows = group.data.folds[cell.fold].test
        counts = [_known(group, rows, c, features, conditioned) for c in group.conditions]
        start = sum(counts[: group.conditions.index(cell.condition)])
        part = slice(start, start + counts[group.conditions.index(cell.condition)])
        answers.append(_as_answers(outcomes[cell.fold, cell.seed], part, group.data.labels))
    return answers


def _probe(group: Group, device: str) -> Probe:
    """Build the group's probe; one that can train on a device gets the worker's, unless its card names one."""
    name, params = group.system.card.probe, group.system.card.params
    assert name is not None
    probe = checked_probe(group.system.card)
    takes = inspect.signature(type(probe)).parameters
    return (
        build_probe(name, {**params, "device": device})
        if "device" in takes and "device" not in params
        else probe
    )


def checked_probe(card: SystemCard) -> Probe:
    """Build a card's probe.

    Raises:
        UsageError: a parameter that it does not have, or a value of another kind; names the card.
    """
    name = str(card.probe)
    try:
        probe = build_probe(name, card.params)
    except UsageError as error:
        raise UsageError(f"{card.name}: {error}") from None
    check_parameters(type(probe), card.params, f"{card.name}: probe {name!r}")
    return probe


def _known(
    group: Group,
    rows: NDArray[np.intp],
    condition: str,
    features: StoredFeatures,
    conditioned: ConditionedClips,
) -> int:
    clips = [group.data.clip_under(int(i), condition, conditioned) for i in rows]
    return sum(c.message is None and c.pcm_hash in features for c in clips)


def _as_answers(outcome: ProbeOutcome, part: slice, labels: Sequence[str]) -> Answers:
    probabilities = None if outcome.probabilities is None else outcome.probabilities[part]
    dimensions = None if outcome.dimensions is None else outcome.dimensions[part]
    shaped = probabilities if probabilities is not None else dimensions
    n = 0 if shaped is None else len(shaped)
    best = probabilities.argmax(axis=1) if probabilities is not None else None
    return Answers(
        statuses=("ok",) * n,
        labels=tuple(labels[b] for b in best) if best is not None else (None,) * n,
        probabilities=probabilities,
        dimensions=dimensions,
        notes=outcome.notes,
        variants={name: _as_answers(variant, part, labels) for name, variant in outcome.variants.items()},
    )
