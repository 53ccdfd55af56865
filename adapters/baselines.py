"""The two reference systems every other must beat: the majority class, and drawing at random from the training set."""

from __future__ import annotations

from collections import Counter

import numpy as np

from bench.protocols import Answers, Array, Clips, Examples, FitContext
from bench.storage.hashing import digest


class Majority:
    """Always answers the most frequent training label and the mean training dimensions.

    Its probabilities are the training set's label shares. Unweighted accuracy is 1 / classes by construction, also
    without training clips: then all labels on offer count alike, the first is answered, and no dimension.
    """

    def fit(self, train: Examples, dev: Examples, context: FitContext) -> None:
        """Count the labels of both sides: there is nothing to choose on ``dev``.

        Args:
            train: clips of the training side.
            dev: clips of the dev side.
            context: labels on offer, and whether the task has dimensions.
        """
        self._labels = context.labels
        counts = Counter(x for part in (train, dev) for x in part.labels if x is not None)
        trained = len(train) + len(dev) > 0
        shares = np.array([counts[label] if trained else 1 for label in context.labels], dtype=float)
        self._shares = shares / shares.sum() if shares.sum() else None
        dimensions = np.concatenate([train.dimensions, dev.dimensions])
        self._mean = _column_means(dimensions) if context.dimensions and trained else None

    def predict(self, clips: Clips) -> Answers:
        """Answer the same on every clip."""
        n = len(clips)
        label = self._labels[int(np.argmax(self._shares))] if self._shares is not None else None
        return Answers(
            statuses=("ok",) * n,
            labels=(label,) * n,
            probabilities=np.tile(self._shares, (n, 1)) if self._shares is not None else None,
            dimensions=np.tile(self._mean, (n, 1)) if self._mean is not None else None,
        )


class Chance:
    """Answers each clip with the labels and dimensions of a random training clip, drawn with the fit's seed.

    Without training clips it draws from the labels on offer, each as likely, and answers no dimension.
    """

    def fit(self, train: Examples, dev: Examples, context: FitContext) -> None:
        """Keep the training labels and dimensions to draw from.

        Args:
            train: clips of the training side.
            dev: clips of the dev side.
            context: labels on offer, whether the task has dimensions, and the seed.
        """
        self._seed = context.seed
        self._labels = [x for part in (train, dev) for x in part.labels if x is not None]
        trained = len(train) + len(dev) > 0
        if not trained:
            self._labels = list(context.labels)
        dimensions = context.dimensions and trained
        self._dimensions = np.concatenate([train.dimensions, dev.dimensions]) if dimensions else None

    def predict(self, clips: Clips) -> Answers:
        """Draw one training clip per column and clip, independently."""
        # The clips are part of the seed: folds of equal size must not get one and the same sequence of draws.
        rng = np.random.default_rng([self._seed, int(digest(*clips.ids), 16)])
        n = len(clips)
        labels = [str(x) for x in rng.choice(np.array(self._labels), size=n)] if self._labels else [None] * n
        drawn = None
        if self._dimensions is not None:
            columns = [c[np.isfinite(c)] for c in self._dimensions.T]
            drawn = np.stack(
                [rng.choice(c, size=n) if c.size else np.full(n, np.nan) for c in columns], axis=1
            )
        return Answers(statuses=("ok",) * n, labels=tuple(labels), dimensions=drawn)


def _column_means(values: Array) -> Array:
    known = np.isfinite(values)
    sums = np.where(known, values, 0.0).sum(axis=0)
    counts = known.sum(axis=0)
    means: Array = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return means
