"""What people make of the same clips: one listener against the others, counted like a system's answers.

The statistics are additive per cluster (:mod:`bench.statistics.additive`), so a human reference gets the interval every score gets. Two
truths, never mixed: *perceived* is what the other listeners heard, *intended* the label, where the corpus's card says that
the label is what the speaker was asked for. A card whose labels are themselves a vote of these listeners allows the first only:
a listener would be compared with a majority that contains him.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.cards.labels import label_table
from bench.protocols import DIMENSIONS, Array
from bench.statistics.additive import moment_statistics
from bench.tasks import Task

Truth = Literal["perceived", "intended"]
FEWEST_VOTES = 2
"""A listener needs at least one other to be compared with."""


@dataclass(frozen=True)
class HumanReference:
    """One listener's answers against a truth, counted.

    ``target`` is ``category`` or a dimension. ``statistics``: (clusters, K, K + 1) or (clusters, 6), one unit per clip
    whatever the number of its listeners. ``clusters`` names the rows. ``clips`` counts those with enough listeners and a truth
    in the view; ``votes`` are all their listeners' answers.
    """

    truth: Truth
    view: str
    target: str
    labels: tuple[str, ...]
    clusters: tuple[str, ...]
    statistics: Array
    clips: int
    votes: float


def human_references(task: Task, views: Sequence[str] = ("native", "seven", "four")) -> list[HumanReference]:
    """Return every human reference that a task's votes and ratings allow; an empty list without any."""
    references = []
    clusters = tuple(sorted(set(task.clusters)))
    place = {name: i for i, name in enumerate(clusters)}
    cluster_of = np.array([place[c] for c in task.clusters], dtype=np.intp)
    if any(task.votes):
        for view in views:
            labels = label_table().view_labels(view, _voted(task))
            if len(labels) < 2:
                continue
            counts = votes_in_view(task.votes, view, labels)
            truths: list[tuple[Truth, NDArray[np.intp] | None]] = [("perceived", None)]
            if task.card.truth == "intended":
                truths.append(("intended", _codes(task.emotions, view, labels)))
            for truth, intended in truths:
                table, used, votes = vote_statistics(counts, cluster_of, len(clusters), intended=intended)
                if used:
                    references.append(
                        HumanReference(truth, view, "category", labels, clusters, table, used, votes)
                    )
    for d in DIMENSIONS:
        ratings = [r.get(d, ()) if r else () for r in task.ratings]
        sums, used, votes = rating_statistics(ratings, cluster_of, len(clusters))
        if used:
            references.append(HumanReference("perceived", "dimensions", d, (), clusters, sums, used, votes))
    return references


def _voted(task: Task) -> list[str]:
    """The task's labels, and whatever its listeners also answered."""
    return [*task.labels, *{name for votes in task.votes for name in votes or {} if name}]


def _codes(emotions: Sequence[str | None], view: str, labels: Sequence[str]) -> NDArray[np.intp]:
    code = {label: i for i, label in enumerate(labels)}
    table = label_table()
    places = {e: code.get(table.place(view, e) or "", -1) if e else -1 for e in set(emotions)}
    return np.array([places[e] for e in emotions], dtype=np.intp)


def votes_in_view(votes: Sequence[Mapping[str, float] | None], view: str, labels: Sequence[str]) -> Array:
    """Votes (clips, K + 1) in the classes of a view; the last column holds answers outside it.

    Args:
        votes: number of votes per label for each clip, None for a clip without.
        view: ``native``, ``seven`` or ``four``.
        labels: the K classes of the view.

    Returns:
        Numbers of votes, (clips, K + 1).
    """
    code = {label: i for i, label in enumerate(labels)}
    table = label_table()
    counts = np.zeros((len(votes), len(labels) + 1))
    for i, clip_votes in enumerate(votes):
        for name, n in (clip_votes or {}).items():
            counts[i, code.get((table.place(view, name) if name else None) or "", -1)] += n
    return counts


def vote_statistics(
    counts: Array, cluster_of: NDArray[np.intp], n_clusters: int, *, intended: NDArray[np.intp] | None = None
) -> tuple[Array, int, float]:
    """Count one listener's answers against the majority of the others, or against intended labels.

    A listener is drawn from the n of a clip: with chance n_c / n he
    answered c; the others are then n − e_c, whose majority is the truth, split evenly over ties. That is the exact mean over
    listeners, without any draw. Clips with fewer than two votes, and the share of a clip's weight whose truth is "another
    answer", count nowhere.

    Args:
        counts: numbers of votes, (clips, K + 1), last column "another answer".
        cluster_of: each clip's cluster, (clips,).
        n_clusters: how many clusters there are.
        intended: a class code per clip, −1 for none, in place of the majority.

    Returns:
        Confusions (clusters, K, K + 1), the number of clips counted, and of their votes.

    >>> vote_statistics(np.array([[3.0, 1.0, 0.0]]), np.array([0]), 1)[0].tolist()
    [[[0.75, 0.25, 0.0], [0.0, 0.0, 0.0]]]
    """
    k = counts.shape[1] - 1
    total = counts.sum(axis=1)
    usable = total >= (FEWEST_VOTES if intended is None else 1)
    if intended is not None:
        usable &= intended >= 0
    counts, total, cluster = counts[usable], total[usable], cluster_of[usable]
    table = np.zeros((n_clusters, k, k + 1))
    weight = np.zeros(len(counts))
    for answer in range(k + 1):
        chance = counts[:, answer] / total
        if intended is not None:
            np.add.at(table, (cluster, intended[usable], answer), chance)
            weight += chance
            continue
        others = counts.copy()
        others[:, answer] -= 1
        top = others.max(axis=1, keepdims=True)
        truth = (others >= top - 1e-9).astype(np.float64)
        truth /= truth.sum(axis=1, keepdims=True)
        truth[chance == 0] = 0.0
        for t in range(k):
            table[:, t, answer] += np.bincount(cluster, weights=truth[:, t] * chance, minlength=n_clusters)
        weight += truth[:, :k].sum(axis=1) * chance
    return table, int((weight > 0).sum()), float(total[weight > 0].sum())


def rating_statistics(
    ratings: Sequence[Sequence[float]], cluster_of: NDArray[np.intp], n_clusters: int
) -> tuple[Array, int, float]:
    """Six sums per cluster of one listener's rating (prediction) against the mean of the others (truth), for CCC.

    Each of a clip's m listeners stands against the other m − 1 with weight 1/m, so every clip counts once. Clips with
    fewer than two ratings count nowhere.

    Args:
        ratings: the listeners' ratings of one dimension for each clip, 0..1.
        cluster_of: each clip's cluster, (clips,).
        n_clusters: how many clusters there are.

    Returns:
        Sums (clusters, 6), the number of clips counted, and of their ratings.
    """
    sums = np.zeros((n_clusters, 6))
    clips, n_ratings = 0, 0
    by_size: dict[int, list[int]] = {}
    for i, clip_ratings in enumerate(ratings):
        if len(clip_ratings) >= FEWEST_VOTES:
            by_size.setdefault(len(clip_ratings), []).append(i)
    for m, rows in by_size.items():
        rated = np.array([list(ratings[i]) for i in rows])
        others = (rated.sum(axis=1, keepdims=True) - rated) / (m - 1)
        cluster = np.repeat(cluster_of[rows], m)
        sums += moment_statistics(others.ravel(), rated.ravel(), cluster, n_clusters=n_clusters) / m
        clips, n_ratings = clips + len(rows), n_ratings + m * len(rows)
    return sums, clips, float(n_ratings)
