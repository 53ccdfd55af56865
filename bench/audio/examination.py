"""What a clip's samples say about it: destroyed, silent, cut or oddly recorded. One examination for all who decode.

Sums are taken block by block while a file is decoded, so that no second look at the audio is needed; sentences are made of them
where somebody reads them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SoundKind = Literal["clipped", "channels cancel", "silent", "offset", "dead channel", "short"]
Samples = NDArray[np.float64]

FULL_SCALE = 32767 / 32768
"""Absolute value from which a sample counts as at full scale."""
CLIPPED = 0.05
"""Share of samples at full scale from which a clip is called clipped (loudest of 2,500 real clips of four corpora: 0.018)."""
BEYOND = 4.0
"""Largest sample from which floats are taken to stand on an integer's scale, not to be a little too loud."""
CANCELLED = 0.3
"""Level of the average, against that of unrelated channels as loud, from which channels are said to cancel."""
FAINT = 1e-3
"""Largest sample (−60 dB) below which a clip is as good as silent (quietest real clip: 0.03)."""
MOSTLY = 0.95
"""Share of zeros from which a clip is silent but for moments."""
OFFSET = 0.05
"""Mean of the samples from which they stand beside zero (largest of the real clips: 0.006)."""
SHORTEST = 0.1
"""Seconds below which a clip holds no speech to speak of."""
DEAD = 1e-5
SIXTEEN_BIT_SCALE = 32768.0


@dataclass(frozen=True)
class SoundFinding:
    """One thing that is odd about a clip's sound, in a sentence with its cause."""

    kind: SoundKind
    message: str


@dataclass(frozen=True)
class Examination:
    """Sums over a clip as it was recorded, before it became 16 kHz and 16 bits; amplitudes in full scales.

    ``peak``: largest sample; ``full``, ``zeros``: share at full scale, and exactly zero; ``offset``: mean; ``level``: RMS of the
    average of the channels without its mean; ``apart``: what that would be were the channels unrelated; ``dead``: channels that are silent beside one
    that is not; ``missing``: seconds that a header or table promised and that are not there.
    """

    rates: tuple[int, ...]
    channels: tuple[int, ...]
    seconds: float
    frames: int
    peak: float
    full: float
    zeros: float
    offset: float
    level: float
    apart: float
    dead: int
    missing: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return JSON values, numbers to six digits."""
        return {
            name: list(v) if isinstance(v, tuple) else float(f"{v:.6g}") if isinstance(v, float) else v
            for name, v in vars(self).items()
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Examination:
        """The examination that :meth:`as_json` wrote."""
        return cls(**{**values, "rates": tuple(values["rates"]), "channels": tuple(values["channels"])})

    def short_of(self, missing: float) -> Examination:
        """The same, of a clip that lacks so many seconds."""
        return replace(self, missing=missing)

    @property
    def findings(self) -> tuple[SoundFinding, ...]:
        """What is odd, the worst first; nothing for a clip as it should be."""
        found = [self._level(), self._short(), self._dead_channels()]
        return tuple(f for f in found if f is not None)

    def _level(self) -> SoundFinding | None:
        """Destroyed, silent, or beside zero: one finding, since each hides the next."""
        if self.peak == 0.0:
            return SoundFinding("silent", "every sample is zero")
        if self.full >= CLIPPED:
            return SoundFinding(
                "clipped", f"clipped at full scale on {self.full:.1%} of its samples{self._scale()}"
            )
        if self.cancelled:
            left = self.level / self.apart
            return SoundFinding(
                "channels cancel",
                f"its {self.channels[0]} channels cancel: averaged they keep {left:.0%} of what unrelated channels would (one is "
                "turned round); mix them to one channel before, or take one",
            )
        if self.frames == 1:
            return None
        if self.level < FAINT / 10 and abs(self.offset) >= FAINT:
            said = f"holds a constant ({self.offset:.2f} of full scale, DC) and no sound"
            return SoundFinding("offset", said)
        if self.peak < FAINT:
            return SoundFinding(
                "silent",
                f"as good as silent: its largest sample lies {-20 * math.log10(self.peak):.0f} dB below full scale",
            )
        if self.zeros >= MOSTLY:
            return SoundFinding("silent", f"silent but for moments: {self.zeros:.1%} of its samples are zero")
        if abs(self.offset) >= OFFSET:
            return SoundFinding(
                "offset",
                f"its samples do not swing about zero, but about {self.offset:.2f} of full scale (DC)",
            )
        return None

    def _scale(self) -> str:
        if self.peak < BEYOND:
            return f" (largest {self.peak:.2f})" if self.peak > 1.001 else ""
        scale = (
            "the int16 scale: divide by 32768" if self.peak <= 2 * SIXTEEN_BIT_SCALE else "an integer's scale"
        )
        return f": float samples up to {self.peak:,.0f} where −1 to 1 is meant, as if on {scale}"

    def _short(self) -> SoundFinding | None:
        if self.seconds >= SHORTEST:
            return None
        samples = "1 sample" if self.frames == 1 else f"{self.frames} samples"
        return SoundFinding(
            "short", f"lasts {1000 * self.seconds:.3g} ms ({samples}), too short to hold speech"
        )

    def _dead_channels(self) -> SoundFinding | None:
        if not self.dead:
            return None
        n = self.channels[0]
        verb = "is" if self.dead == 1 else "are"
        lost = 20 * math.log10(n / (n - self.dead))
        return SoundFinding(
            "dead channel",
            f"{self.dead} of its {n} channels {verb} silent, which makes the average {lost:.0f} dB quieter",
        )

    @property
    def cancelled(self) -> bool:
        """Whether averaging its channels destroyed what they hold."""
        return max(self.channels) > 1 and self.apart > DEAD and self.level < CANCELLED * self.apart


class Examiner:
    """Adds up what an :class:`Examination` says, block by block."""

    def __init__(self) -> None:
        self._rates: dict[int, int] = {}
        self._channels: dict[int, None] = {}
        self._values = self._frames = self._full = self._zeros = 0
        self._peak = self._sum = self._squares = 0.0
        self._of_channels: Samples | None = None
        self._whole: Examination | None = None

    def add(self, block: Samples, mono: Samples, rate: int) -> None:
        """Add a block.

        Args:
            block: samples as recorded, (frames, channels).
            mono: their average, (frames,).
            rate: hertz.
        """
        frames, channels = block.shape
        if not frames:
            return
        size = np.abs(block)
        self._rates[rate] = self._rates.get(rate, 0) + frames
        self._channels[channels] = None
        self._values += size.size
        self._frames += frames
        peak = float(size.max())
        self._peak = max(self._peak, peak)
        if peak >= FULL_SCALE:
            self._full += int(np.count_nonzero(size >= FULL_SCALE))
        self._zeros += frames - int(np.count_nonzero(mono))
        self._sum += float(mono.sum())
        self._squares += float(np.dot(mono, mono))
        if channels > 1:
            sums = np.stack([block.sum(axis=0), (block * block).sum(axis=0)])
            if self._of_channels is None:
                self._of_channels = np.zeros((2, channels))
            if self._of_channels.shape == sums.shape:
                self._of_channels += sums

    def add_cut(self, mono: Samples, whole: Examination) -> None:
        """Add a stretch of a recording whose channels are averaged already.

        Args:
            mono: the stretch, (frames,).
            whole: what was found in the whole recording, whose channels cancel or are silent together.
        """
        self.add(mono[:, None], mono, whole.rates[0])
        self._channels.pop(1, None)
        self._channels |= dict.fromkeys(whole.channels)
        if whole.cancelled or whole.dead:
            self._whole = whole

    @property
    def result(self) -> Examination:
        """What was found in everything that was added."""
        n = max(self._frames, 1)
        mean = self._sum / n
        variance = self._squares / n - mean * mean
        level = math.sqrt(max(variance, 0.0)) if math.isfinite(variance) else self._peak
        apart, dead = level, 0
        if self._of_channels is not None and len(self._channels) == 1:
            sums, squares = self._of_channels / n
            powers = np.maximum(squares - sums * sums, 0.0)
            apart = math.sqrt(float(powers.sum())) / len(powers)
            rms = np.sqrt(powers)
            dead = int((rms < DEAD).sum()) if rms.max() > FAINT / 10 else 0
        elif self._whole is not None and len(self._channels) == 1:
            apart, dead = max(self._whole.apart, level), self._whole.dead
        return Examination(
            rates=tuple(self._rates),
            channels=tuple(self._channels) or (1,),
            seconds=sum(frames / rate for rate, frames in self._rates.items()),
            frames=self._frames,
            peak=self._peak,
            full=self._full / max(self._values, 1),
            zeros=self._zeros / n,
            offset=mean,
            level=level,
            apart=apart,
            dead=dead,
        )


FAR = 5.0
"""A clip is out of the common when it is so many times longer or shorter than the median …"""
SPREADS = 6.0
"""… and lies so many robust standard deviations of log length from it."""


def odd_lengths(seconds: Sequence[float]) -> tuple[float, list[int]]:
    """Find clips far longer or shorter than their corpus's median.

    Args:
        seconds: length per clip, (clips,), 0 for no audio.

    Returns:
        The median length, and the rows of the clips.

    >>> odd_lengths([1.0, 1.1, 0.9, 1.0, 200.0])
    (1.0, [4])
    """
    length = np.asarray(seconds, dtype=np.float64)
    heard = length > 0
    if heard.sum() < FAR:
        return 0.0, []
    median = float(np.median(length[heard]))
    distance = np.abs(np.log(np.where(heard, length, median) / median))
    spread = 1.4826 * float(np.median(distance[heard]))
    return median, np.flatnonzero(distance > max(math.log(FAR), SPREADS * spread)).tolist()


PROMISE_RATIO = 2.0
PROMISE_SLACK = 0.5


def unlike_promise(seconds: float, promised: float | None) -> bool:
    """Whether a clip lasts clearly longer or shorter than a table says: twice as long or half, and by half a second or more.

    >>> unlike_promise(200.0, 1.0), unlike_promise(1.3, 1.0), unlike_promise(1.0, None)
    (True, False, False)
    """
    if promised is None or promised <= 0 or abs(seconds - promised) < PROMISE_SLACK:
        return False
    return max(seconds / promised, promised / max(seconds, 1e-9)) >= PROMISE_RATIO
