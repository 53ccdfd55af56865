"""Stored features against the audio itself: clips encoded once more and compared with what is stored under their hash.

A checksum tells that a file is as it was written. That it was written from the right samples only the samples tell: older versions
encoded whatever stood in the decoded store, also where the disk had changed it since.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.audio.store import DecodedClip
from bench.execution.planning.systems import System
from bench.execution.worker import build_encoder, clips_to_encode
from bench.features.extraction import compute_kept
from bench.features.store import FeatureStore, FloatArray, Keep

TOLERANCE = 1e-3
"""Largest difference, as a share of a clip's largest value, that other batches or another processor make: ten times what the
adapter contract allows a batch. Damaged samples differ by far more."""


@dataclass(frozen=True)
class DeepVerification:
    """A system's stored features, encoded again from verified samples: how many were compared, and which differ."""

    system: str
    key: str
    compared: int
    differing: Mapping[str, float]
    """PCM hash → largest difference, as a share of the clip's largest value."""
    failed: Mapping[str, str]
    """PCM hash → why the encoder gave nothing this time."""

    @property
    def sound(self) -> bool:
        """Whether everything that was compared is as the audio says."""
        return not self.differing


def verify_deeply(
    system: System,
    clips: Sequence[tuple[DecodedClip, str]],
    store: FeatureStore,
    *,
    device: str,
    progress: Callable[[int], object] = int,
) -> DeepVerification:
    """Encode clips that a system has features of once more, and compare.

    Args:
        system: whose encoder is built; its weights must be at hand.
        clips: decoded clips with their languages; those without stored features are passed over.
        store: where features lie.
        device: that encodes.
        progress: told of every number of clips that is done.

    Raises:
        DamagedStore: decoded samples are not what was stored; the next run decodes them anew.
    """
    spec, key = system.card.features, system.feature_key
    assert spec is not None
    assert key is not None
    reader = store.reader(key)
    wanted = {c.pcm_hash: (c, spoken) for c, spoken in clips if c.message is None and c.pcm_hash in reader}
    differing: dict[str, float] = {}
    failed: dict[str, str] = {}
    if not wanted:
        return DeepVerification(system.name, key, 0, {}, {})
    encoder = build_encoder(system, device)
    for language in dict.fromkeys(spoken for _, spoken in wanted.values()):
        own = [c for c, spoken in wanted.values() if spoken == language]
        for start in range(0, len(own), BLOCK):
            part = own[start : start + BLOCK]
            (arrays,), failures = compute_kept(
                encoder, clips_to_encode(part, language), range(len(part)), [Keep(spec.pooled, spec.every)]
            )
            failed |= failures
            differing |= {
                h: share
                for h, array in arrays.items()
                if (share := _difference(reader[h], array)) > TOLERANCE
            }
            progress(len(part))
    return DeepVerification(system.name, key, len(wanted) - len(failed), differing, failed)


BLOCK = 48


def _difference(stored: FloatArray, now: FloatArray) -> float:
    """Largest difference as a share of the largest value; infinite where shapes differ."""
    if stored.shape != now.shape:
        return float("inf")
    return float(np.abs(stored - now).max() / max(float(np.abs(now).max()), 1e-12))
