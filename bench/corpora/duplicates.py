"""The same recording twice: under two names, in two corpora, or cut out of a longer clip.

Landmarks (:mod:`bench.audio.fingerprints`) propose pairs of clips and how far they are shifted; a pair counts when the samples
themselves correlate. So a copy is found whatever its name, its start, its level or sampling rate, and two takes of one sentence
by one speaker are not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.audio.fingerprints import HOP, corpus_landmarks
from bench.audio.store import DecodedClip
from bench.cards.contamination import pools_of
from bench.cards.registry import corpus_cards
from bench.corpora.decoded import CorpusTable, open_table
from bench.corpora.prepared import find_corpora
from bench.errors import BenchError
from bench.protocols import SAMPLE_RATE, Waveform

DuplicateKind = Literal["equal", "copy", "cut", "overlap"]
KINDS = {
    "equal": "equal sample by sample",
    "copy": "the same recording, processed otherwise",
    "cut": "one is cut out of the other",
    "overlap": "they overlap",
}
FEWEST_LANDMARKS = 4
"""Landmarks that must agree on a shift before two clips are compared."""
LEAST_CORRELATION = 0.9
"""Correlation of the samples from which two stretches are one recording (measured on the four prepared corpora: 339 copies that
went through 22.05 kHz and a cut have 0.999, the 28 other pairs that landmarks proposed under 0.2)."""
SHORTEST_SECONDS = 0.25
WHOLE = 0.9
"""Share of a clip that must lie in the other for it to be a copy or a cut."""
_COMPARED_SECONDS = 4
_MOST_COMMON = 24
"""A landmark that more clips than this share says nothing."""
_PARTS = 16


@dataclass(frozen=True)
class DecodedCorpus:
    """A decoded corpus, to be compared with others."""

    name: str
    pool: str
    pools: frozenset[str]
    """All pools whose recordings it holds, by its card."""
    clips: tuple[DecodedClip, ...]

    @classmethod
    def of(cls, table: CorpusTable) -> DecodedCorpus:
        """The corpus behind a table whose audio is decoded."""
        card = table.corpus.card
        pools = frozenset(pools_of(card, corpus_cards()))
        return cls(card.name, card.pool_name, pools, tuple(table.decoded()))

    def declares(self, other: DecodedCorpus) -> bool:
        """Whether the cards say that the two share recordings."""
        return bool(self.pools & other.pools)


@dataclass(frozen=True)
class Duplicate:
    """Two clips that hold one recording. ``start``: seconds into the first clip at which the second begins."""

    corpora: tuple[str, str]
    clips: tuple[str, str]
    kind: DuplicateKind
    start: float
    seconds: float
    correlation: float


def find_duplicates(corpora: Sequence[DecodedCorpus], cache: Path) -> list[Duplicate]:
    """Find all pairs of clips, within and across the corpora, that hold one recording; ordered by corpus and clip."""
    clips = [(c, clip) for c in corpora for clip in c.clips]
    found: dict[tuple[int, int], Duplicate] = {}
    same: dict[str, list[int]] = defaultdict(list)
    for i, (_, clip) in enumerate(clips):
        if clip.message is None:
            same[clip.pcm_hash].append(i)
    for rows in same.values():
        for a, b in combinations(rows, 2):
            seconds = clips[a][1].samples / SAMPLE_RATE
            found[a, b] = _pair(clips, a, b, "equal", 0.0, seconds, 1.0)
    for (a, b), shift in _candidates(corpora, cache).items():
        if (a, b) not in found and (pair := _compare(clips, a, b, shift)) is not None:
            found[a, b] = pair
    return [found[key] for key in sorted(found)]


def shared_with_others(
    table: CorpusTable, folders: Sequence[Path], cache: Path
) -> tuple[list[Duplicate], list[str]]:
    """Compare a decoded corpus with itself and with the other decoded corpora of some data folders.

    Args:
        table: the corpus.
        folders: data folders with the others.
        cache: folder of decoded audio and of landmarks.

    Returns:
        What concerns it, but for clips equal to another of its own; and sentences: what was found, and which corpora could
        not be looked at.
    """
    decoded, notes = [DecodedCorpus.of(table)], []
    for other in find_corpora(folders)[0] if folders else []:
        if (
            other.folder.resolve() == table.corpus.folder.resolve()
            or other.card.name == table.corpus.card.name
        ):
            continue
        try:
            opened = open_table(other, cache)
        except BenchError as error:
            notes.append(f"not compared with {other.card.name}: {error}")
            continue
        if opened.missing_shards():
            notes.append(
                f"not compared with {other.card.name}, which is not decoded yet: run serbench corpus describe {other.card.name}"
            )
        else:
            decoded.append(DecodedCorpus.of(opened))
    own = decoded[0].name
    found = [
        d
        for d in find_duplicates(decoded, cache)
        if own in d.corpora and not (d.kind == "equal" and d.corpora == (own, own))
    ]
    return found, [*duplicate_warnings(decoded, found).get(own, []), *notes]


def duplicate_warnings(corpora: Sequence[DecodedCorpus], found: Iterable[Duplicate]) -> dict[str, list[str]]:
    """Say in sentences what pairs of corpora share, by corpus name; a copy across pools is undeclared and said so."""
    by_name = {c.name: c for c in corpora}
    together: dict[tuple[str, str], list[Duplicate]] = defaultdict(list)
    for d in found:
        together[d.corpora].append(d)
    sentences: dict[str, list[str]] = defaultdict(list)
    for (a, b), pairs in sorted(together.items()):
        kinds = ", ".join(f"{n} {KINDS[k]}" for k in KINDS if (n := sum(p.kind == k for p in pairs)))
        first = f"first {pairs[0].clips[0]!r} and {pairs[0].clips[1]!r}"
        if a == b:
            text = f"{a}: {len(pairs)} pair(s) of clips hold one recording ({kinds}), {first}"
        elif by_name[a].declares(by_name[b]):
            text = f"{a} and {b} hold {len(pairs)} recording(s) in common ({kinds}), {first}; their cards declare the shared pool"
        else:
            text = (
                f"{a} and {b} hold {len(pairs)} recording(s) in common ({kinds}), {first}, though their cards name the pools "
                f"{by_name[a].pool!r} and {by_name[b].pool!r}: an undeclared copy. Give both cards one pool, or one would be trained on and "
                "the other tested"
            )
        for name in {a, b}:
            sentences[name].append(text)
    return dict(sentences)


def _pair(
    clips: Sequence[tuple[DecodedCorpus, DecodedClip]],
    a: int,
    b: int,
    kind: DuplicateKind,
    start: float,
    seconds: float,
    correlation: float,
) -> Duplicate:
    return Duplicate(
        (clips[a][0].name, clips[b][0].name),
        (clips[a][1].clip_id, clips[b][1].clip_id),
        kind,
        round(start, 3),
        round(seconds, 3),
        round(correlation, 4),
    )


def _candidates(corpora: Sequence[DecodedCorpus], cache: Path) -> dict[tuple[int, int], int]:
    """Pairs of clips (numbered over all corpora) with enough landmarks in common at one shift, and that shift in frames."""
    marks = [corpus_landmarks(c.clips, cache) for c in corpora]
    starts = np.cumsum([0, *(len(c.clips) for c in corpora)])
    keys = np.concatenate([m.keys for m in marks])
    clip = np.concatenate([m.clips + start for m, start in zip(marks, starts, strict=False)]).astype(np.int64)
    frame = np.concatenate([m.frames for m in marks]).astype(np.int64)
    votes: dict[tuple[int, int], tuple[int, int]] = {}
    part = (keys >> np.uint64(58)).astype(np.int64) % _PARTS
    tallies = [_tally(keys[part == p], clip[part == p], frame[part == p]) for p in range(_PARTS)]
    pairs = np.concatenate([t[0] for t in tallies])
    counts = np.concatenate([t[1] for t in tallies])
    rows, place = np.unique(pairs, axis=0, return_inverse=True)
    totals = np.bincount(place.ravel(), weights=counts, minlength=len(rows))
    neighbours = {(int(a), int(b), int(s)): int(n) for (a, b, s), n in zip(rows, totals, strict=True)}
    for (a, b, s), n in neighbours.items():
        whole = n + neighbours.get((a, b, s + 1), 0)  # a copy that starts between two frames votes for both
        if whole >= FEWEST_LANDMARKS and whole > votes.get((a, b), (0, 0))[0]:
            votes[a, b] = (whole, s)
    return {pair: s for pair, (_, s) in votes.items()}


def _tally(
    keys: NDArray[np.uint64], clip: NDArray[np.int64], frame: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count landmarks in common: rows (clip a, clip b, shift in frames) with a < b, and how many each has."""
    order = np.lexsort((clip, keys))
    keys, clip, frame = keys[order], clip[order], frame[order]
    _, inverse, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    rare = sizes[inverse] <= _MOST_COMMON
    keys, clip, frame = keys[rare], clip[rare], frame[rare]
    found = [np.empty((0, 3), np.int64)]
    for step in range(1, _MOST_COMMON):
        match = (keys[step:] == keys[:-step]) & (clip[step:] != clip[:-step])
        if not (keys[step:] == keys[:-step]).any():
            break
        a, b = clip[:-step][match], clip[step:][match]
        found.append(np.stack([a, b, frame[:-step][match] - frame[step:][match]], axis=1))
    pairs, counts = np.unique(np.concatenate(found), axis=0, return_counts=True)
    return pairs, counts


def _compare(
    clips: Sequence[tuple[DecodedCorpus, DecodedClip]], a: int, b: int, shift: int
) -> Duplicate | None:
    """Compare the samples of two clips at a shift of some frames, refined to the sample."""
    x, y = clips[a][1].read(), clips[b][1].read()
    lag = _refined(x, y, shift * HOP)
    start, end = max(lag, 0), min(len(x), lag + len(y))
    if end - start < SHORTEST_SECONDS * SAMPLE_RATE:
        return None
    correlation = _correlation(x[start:end], y[start - lag : end - lag])
    if correlation < LEAST_CORRELATION:
        return None
    shares = (end - start) / len(x), (end - start) / len(y)
    kind: DuplicateKind = "copy" if min(shares) >= WHOLE else "cut" if max(shares) >= WHOLE else "overlap"
    return _pair(clips, a, b, kind, lag / SAMPLE_RATE, (end - start) / SAMPLE_RATE, correlation)


def _refined(x: Waveform, y: Waveform, lag: int) -> int:
    """The lag within two frames of ``lag`` at which x[n] and y[n − lag] agree best."""
    reach = 2 * HOP
    start, end = max(lag, 0), min(len(x), lag + len(y), max(lag, 0) + _COMPARED_SECONDS * SAMPLE_RATE)
    if end - start < 2 * reach:
        return lag
    first, second = x[start:end].astype(np.float64), y[start - lag : end - lag].astype(np.float64)
    size = 1 << (len(first) + reach).bit_length()
    cross = np.fft.irfft(np.fft.rfft(first, size) * np.conj(np.fft.rfft(second, size)), size)
    near = np.concatenate([cross[-reach:], cross[: reach + 1]])
    return lag + int(np.argmax(near)) - reach


def _correlation(x: Waveform, y: Waveform) -> float:
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x.astype(np.float64) ** 2).sum() * (y.astype(np.float64) ** 2).sum()))
    return float((x.astype(np.float64) * y).sum() / size) if size > 0 else 0.0
