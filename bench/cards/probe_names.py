"""The probes that a system card can name. Of probes, cards know the names alone."""

from __future__ import annotations

PROBES = {
    "attentive": "bench.features.probes.attentive:AttentiveProbe",
    "layerwise": "bench.features.probes.layerwise:LayerwiseProbe",
    "linear": "bench.features.probes.linear:LinearProbe",
    "superb": "bench.features.probes.superb:SuperbProbe",
    "svm": "bench.features.probes.svm:SvmProbe",
}
"""Probe name on a system card → class, built as ``Class(**params)``."""


FRAME_PROBES = ("attentive",)
"""Probes that read frames; the others read means over frames."""
