"""The demands of the adapter contract, one function each: returns what was seen, or raises :class:`Violation`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.audio.decoding import pcm_hash, to_float
from bench.errors import DataError
from bench.protocols import SAMPLE_RATE, STATUSES, Answers, Clips, Waveform
from bench.scoring.predictions import PROBABILITY_TOLERANCE, complete_answers

LATE_REACH = 0.3
"""Least movement of a clip's features by another sound at its end, in units of the movement by that sound at its beginning.

Measured: 0.88 to 1.2 for the shipped encoders that need no download, 0.75 to 1.2 for random networks of every family
of transformers, 0.39 for a recurrent one that is slow to forget. Where the first eighth or half of the frames is
kept: 0.06 to 0.23 for models in which each frame knows a little of the whole clip (a group norm over time), 0.01 for
others."""


SOUNDS = 8
"""Sounds of half a second that the clips of :func:`changed_at_the_ends` are made of."""
CLIP_SECONDS = SOUNDS / 2
LOOK_AHEAD = 0.06
"""How far from its place, in shares of the clip, a causal encoder may first hear a change: 0.24 s."""


class Violation(Exception):
    """A demand that does not hold; its text says what was seen."""


def odd_audio() -> Clips:
    """Clips that real corpora hold now and then: 0.05 s, silence, clipping at full scale, 31 s."""
    time = np.arange(31 * SAMPLE_RATE) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * 180 * time)
    sounds = {
        "0.05 s": 0.3 * tone[: SAMPLE_RATE // 20],
        "silence": np.zeros(SAMPLE_RATE),
        "clipping": np.clip(8 * tone[:SAMPLE_RATE], -1, 1),
        "31 s": 0.3 * tone * (1 + np.sin(2 * np.pi * 3 * time)) / 2,
    }
    pcm = [np.clip(np.rint(s * 32768), -32768, 32767).astype(np.int16) for s in sounds.values()]
    return Clips(
        ids=tuple(sounds),
        pcm_hashes=tuple(pcm_hash(p) for p in pcm),
        seconds=np.array([len(p) / SAMPLE_RATE for p in pcm]),
        languages=("qaa",) * len(pcm),
        read=lambda i: to_float(pcm[i]),
        transcripts=("",) * len(pcm),
    )


def changed_at_the_ends() -> tuple[Waveform, Waveform, Waveform]:
    """A sound of 0.5 s eight times over; with another sound in the place of the first one; in the place of the last one."""
    time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    rng = np.random.default_rng(0)

    def sound(pitch: float, trembling: float, hiss: float) -> Waveform:
        voice = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 12))
        loudness = 1 + 0.8 * np.sin(2 * np.pi * trembling * time)
        return (0.1 * loudness * voice + hiss * rng.standard_normal(len(time))).astype(np.float32)

    usual, other = sound(120, 3, 0.01), sound(260, 7, 0.05)
    rest = [usual] * (SOUNDS - 1)
    return np.concatenate([usual, *rest]), np.concatenate([other, *rest]), np.concatenate([*rest, other])


def counted_frames(arrays: Sequence[NDArray[np.float32]], rate: float) -> str:
    """As many frames of :func:`changed_at_the_ends` as their 4 s have at this rate, but for three at the edges or one in fifty.

    Args:
        arrays: (layers, frames, dims) of each clip.
        rate: frames per second, as the card says.

    Returns:
        What was counted.

    Raises:
        Violation: another number of frames.
    """
    expected = CLIP_SECONDS * rate
    for array in arrays:
        if abs(array.shape[1] - expected) > max(3.0, 0.02 * expected):
            raise Violation(
                f"{array.shape[1]} frames for {CLIP_SECONDS:g} s, where {rate:g} per second make {expected:g}: are some left out?"
            )
    return f"{arrays[0].shape[1]} frames for {CLIP_SECONDS:g} s"


def hears_in_its_place(arrays: Sequence[NDArray[np.float32]]) -> str:
    """Frames of :func:`changed_at_the_ends` that a late change moves from where it begins on, and never before.

    A recurrent network in one direction remembers its beginning, so that how far a late sound moves it says little; where the first
    moved frame lies says whether the frames cover the clip. A frame may look ahead a little.
    """
    plain, _, late = (array.astype(np.float64) for array in arrays)
    if plain.shape != late.shape:
        raise Violation(
            f"frames of clips of one length differ in number: {plain.shape[1]} and {late.shape[1]}"
        )
    frames = plain.shape[1]
    reach = np.abs(plain).max() or 1.0
    moved = np.abs(plain - late).max(axis=2) > 1e-5 * reach
    if not moved.any(axis=1).all():
        raise Violation(
            "another sound in the last half second of a clip leaves a layer as it is: are late frames left out?"
        )
    begins, allowed = frames * (1 - 1 / SOUNDS), max(1.0, LOOK_AHEAD * frames)
    first = moved.argmax(axis=1)
    off = int(first[np.abs(first - begins).argmax()])
    if abs(off - begins) > allowed:
        raise Violation(
            f"another sound that begins at {1 - 1 / SOUNDS:.0%} of a clip first moves frame {off + 1} of {frames}: "
            + (
                "that frame lies before it, so this is not causal"
                if off < begins
                else "are late frames left out?"
            )
        )
    return (
        f"another sound that begins at {1 - 1 / SOUNDS:.0%} of a clip first moves frame {off + 1} of {frames}"
    )


def hears_the_end(arrays: Sequence[NDArray[np.float32]], least: float = LATE_REACH) -> str:
    """Features of :func:`changed_at_the_ends` that the late change moves about as far as the early one.

    What counts is each dimension's largest movement, the early change seen in the first quarter of the frames and the late
    one in the last. Over all frames a recurrent network's memory would weigh the beginning more, and means
    say nothing where normalisation leaves none.
    """
    if len({array.shape for array in arrays}) > 1:  # frames by content: only their means can be compared
        arrays = [array.mean(axis=1, keepdims=True) for array in arrays]
    plain, early, late = (array.astype(np.float64) for array in arrays)
    quarter = max(1, plain.shape[1] // 4)
    begins = np.abs(plain - early)[:, :quarter].max(axis=1)
    ends = np.abs(plain - late)[:, -quarter:].max(axis=1)
    moved = begins + ends
    if not moved.any(axis=1).all():
        raise Violation("other sounds at both ends of a clip leave the features of a layer as they are")
    smallest = min(float((e[m > 0] / m[m > 0]).mean()) for e, m in zip(ends, moved, strict=True))
    reach = smallest / max(1e-9, 1 - smallest)
    seen = f"another sound in the last half second of a clip moves its features {reach:.2f} × as far as in the first"
    if not reach > 0 or reach < least:  # NaN too
        raise Violation(f"{seen}: are late frames left out?")
    return seen


def well_shaped(arrays: Sequence[NDArray[np.float32]], n: int) -> str:
    """Arrays of an encoder: one per clip, (layers, frames, dims), finite float32, equal layers and dims."""
    if len(arrays) != n:
        raise Violation(f"{len(arrays)} arrays for {n} clips")
    kinds = set()
    for array in arrays:
        if array.ndim != 3 or 0 in array.shape or array.dtype != np.float32:
            raise Violation(f"an array of shape {array.shape} and type {array.dtype}")
        if not np.isfinite(array).all():
            raise Violation(f"{int((~np.isfinite(array)).sum())} values are not finite")
        kinds.add((array.shape[0], array.shape[2]))
    if len(kinds) > 1:
        raise Violation(f"layers and dims differ between clips: {sorted(kinds)}")
    layers, dims = kinds.pop()
    return f"{layers} layer(s) × {dims} dims"


def close_arrays(a: Sequence[NDArray[np.float32]], b: Sequence[NDArray[np.float32]], tolerance: float) -> str:
    """Two lots of arrays that differ by no more than ``tolerance`` of each one's largest absolute value (or 1).

    Args:
        a: arrays (layers, frames, dims), one per clip.
        b: arrays of the same clips, computed another way.
        tolerance: largest difference, in units of a clip's largest absolute value (or 1).

    Returns:
        The largest difference found.

    Raises:
        Violation: other shapes, or a larger difference.
    """
    worst = 0.0
    for one, other in zip(a, b, strict=True):
        if one.shape != other.shape:
            raise Violation(f"shapes differ: {one.shape} and {other.shape}")
        worst = max(worst, float(np.abs(one - other).max() / max(1.0, float(np.abs(one).max()))))
    if not worst <= tolerance:
        raise Violation(f"differs by {worst:.2g} of the clip's largest value")
    return f"largest difference {worst:.2g}"


def untouched(before: Sequence[Waveform], after: Sequence[Waveform]) -> str:
    """Waveforms that nobody wrote into."""
    touched = sum(not np.array_equal(x, y) for x, y in zip(before, after, strict=True))
    if touched:
        raise Violation(f"{touched} of {len(before)} waveforms were changed in place; work on a copy")
    return "unchanged"


def one_row_each(answers: Answers, n: int) -> str:
    """As many rows as clips."""
    _accepted(Answers(answers.statuses, answers.labels), n, [x for x in answers.labels if x])
    return f"{n} of {n}"


def _accepted(part: Answers, n: int, labels: Sequence[str]) -> None:
    """Hold a part of some answers against the suite's own gate, through which every table goes."""
    known = [s if s in STATUSES else "ok" for s in part.statuses]
    try:
        complete_answers(
            [str(i) for i in range(n)], range(n), replace(part, statuses=tuple(known)), {}, labels
        )
    except DataError as problem:
        raise Violation(str(problem)) from None


def known_statuses(answers: Answers) -> str:
    """Statuses the suite knows."""
    unknown = sorted(set(answers.statuses) - set(STATUSES))
    if unknown:
        raise Violation(f"unknown status {unknown[0]!r}")
    return ", ".join(f"{answers.statuses.count(s)} {s}" for s in STATUSES if s in answers.statuses)


def offered_labels(answers: Answers, offered: Sequence[str]) -> str:
    """Labels among those offered, and one on every ok row.

    An ok row may do without where it has probabilities: a system with classes of its own (emotion2vec's ``other``) named
    one that is not on offer, which counts as wrong, and its probabilities tell the best of those that are. A system that answers
    dimensions alone has no label on any row, and is not scored on categories.
    """
    _accepted(Answers(answers.statuses, answers.labels), len(answers.statuses), offered)
    n = len(answers.statuses)
    shares = np.full((n, 1), np.nan) if answers.probabilities is None else answers.probabilities
    has_probabilities = [bool(np.isfinite(row).all()) for row in shares]
    silent = sum(
        s == "ok" and x is None and not t
        for s, x, t in zip(answers.statuses, answers.labels, has_probabilities, strict=True)
    )
    if offered and silent and _dimensions_alone(answers):
        return "dimensions alone: no label on any row, and no categorical score"
    if offered and silent:
        raise Violation(
            f"{silent} row(s) are ok and have no label; give the row another status, or a label, or probabilities"
        )
    return f"offered: {', '.join(offered)}"


def _dimensions_alone(answers: Answers) -> bool:
    """Whether every ok row has a dimension, and no row a label or probabilities."""
    if answers.dimensions is None or answers.probabilities is not None or any(answers.labels):
        return False
    ok = np.array([status == "ok" for status in answers.statuses])
    return bool(np.isfinite(answers.dimensions[ok]).any(axis=1).all())


def sound_probabilities(answers: Answers, offered: Sequence[str]) -> str:
    """Rows that are distributions over the labels offered."""
    if answers.probabilities is None:
        return "gives none"
    n = len(answers.statuses)
    _accepted(Answers(answers.statuses, (None,) * n, answers.probabilities), n, offered)
    return f"sums within {PROBABILITY_TOLERANCE:g} of one"


def sound_dimensions(answers: Answers) -> str:
    """Dimensions (clips, 3) in 0..1."""
    if answers.dimensions is None:
        return "gives none"
    n = len(answers.statuses)
    _accepted(Answers(answers.statuses, (None,) * n, dimensions=answers.dimensions), n, ())
    return f"{int(np.isfinite(answers.dimensions).all(axis=1).sum())} of {n} rows complete"


def json_notes(answers: Answers) -> str:
    """Notes that a report can keep as JSON."""
    json.dumps(answers.notes, default=lambda x: x.tolist())
    return f"{len(answers.notes)} notes"


def same_answers(a: Answers, b: Answers, tolerance: float) -> str:
    """Two lots of answers that are the same, probabilities and dimensions to ``tolerance``.

    Args:
        a: answers.
        b: answers to the same clips.
        tolerance: largest difference of probabilities and dimensions, 0..1.

    Returns:
        The largest difference found.

    Raises:
        Violation: other statuses or labels, or a larger difference.
    """
    if a.statuses != b.statuses:
        raise Violation("statuses differ")
    worst = 0.0
    for kind in ("probabilities", "dimensions"):
        one, other = getattr(a, kind), getattr(b, kind)
        if (one is None) != (other is None):
            raise Violation(f"{kind} are given once and not the other time")
        if one is not None:
            worst = max(worst, float(np.abs(np.nan_to_num(one - other)).max()))
    # A near tie may turn over within the tolerance: labels must be equal where no probability tells how near.
    if a.labels != b.labels and (tolerance == 0 or a.probabilities is None):
        raise Violation("labels differ")
    if worst > tolerance:
        raise Violation(f"probabilities or dimensions differ by {worst:.2g}")
    return f"largest difference {worst:.2g}"
