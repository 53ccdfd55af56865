"""The probes that a system card can name. Of probes, cards know the names alone."""

from __future__ import annotations

PROBES = {
    "attentive": "bench.probes.attentive:AttentiveProbe",
    "layerwise": "bench.probes.layerwise:LayerwiseProbe",
    "linear": "bench.probes.linear:LinearProbe",
    "superb": "bench.probes.superb:SuperbProbe",
    "svm": "bench.probes.svm:SvmProbe",
}
"""Probe name on a system card → class, built as ``Class(**params)``."""


FRAME_PROBES = ("attentive",)
"""Probes that read frames; the others read means over frames."""
