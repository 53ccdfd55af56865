"""Systems resolved: cards with their weights found and what decides their answers hashed."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.cards.probe_names import PROBES
from bench.cards.system import SystemCard
from bench.cards.weights import find_weights, local_weights
from bench.errors import CannotRun, UsageError, nearest
from bench.execution.environments.interpreter import Environment, find_environment
from bench.execution.vllm_server import PYTHON_VARIABLE, vllm_python
from bench.features.store import feature_identity, pooled_identity
from bench.protocols import STORED, Weights
from bench.storage.hashing import hash_json
from bench.storage.source_code import adapter_hash, closure_hash

FEATURE_PACKAGES = ("torch", "transformers", "s3prl", "opensmile", "numpy")
"""Packages whose arithmetic decides features; their versions are part of a feature's key, with those that a card lists."""


@dataclass(frozen=True)
class System:
    """A system card with its weights found, or the reason why it cannot run here."""

    card: SystemCard
    weights: Weights | None
    identity: str
    """Hash of what decides its answers: code, parameters, weights content. Titles and descriptions do not."""
    feature_key: str | None
    feature_identity: Mapping[str, Any] | None
    """What ``feature_key`` is the hash of."""
    blocked: str | None
    parts: Mapping[str, Weights] = field(default_factory=dict)
    """Further weights that it is put together from."""
    environment: Environment | None = None
    """Where its adapter or encoder runs, when its card has requirements and they are there."""

    @property
    def name(self) -> str:
        """The system's name."""
        return self.card.name

    @property
    def feature_params(self) -> Mapping[str, Any] | None:
        """What the card's features section tells its encoder; None without one."""
        return None if self.card.features is None else self.card.features.params

    @property
    def pooled_key(self) -> str | None:
        """Key of the means of the same encoder's frames: ``feature_key`` where means are kept."""
        return hash_json(pooled_identity(self.feature_identity)) if self.feature_identity else None


def resolve_system(
    card: SystemCard, *, fetch: bool = True, starts_servers: bool = False, answers: bool = True
) -> System:
    """Find a system's weights and hash what decides its answers; what is missing becomes ``blocked``.

    Args:
        card: the system.
        fetch: download weights that are not at hand.
        starts_servers: the caller starts the server of an Audio-LLM where its card tells how (a run does).
        answers: the caller wants answers, and not a training alone, which needs no server.

    Raises:
        UsageError: a probe that does not exist.
    """
    weights, blocked = None, None
    if card.probe is not None and card.probe not in PROBES:
        raise UsageError(
            f"card {card.name!r}: there is no probe {card.probe!r}; {nearest(card.probe, PROBES)}"
        )
    parts: dict[str, Weights] = {}
    if card.family == "audio-llm" and card.trained_here:
        weights, parts, blocked = _tuned_weights(card, fetch)
        blocked = blocked or (_without_vllm(card) if answers and card.server != STORED else None)
    elif card.family == "audio-llm":
        # Its server holds the weights; a local copy is used and hashed where there is one, and never fetched here.
        weights = local_weights(card.weights) if card.weights else None
        blocked = without_server(card, starts_servers)
    elif card.weights is not None:
        try:
            weights = find_weights(card.weights, fetch=fetch)
        except CannotRun as error:
            blocked = str(error)
    environment = None
    if card.requirements is not None and blocked is None:
        try:
            environment = find_environment(card)
        except CannotRun as error:
            blocked = str(error)
    weights_hash = weights.content_hash if weights else None
    identity = _feature_identity(card, weights_hash, environment)
    key = hash_json(identity) if identity else None
    code = (
        adapter_hash(card.adapter)
        if card.adapter
        else closure_hash("bench.features.probes")
        if card.probe
        else None
    )
    decisive = {
        "adapter": card.adapter,
        "probe": card.probe,
        "params": card.params,
        "revision": card.weights.revision if card.weights else None,
        "code": code,
        "packages": environment.versions(card.packages) if environment else _versions(card.packages),
        "features": key,
        "weights": weights_hash,
        # Absent where a card has none: the keys of all other systems stay what they were.
        **({"parts": {name: part.content_hash for name, part in parts.items()}} if parts else {}),
        **({"requirements": environment.requirements.content_hash} if environment else {}),
    }
    return System(
        card=card,
        weights=weights,
        identity=hash_json(decisive),
        feature_key=key,
        feature_identity=identity,
        blocked=blocked,
        parts=parts,
        environment=environment,
    )


def _tuned_weights(card: SystemCard, fetch: bool) -> tuple[Weights | None, dict[str, Weights], str | None]:
    """Find what an Audio-LLM that is trained here is made of, or say what is missing."""
    try:
        weights = find_weights(card.weights, fetch=fetch) if card.weights else None
        parts = {name: find_weights(spec, fetch=fetch) for name, spec in card.parts.items()}
    except CannotRun as error:
        return None, {}, str(error)
    if missing := [name for name in card.packages if name not in _versions(card.packages)]:
        return weights, parts, f"needs the package {missing[0]}: pip install {missing[0]}"
    return weights, parts, None


def _without_vllm(card: SystemCard) -> str | None:
    """Why a model that is trained here could not be asked, or None."""
    if card.serve is None:
        return "its card does not say how it is served (serve)"
    if vllm_python() is None:
        return f"needs a vLLM server for what it trains: name a Python that has vLLM in {PYTHON_VARIABLE} (make vllm-cpu builds one)"
    return None


def _feature_identity(
    card: SystemCard, weights_hash: str | None, environment: Environment | None
) -> dict[str, Any] | None:
    """What decides a card's features; None without an encoder."""
    spec = card.features
    if spec is None:
        return None
    packages = (*FEATURE_PACKAGES, *card.packages)
    identity = feature_identity(
        spec.encoder,
        adapter_hash(spec.encoder),
        spec.params,
        weights_hash,
        spec.pooled,
        every=spec.every,
        versions=environment.versions(packages) if environment else _versions(packages),
    )
    # Absent where a card has none: the keys of all other encoders stay what they were.
    return identity | ({"requirements": environment.requirements.content_hash} if environment else {})


def without_server(card: SystemCard, starts_servers: bool) -> str | None:
    """Why an Audio-LLM cannot be asked here, or None when its server is known or can be started."""
    if card.server is not None and card.adapter is not None:
        return None
    address = f"give its address with --set {card.name}:server=http://HOST:PORT/v1, or as server: on its card"
    if card.adapter is None:
        return f"needs a server and an adapter, and its card names no adapter yet; then {address}"
    if card.serve is None or card.serve.engine == "closed" or not starts_servers:
        return f"needs a server: {address}"
    if vllm_python() is None:
        return f"needs a server: {address}, or name a Python that has vLLM in {PYTHON_VARIABLE} and it is started here"
    return None


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of the packages that are installed; what is missing stops a system when it is run."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
