"""From a network's numbers to answers: a clip of which a number is none is answered ``failed``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.protocols import Answers, Array

NO_NUMBER = "the network's answer is no number"


def answers_of(
    labels: Sequence[str],
    probabilities: Array | None,
    dimensions: Array,
    *,
    learnt: Sequence[bool],
    notes: Mapping[str, Any],
    failures: Mapping[int, str] | None = None,
) -> Answers:
    """Lay out a network's numbers as answers.

    A clip is ``failed`` where one of the numbers that would be answered is NaN or infinite; the notes count such clips by reason.

    Args:
        labels: names on offer, in the order of the columns; none where the task has no categories.
        probabilities: (clips, labels), or None for a network without categories.
        dimensions: (clips, 3): valence, arousal, dominance in 0..1.
        learnt: (3,), which dimensions are answered at all.
        notes: what a report should know of the system.
        failures: reason by row, where it is known.
    """
    answered = np.asarray(learnt, dtype=bool)
    offered = probabilities if labels else None
    good: NDArray[np.bool_] = np.asarray(np.isfinite(dimensions[:, answered]).all(axis=1))
    if offered is not None:
        good = good & np.isfinite(offered).all(axis=1)
    names: tuple[str | None, ...] = (None,) * len(good)
    if offered is not None:
        best = np.where(good[:, None], offered, 0.0).argmax(axis=1)
        names = tuple(labels[int(b)] if ok else None for b, ok in zip(best, good, strict=True))
    reasons = Counter((failures or {}).get(int(i), NO_NUMBER) for i in np.flatnonzero(~good))
    return Answers(
        statuses=tuple("ok" if ok else "failed" for ok in good),
        labels=names,
        probabilities=None if offered is None else np.where(good[:, None], offered, np.nan),
        dimensions=np.where(good[:, None] & answered, dimensions, np.nan) if answered.any() else None,
        notes={**notes, **({"failures": dict(sorted(reasons.items()))} if reasons else {})},
    )
