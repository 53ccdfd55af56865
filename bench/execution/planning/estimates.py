"""How long work will take, from what the same work took here before; rough family figures until then."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.storage.atomic import write_json
from bench.storage.journal import JobRow

_FIRST_GUESS = {"decode": 0.002, "condition": 0.015, "encode": 0.04, "fit": 0.03}
"""Seconds per clip on one core before anything was measured: a FLAC of 2 s, a codec, a Whisper-tiny pass, a probe."""
_FIT_GUESS = {"reference": 0.0, "acoustic": 0.003, "trained": 0.12, "tuned": 5.0}
POOLED_BYTES_PER_CLIP = 8_000
FRAME_BYTES_PER_SECOND = 80_000
TABLE_BYTES_PER_CLIP = 120
PCM_BYTES_PER_SECOND = 32_000


Basis = Literal["measured", "scaled", "guess"]
"""What an estimate rests on: the same work here before, like work of other systems by their parameters, or nothing."""
SCALED_FAMILIES = ("encode", "trained")
"""Work whose time grows with a system's parameters: encoder passes, and fits of families that train the network itself."""


@dataclass(frozen=True)
class Estimate:
    """Seconds of one worker, and what they rest on."""

    seconds: float
    basis: Basis


@dataclass(frozen=True)
class Rates:
    """Seconds per clip and unit of work, by key (``decode``, ``encode <system>``, ``fit <system>``)."""

    measured: Mapping[str, float]
    per_parameter: Mapping[str, float] = field(default_factory=dict)
    """Seconds per clip and parameter of the system, by a name in :data:`SCALED_FAMILIES`."""

    def estimate(
        self, key: str, clips: int, *, family: str | None = None, parameters: int | None = None
    ) -> Estimate:
        """Estimate a job, and say what the estimate rests on.

        Args:
            key: kind of work, as for :meth:`seconds`.
            clips: how many clips; of whatever length, since rates are per clip.
            family: of the system.
            parameters: of the system, where its card says.

        Returns:
            Seconds, from what was measured where it was, else by parameters, else a first guess.
        """
        scale = self.per_parameter.get("encode" if key.startswith("encode ") else family or "")
        if key in self.measured or not scale or not parameters:
            basis: Basis = "measured" if key in self.measured else "guess"
            return Estimate(self.seconds(key, clips, family=family), basis)
        return Estimate(clips * scale * parameters, "scaled")

    def seconds(self, key: str, clips: int, *, family: str | None = None) -> float:
        """Estimate the seconds one core needs for a job over ``clips`` clips, by a system of a ``family``.

        Args:
            key: kind of work: ``decode``, ``condition <name>``, ``encode <system>``, ``fit <system>``.
            clips: how many clips.
            family: of the system (``tuned``: an Audio-LLM that is trained here), for a first guess before anything was measured.

        Returns:
            Seconds.
        """
        kind = key.split(" ")[0]
        guess = _FIT_GUESS.get(family or "", _FIRST_GUESS[kind])
        return clips * self.measured.get(key, guess)


def load_rates(cache: Path) -> Rates:
    """Read what was measured on this machine (nothing, at first)."""
    try:
        stored = json.loads((cache / "rates.json").read_text(encoding="utf-8"))
        return Rates({str(k): float(v) for k, v in stored.items()})
    except (OSError, ValueError, TypeError, AttributeError):
        return Rates({})


def save_rates(cache: Path, jobs: Iterable[JobRow]) -> None:
    """Keep the newest mean rate of each kind of work."""
    seconds: dict[str, float] = defaultdict(float)
    clips: dict[str, int] = defaultdict(int)
    for job in jobs:
        if job.error is None and job.clips:
            seconds[job.key] += job.seconds
            clips[job.key] += job.clips
    if clips:
        write_json(
            cache / "rates.json", dict(load_rates(cache).measured) | {k: seconds[k] / clips[k] for k in clips}
        )


def human_time(seconds: float) -> str:
    """Say a duration the way people do.

    >>> human_time(45), human_time(200), human_time(8000)
    ('45 s', '3 min', '2 h 13 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def human_bytes(size: float) -> str:
    """Say a size in binary units.

    >>> human_bytes(3_500_000)
    '3.3 MiB'
    """
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
