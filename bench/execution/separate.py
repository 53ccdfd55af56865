"""Systems whose card has requirements: their encoder or predictor, built in the environment found for them."""

from __future__ import annotations

from typing import Any

from bench.execution.environments.near_side import FarProcess, SeparateEncoder, SeparatePredictor
from bench.execution.planning.systems import System


def separate_encoder(system: System, device: str) -> SeparateEncoder:
    """Build a system's frozen encoder in its own environment."""
    features = system.card.features
    assert features is not None
    params = features.params | {"device": device}
    return SeparateEncoder(lambda: _process(system, features.encoder, params))


def separate_predictor(system: System) -> SeparatePredictor:
    """Build a system's predictor in its own environment; one for every fit."""
    assert system.card.adapter is not None
    return SeparatePredictor(_process(system, system.card.adapter, system.card.params))


def _process(system: System, dotted: str, params: dict[str, Any]) -> FarProcess:
    assert system.environment is not None
    spec = system.card.weights
    always = spec is None or spec.package is None
    return FarProcess(system.environment, dotted, params, system.weights, weights_always=always)
