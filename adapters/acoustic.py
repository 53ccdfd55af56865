"""openSMILE functionals as a frozen encoder: one layer, one frame, one vector per clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError, UsageError, nearest
from bench.protocols import SAMPLE_RATE, Waveform

MIN_SAMPLES = 1_600
"""0.1 s: below openSMILE's longest window (60 ms) with its neighbours, functionals are undefined."""


class OpenSmile:
    """Acoustic functionals of a clip (Eyben et al., 2016, for eGeMAPS): ``encode`` gives (1, 1, dims).

    Clips shorter than 0.1 s are padded with silence to 0.1 s.

    Args:
        feature_set: one of openSMILE's names (``eGeMAPSv02``: 88 values, ``ComParE_2016``: 6,373).
        level: ``functionals``, or ``lld`` for the low-level descriptors at 100 frames per second: (1, frames, dims).
        device: not used: openSMILE runs on the CPU.

    Raises:
        UsageError: a name that openSMILE does not have.
    """

    def __init__(
        self,
        feature_set: str = "eGeMAPSv02",
        level: Literal["functionals", "lld"] = "functionals",
        device: str = "cpu",
    ) -> None:
        import opensmile

        known = {entry.name for entry in opensmile.FeatureSet}
        if feature_set not in known:
            raise UsageError(f"openSMILE has no feature set {feature_set!r}: {nearest(feature_set, known)}")
        levels = {
            "functionals": opensmile.FeatureLevel.Functionals,
            "lld": opensmile.FeatureLevel.LowLevelDescriptors,
        }
        if level not in levels:
            raise UsageError(f"openSMILE has no level {level!r}: {nearest(level, levels)}")
        self.device = device
        self._smile: Any = opensmile.Smile(
            feature_set=opensmile.FeatureSet[feature_set],
            feature_level=levels[level],
            num_workers=1,
        )

    def encode(self, waveforms: Sequence[Waveform]) -> list[NDArray[np.float32]]:
        """One (1, 1, dims) array per waveform (``lld``: (1, frames, dims)), each clip on its own.

        Raises:
            DataError: a clip without samples, or values that openSMILE could not compute.
        """
        return [self._encode_one(waveform) for waveform in waveforms]

    def _encode_one(self, waveform: Waveform) -> NDArray[np.float32]:
        if not len(waveform):
            raise DataError(
                "A clip has no samples: openSMILE needs audio. Remove the clip or repair its file."
            )
        padded = np.pad(waveform, (0, max(0, MIN_SAMPLES - len(waveform))))
        table = self._smile.process_signal(padded, SAMPLE_RATE)
        values: NDArray[np.float32] = table.to_numpy(dtype=np.float32)[None]
        if not np.isfinite(values).all():
            names = [
                name
                for name, bad in zip(table.columns, ~np.isfinite(values[0]).all(axis=0), strict=True)
                if bad
            ]
            raise DataError(
                f"openSMILE gave no finite value for {', '.join(names[:3])} ({len(names)} features) on a clip of "
                f"{len(waveform) / SAMPLE_RATE:.3f} s."
            )
        return values
