"""What the statistics of a record prove by themselves: whole clips, counted once, in clusters that the record can have.

A record that was scored keeps every rule here by construction; a forger who moves counts has to keep them all at once. What only
the corpus can tell, whether the true labels are the corpus's, is :mod:`bench.scoring.rescoring`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bench.cards.labels import VIEWS, label_table
from bench.errors import DataError
from bench.protocols import Array
from bench.scoring.record_schema import RecordFacts
from bench.scoring.records import LISTENER, MOMENTS, Counts, Record

OTHER_CLUSTERS = ("speaker", "sentence")
"""Axes whose blocks are counted over something else than the record's clusters."""
CLOSE = 1e-6
"""How far sums that are whole by their meaning, or equal by theirs, may differ: they were added up as floats."""


def require_possible(path: Path, record: Record) -> None:
    """Raise :class:`DataError` where statistics are none: not finite, negative, not whole, or of more clips than there are.

    Args:
        path: the record, for the sentences.
        record: what it says, with its statistics.

    Raises:
        DataError: the first rule that is broken.
    """
    for block in (*record.blocks, *record.slices):
        for fault in _impossible(block, record.facts):
            raise DataError(f"{path}: its statistics ({name_of(block)}) {fault}")
    for fault in (*_cluster_faults(record), *_relation_faults(record)):
        raise DataError(f"{path}: {fault}")


def name_of(block: Counts) -> str:
    """A block in words: view, rule, rows and target, and of a slice its axis and group."""
    return " ".join(filter(None, (*block.key, block.axis, block.group)))


def counted(block: Counts) -> Array:
    """How many clips each cluster has in a block, (seeds, clusters)."""
    counts = block.values if block.categorical else block.values[..., block.sums.index("n")]
    return np.asarray(counts.reshape(*counts.shape[:2], -1).sum(axis=-1))


def _impossible(block: Counts, facts: RecordFacts) -> Iterator[str]:
    if not np.isfinite(block.values).all():
        yield "hold a value that is no number"
        return
    if not block.categorical and "n" not in block.sums:
        yield "do not say how many clips they sum over"
        return
    counts = block.values if block.categorical else block.values[..., block.sums.index("n")]
    if (counts < 0).any():
        yield "hold a negative count"
    if (
        block.axis == LISTENER
    ):  # a clip is shared among its listeners; the share of those whose truth lies outside the view is left out
        if (most := counted(block).sum(axis=-1).max(initial=0)) > facts.clips * (1 + CLOSE):
            yield f"share {most:g} clips among listeners, the task has {facts.clips}"
        return
    if (fractions := np.abs(counts - np.rint(counts))).max(initial=0) > CLOSE:
        yield f"count {counts.flat[fractions.argmax()]:g} clips in one place; clips are counted whole"
    if block.clips > facts.clips:
        yield f"count {block.clips} clips, the task has {facts.clips}"
    if set(MOMENTS) <= set(block.sums):
        yield from _moment_faults(block)
    if block.target == "calibration":
        yield from _calibration_faults(block)


def _calibration_faults(block: Counts) -> Iterator[str]:
    """More right answers than answers, or more confidence and error than each of them can have (a Brier score is at most 2)."""
    n = block.values[..., block.sums.index("n")]
    for name, most in (("right", 1), ("sum_confidence", 1), ("sum_brier", 2)):
        found = block.values[..., block.sums.index(name)]
        if (found > most * n + CLOSE).any() or (found < -CLOSE).any():
            yield f"hold a {name} that so many answers cannot have"


def _moment_faults(block: Counts) -> Iterator[str]:
    """Sums that no numbers in 0..1 have: further out than the scale, or more alike than Cauchy and Schwarz allow."""
    n, x, y, xx, yy, xy = (block.values[..., block.sums.index(s)] for s in MOMENTS)
    slack = CLOSE * (1 + n)
    if max((xx - n / 4 - slack).max(initial=0), (yy - n / 4 - slack).max(initial=0)) > 0:
        yield "sum squares that no answers on a scale of 0 to 1 have"
    spread_x, spread_y, together = n * xx - x * x, n * yy - y * y, n * xy - x * y
    least = -CLOSE * (1 + n * n)
    if (
        (spread_x < least).any()
        or (spread_y < least).any()
        or (spread_x * spread_y - together**2 < least * (1 + n * n)).any()
    ):
        yield "hold sums that no list of numbers has"


def _cluster_faults(record: Record) -> Iterator[str]:
    """Clusters that the record cannot have: more than speakers where these are the clusters, or without a clip."""
    facts, found = record.facts, len(record.clusters)
    if found > facts.clips:
        yield f"says {found} clusters, but it has {facts.clips} clips; a cluster holds one clip at least"
    if facts.speakers > facts.clips:
        yield f"says {facts.speakers} speakers, but it has {facts.clips} clips"
    if facts.cluster == "speaker":
        named = next((not a.absent for a in facts.axes if a.axis == "speaker"), facts.speakers > 1)
        # A clip whose speaker is unknown is a cluster of its own, and then speakers are listed beside the clusters.
        if named and not facts.speaker_names and found != facts.speakers:
            yield f"says {found} clusters, but its clusters are its speakers, and these are {facts.speakers}"
        if not named and facts.axes and found != facts.clips:
            yield f"says {found} clusters, but without speakers each of its {facts.clips} clips is one"
    whole = [counted(b).max(axis=0) for b in record.blocks if b.rows == "all"]
    if whole and (empty := np.flatnonzero(np.max(whole, axis=0) == 0)).size:
        yield f"says {found} clusters, of which {empty.size} have no clip in its statistics (first {record.clusters[empty[0]]})"


def _relation_faults(record: Record) -> Iterator[str]:
    """Blocks that are counted over the same clips and contradict each other."""
    yield from _seed_faults(record.blocks)
    of_key = {b.key: b for b in record.blocks}
    for block in record.blocks:
        whole = of_key.get((block.view, block.outside, "all", block.target))
        if block.rows == "ok" and whole is not None and (_counts(block) > _counts(whole) + CLOSE).any():
            yield f"its statistics ({name_of(block)}) count more than those of all rows"
        plain = of_key.get((block.view, "wrong", block.rows, block.target))
        if (
            block.outside == "masked"
            and plain is not None
            and not _same(true_margin(block), true_margin(plain))
        ):
            yield f"its statistics ({name_of(block)}) have other true classes than those where an answer outside is wrong"
    yield from _view_faults(record)
    yield from _slice_faults(record, of_key)


def true_margin(block: Counts) -> Array:
    """Clips by cluster and true class, (seeds, clusters, K), of counts of labels."""
    return np.asarray(block.values.sum(axis=-1))


def _seed_faults(blocks: Sequence[Counts]) -> Iterator[str]:
    for block in (b for b in blocks if b.rows == "all"):
        truths = true_sums(block)
        if truths is not None and not all(_same(t, truths[0]) for t in truths[1:]):
            yield f"its statistics ({name_of(block)}) have other true labels for one seed than for another"


def true_sums(block: Counts) -> Array | None:
    """What a block of all rows says of the truth alone, (seeds, clusters, …): the same for every system; None if nothing."""
    if block.categorical:
        return true_margin(block)
    if block.target == "calibration":
        return np.asarray(block.values[..., block.sums.index("n")].sum(axis=-1, keepdims=True))
    known = [block.sums.index(s) for s in ("n", "sum_x", "sum_xx", "sum_entropy") if s in block.sums]
    return np.asarray(block.values[..., known])


def _view_faults(record: Record) -> Iterator[str]:
    """A coarser view holds the very clips and answers of the finest one under the label table's names."""
    for rows in ("all", "ok"):
        finest = record.block(record.facts.learnt_view, "wrong", rows, "category")
        if finest is None:
            continue
        for view in VIEWS[VIEWS.index(record.facts.learnt_view) + 1 :]:
            block = record.block(view, "wrong", rows, "category")
            if block is not None and not _same(block.values, _coarser(finest, view, block.labels)):
                yield f"its statistics ({name_of(block)}) are not those of {name_of(finest)} with its labels put together"


def _coarser(block: Counts, view: str, labels: Sequence[str]) -> Array:
    table, k = label_table(), len(labels)
    place = {label: i for i, label in enumerate(labels)}
    to = [place.get(table.place(view, label) or "", k) for label in block.labels]
    values = np.zeros((*block.values.shape[:2], k + 1, k + 1))
    for i, truth in enumerate(to):
        for j, answer in enumerate([*to, k]):
            values[:, :, truth, answer] += block.values[:, :, i, j]
    return values[:, :, :k, :]


def _slice_faults(record: Record, of_key: dict[tuple[str, str, str, str], Counts]) -> Iterator[str]:
    """Groups of clips hold no clip that the whole does not."""
    sums: dict[tuple[str, tuple[str, str, str, str]], Array] = {}
    for block in (b for b in record.slices if b.axis not in (LISTENER, "")):
        counts = _counts(block)
        if block.axis in OTHER_CLUSTERS:
            counts = counts.sum(axis=1, keepdims=True)
        before = sums.get((block.axis, block.key))
        sums[block.axis, block.key] = counts if before is None else before + counts
    for (axis, key), parts in sums.items():
        whole = of_key.get(key)
        if whole is None:
            yield f"its statistics by {axis} ({' '.join(key)}) have no whole that they are parts of"
            continue
        counts = _counts(whole)
        if axis in OTHER_CLUSTERS:
            counts = counts.sum(axis=1, keepdims=True)
        if parts.shape != counts.shape or (parts > counts + CLOSE).any():
            yield f"its statistics by {axis} ({' '.join(key)}) count more than the whole"


def _counts(block: Counts) -> Array:
    """The part of a block that counts clips, (seeds, clusters, …)."""
    return np.asarray(block.values if block.categorical else block.values[..., block.sums.index("n")])


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-9, atol=CLOSE))
