"""Any file to 16 kHz samples and their hash, and what conditions do to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bench.audio.conditions import CLEAN as CLEAN
    from bench.audio.conditions import Condition as Condition
    from bench.audio.conditions import parse_condition as parse_condition
    from bench.audio.decoding import decode as decode
    from bench.audio.decoding import pcm_hash as pcm_hash
    from bench.audio.degradation import degrade as degrade
    from bench.audio.store import DecodedClip as DecodedClip

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "conditions": ["CLEAN", "Condition", "parse_condition"],
        "decoding": ["decode", "pcm_hash"],
        "degradation": ["degrade"],
        "store": ["DecodedClip"],
    },
)
