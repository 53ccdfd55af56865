"""What frozen encoders give, kept by content, and the probes trained on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bench.features.extraction import compute_features as compute_features
    from bench.features.extraction import compute_kept as compute_kept
    from bench.features.probes import Probe as Probe
    from bench.features.probes import build_probe as build_probe
    from bench.features.store import FeatureStore as FeatureStore

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "extraction": ["compute_features", "compute_kept"],
        "probes": ["Probe", "build_probe"],
        "store": ["FeatureStore"],
    },
)
