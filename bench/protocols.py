"""What an adapter is: the protocols of the three families, and the typed data that crosses the border.

An adapter never sees a test label. It gets :class:`Clips` (audio and what a user of an unlabelled file would
know), for training :class:`Examples` (clips with labels), and returns :class:`Answers`, one row per clip.
Array shapes are written (clips, layers, dims); audio is 16 kHz mono float32 in −1..1; dimensions are valence,
arousal, dominance in that order, mapped to 0..1; NaN marks a missing dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Hertz: every waveform an adapter sees has this rate."""
DIMENSIONS = ("valence", "arousal", "dominance")
STATUSES = ("ok", "unparsed", "refused", "truncated", "undecodable", "failed")
"""What may have become of a clip. A failure is a status, never a zero and never a dropped row."""
STORED = "stored"
"""In place of a server's address: read stored replies only, and ask nothing."""
ASK_AGAIN = "ask_again"
"""Note of answers: how many requests failed that another time may do; the next run of the same folder tries."""

Waveform = NDArray[np.float32]
Array = NDArray[np.float64]
Progress = Callable[[float, float], None]
"""Called with what is done and the total, in one unit of the caller's choice."""


@dataclass(frozen=True)
class Clips:
    """Audio clips without labels, in a fixed order.

    Args:
        ids: clip ids, as in ``metadata.csv``.
        pcm_hashes: hash of each clip's decoded 16 kHz mono int16 samples.
        seconds: length of each clip (clips,).
        languages: BCP 47 tag of each clip.
        read: ``read(i)`` returns clip *i*'s waveform, float32 (samples,) in −1..1, from the decoded store: cheap, and safe
            to call often.
        transcripts: of each clip, "" where unknown; empty where there are none.
    """

    ids: tuple[str, ...]
    pcm_hashes: tuple[str, ...]
    seconds: NDArray[np.float64]
    languages: tuple[str, ...]
    read: Callable[[int], Waveform]
    transcripts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def waveforms(self) -> Iterator[Waveform]:
        """Yield the clips' waveforms in order."""
        return (self.read(i) for i in range(len(self)))


@dataclass(frozen=True)
class Examples:
    """Clips with what a learner may know of them.

    Args:
        clips: the audio.
        labels: of each clip one of the offered labels, or None where it carries no category.
        dimensions: (clips, 3) in 0..1, NaN where unknown.
        speakers: of each clip, as ``pool/speaker``.
        soft_labels: shares of listeners' votes (clips, labels) over the offered labels, NaN rows where nobody voted; None
            where no clip has votes.
    """

    clips: Clips
    labels: tuple[str | None, ...]
    dimensions: Array
    speakers: tuple[str, ...]
    soft_labels: Array | None = None

    def __len__(self) -> int:
        return len(self.clips)


@dataclass(frozen=True)
class Answers:
    """What a system predicted, one row per clip, in the order of the clips it was given.

    Args:
        statuses: of each clip, one of :data:`STATUSES`.
        labels: of each clip an offered label, or None.
        probabilities: (clips, labels) in the order of the offered labels, each row summing to one; None when the system
            gives none.
        dimensions: (clips, 3) in 0..1, NaN for no answer; None when the system gives none.
        replies: of each clip the raw text of an Audio-LLM, or None.
        notes: what a report should know of the fit.
        variants: the ways of asking that these answers were put together from, by name.
    """

    statuses: tuple[str, ...]
    labels: tuple[str | None, ...]
    probabilities: Array | None = None
    dimensions: Array | None = None
    replies: tuple[str | None, ...] | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    """What a report should know of how these answers came about (chosen learning rate, epochs, …): JSON values."""
    variants: Mapping[str, Answers] = field(default_factory=dict)
    """The ways of asking that these answers were put together from, by name (prompt, order, repeat); each has the same rows."""


@dataclass(frozen=True)
class FitContext:
    """What surrounds a fit: the labels on offer, the seed, the device, a folder for checkpoints.

    Args:
        labels: on offer, in this order; empty when the task has no categories.
        dimensions: whether the task has dimension labels to learn.
        seed: of every random choice of the fit.
        workdir: belongs to this fit alone and survives a kill: a long fit may keep checkpoints there and go on from them.
        device: ``cpu`` or ``cuda:N``.
        features: set when the system card has a ``features`` section: maps a clip's PCM hash to what that frozen encoder
            gave, for training and test clips alike.
        feature_params: parameters of that encoder.
        server: base address of the server an Audio-LLM answers from.
        max_cost: what the replies of this fit may cost.
        log: where training keeps its curves.
        progress: ``progress(done, total)`` feeds the progress bar.
    """

    labels: tuple[str, ...]
    dimensions: bool
    seed: int
    workdir: Path
    device: str = "cpu"
    features: FeatureReader | None = None
    feature_params: Mapping[str, Any] | None = None
    """Parameters of the encoder that made ``features`` (its layers, its input), for adapters that go on from them."""
    server: str | None = None
    """Base address (ending in ``/v1``) of the server an Audio-LLM answers from; None while there is none."""
    max_cost: float | None = None
    """What the replies of this fit may cost, in the currency of the card's prices; None: no limit."""
    log: str | None = None
    """Where training keeps its curves, for adapters that log: one of Accelerate's trackers."""
    progress: Progress = lambda done, total: None


class FeatureReader(Protocol):
    """Read-only view of stored encoder output."""

    def __getitem__(self, pcm_hash: str) -> NDArray[np.float32]:
        """Pooled (layers, dims), or frames (layers, frames, dims) when frames were asked for."""
        ...

    def __contains__(self, pcm_hash: object) -> bool: ...


@dataclass(frozen=True)
class Weights:
    """Pretrained weights, found: a local folder, and the hash of what is in it.

    ``pickled``: the card says that there is a pickle alone, and asks for it to be read. ``file``: the one file in the folder that the
    card names, where it names one.
    """

    folder: Path
    content_hash: str
    revision: str | None = None
    pickled: bool = False
    file: Path | None = None


@runtime_checkable
class SendsRequests(Protocol):
    """A predictor that asks a server: it can say what it sends before it sends anything."""

    def sent_for_one_clip(self, context: FitContext) -> str:
        """Return the messages of a clip's first question, as JSON, audio and transcript by name."""
        ...


@runtime_checkable
class Closes(Protocol):
    """A predictor that holds what does not end with it, such as a server it started: it is told when its fit is over."""

    def close(self) -> None:
        """End it. Called once after the last prediction, and after a fit or a prediction that failed."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """Audio in, hidden states of all layers out. Frozen.

    Built in a worker as ``Class(**params)`` from the system card's ``features.params``, plus ``weights=Weights`` when
    the card names weights (those of a package only where the class takes them: its own code may find them) and
    ``device=str`` (``"cpu"``, ``"cuda:0"``). Equal parameters, weights and code mean equal
    output: that, with the clip's PCM hash, is the key under which the output is stored.
    """

    def encode(self, waveforms: Sequence[Waveform]) -> list[NDArray[np.float32]]:
        """One array (layers, frames, dims) per waveform, valid frames only. Batching must not change the answer.

        A clip that cannot be encoded (too short for the front end, say) is answered by raising
        :class:`bench.errors.DataError` when given alone.
        """
        ...


@runtime_checkable
class Predictor(Protocol):
    """Learns from examples and answers on clips.

    Built in a worker as ``Class(**params)`` from the system card's ``params``, plus ``weights=Weights`` when the card
    names weights. One instance per fit.
    """

    def fit(self, train: Examples, dev: Examples, context: FitContext) -> None:
        """Learn from ``train``; ``dev`` (other speakers) is for choosing and stopping.

        Called once before any prediction. Zero-shot, both are empty: ``context`` then tells what is on offer.

        Args:
            train: clips with labels to learn from; empty, zero-shot.
            dev: clips of other speakers, to choose and stop on; empty, zero-shot.
            context: labels on offer, seed, device, a folder for checkpoints, stored features.

        Raises:
            DataError: these examples cannot be learnt from.
            NeedsServer: answers are missing that only a server can give.
        """
        ...

    def predict(self, clips: Clips) -> Answers:
        """One answer per clip, in order. May be called several times (conditions)."""
        ...
