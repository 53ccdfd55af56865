"""The proposed model: a Whisper encoder (or log-mel frames), an ECAPA head, categories and dimensions together.

Names are loaded when first used, so that listing systems does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adapters.meralion_ser.configuration import MeralionSerConfig
    from adapters.meralion_ser.kept import MatchedSer, TrainedSer
    from adapters.meralion_ser.losses import hybrid_loss
    from adapters.meralion_ser.network import MeralionSer
    from adapters.meralion_ser.predictor import MeralionSerPredictor

__all__ = [
    "MatchedSer",
    "MeralionSer",
    "MeralionSerConfig",
    "MeralionSerPredictor",
    "TrainedSer",
    "hybrid_loss",
]

_HOMES = {
    "MatchedSer": "adapters.meralion_ser.kept",
    "MeralionSer": "adapters.meralion_ser.network",
    "MeralionSerConfig": "adapters.meralion_ser.configuration",
    "MeralionSerPredictor": "adapters.meralion_ser.predictor",
    "TrainedSer": "adapters.meralion_ser.kept",
    "hybrid_loss": "adapters.meralion_ser.losses",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
