"""The proposed model: a Whisper encoder (or log-mel frames), an ECAPA head, categories and dimensions together.

Names are loaded when first used, so that listing systems does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adapters.meralion_ser.encoder import MeralionEncoder
    from adapters.meralion_ser.network.configuration import MeralionSerConfig
    from adapters.meralion_ser.network.model import MeralionSer
    from adapters.meralion_ser.predictor import MeralionSerPredictor
    from adapters.meralion_ser.trained import MatchedSer, TrainedSer
    from adapters.meralion_ser.training.losses import hybrid_loss

__all__ = [
    "MatchedSer",
    "MeralionEncoder",
    "MeralionSer",
    "MeralionSerConfig",
    "MeralionSerPredictor",
    "TrainedSer",
    "hybrid_loss",
]

_HOMES = {
    "MatchedSer": "adapters.meralion_ser.trained",
    "MeralionEncoder": "adapters.meralion_ser.encoder",
    "MeralionSer": "adapters.meralion_ser.network.model",
    "MeralionSerConfig": "adapters.meralion_ser.network.configuration",
    "MeralionSerPredictor": "adapters.meralion_ser.predictor",
    "TrainedSer": "adapters.meralion_ser.trained",
    "hybrid_loss": "adapters.meralion_ser.training.losses",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
