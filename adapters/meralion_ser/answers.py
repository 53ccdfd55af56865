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
    """Lay out ``probabilities`` (clips, labels; None without categories) and ``dimensions`` (clips, 3) as answers.

    ``learnt`` (3,) says which dimensions are answered at all. A clip is ``failed`` where one of the numbers that would
    be answered is NaN or infinite; the notes count such clips by reason, which ``failures`` gives by row where it is known.
    """
    answered = np.asarray(learnt, dtype=bool)
    said = probabilities if labels else None
    good: NDArray[np.bool_] = np.asarray(np.isfinite(dimensions[:, answered]).all(axis=1))
    if said is not None:
        good = good & np.isfinite(said).all(axis=1)
    names: tuple[str | None, ...] = (None,) * len(good)
    if said is not None:
        best = np.where(good[:, None], said, 0.0).argmax(axis=1)
        names = tuple(labels[int(b)] if ok else None for b, ok in zip(best, good, strict=True))
    reasons = Counter((failures or {}).get(int(i), NO_NUMBER) for i in np.flatnonzero(~good))
    return Answers(
        statuses=tuple("ok" if ok else "failed" for ok in good),
        labels=names,
        probabilities=None if said is None else np.where(good[:, None], said, np.nan),
        dimensions=np.where(good[:, None] & answered, dimensions, np.nan) if answered.any() else None,
        notes={**notes, **({"failures": dict(sorted(reasons.items()))} if reasons else {})},
    )
