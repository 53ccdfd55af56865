"""What ``serbench doctor`` looks at of systems: their cards, their code, their weights, their servers."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from bench.cards.probe_names import PROBES
from bench.cards.registry import load_system, system_faults, system_names
from bench.cards.system import SystemCard, WeightsSpec
from bench.cards.weight_files import weight_file_faults
from bench.cards.weights import local_folder, weight_roots
from bench.cli.doctor_checks import ImportProbe
from bench.cli.findings import Finding
from bench.cli.own_packages import DISTRIBUTION
from bench.errors import BenchError, CannotRun, UsageError, nearest
from bench.execution.environments.interpreter import find_environment
from bench.execution.planning.systems import resolve_system, without_server
from bench.storage.source_code import split_dotted


def adapter_probes() -> Iterator[ImportProbe]:
    """One probe for the modules behind all system cards; it names each that does not import."""
    try:
        cards = [load_system(name) for name in system_names()]
    except BenchError:
        return  # find_systems() reports it
    cards = [c for c in cards if c.requirements is None]  # the code of others is imported elsewhere
    dotted = [d for c in cards for d in (c.adapter, c.features.encoder if c.features else None) if d]
    modules = sorted({split_dotted(d)[0] for d in dotted})
    code = (
        "import importlib, sys\nfailed = []\n"
        f"for name in {modules!r}:\n"
        "    try:\n        importlib.import_module(name)\n"
        "    except Exception as error:\n        failed.append(f'{name}: {type(error).__name__}: {error}')\n"
        f"print('; '.join(failed) or '{len(modules)} modules of {len(cards)} systems')\nsys.exit(bool(failed))"
    )
    yield ImportProbe(
        "adapters", code, f"pip install --force-reinstall --no-deps {DISTRIBUTION}, and what is named"
    )


def weights() -> Iterator[Finding]:
    """Whether the files in the folders of SERBENCH_WEIGHTS are whole, by their beginnings and lengths."""
    try:
        roots = weight_roots()
    except BenchError as error:
        yield Finding("weights", "SERBENCH_WEIGHTS", "wrong", str(error), "export SERBENCH_WEIGHTS=FOLDER")
        return
    whole = []
    for folder in (p for root in roots for p in sorted(root.iterdir()) if p.is_dir()):
        faults = weight_file_faults(folder)
        if not faults:
            whole.append(folder.name)
        for fault in faults:
            sentence, _, mend = fault.rpartition("; ")
            yield Finding("weights", folder.name, "wrong", sentence, mend)
    if whole:
        yield Finding("weights", "folders", "ok", f"{len(whole)} whole: {', '.join(whole)}")


def find_systems(*, thorough: bool) -> Iterator[Finding]:
    """Whether each system can run here: its card, its code, its weights, its server.

    Args:
        thorough: resolve each as a run does, which reads all code and all weights; else only look whether they are there.
    """
    try:
        faults, names = system_faults(), system_names()
    except BenchError as error:
        yield Finding("systems", "system cards", "wrong", str(error), "pip install -e .")
        return
    for fault in faults:
        mend = "mend the card, or reinstall the package that ships it; then: serbench list systems"
        yield Finding("systems", "system cards", "wrong", fault, mend)
    for name in names:
        yield _system(name, thorough=thorough)


def _system(name: str, *, thorough: bool) -> Finding:
    try:
        card = load_system(name)
        place, blocked = _resolved(card) if thorough else _looked_for(card)
    except BenchError as error:
        return Finding(
            "systems", name, "wrong", str(error), f"mend the card or its package, then: serbench check {name}"
        )
    if blocked is None:
        return Finding("systems", name, "ok", place)
    return Finding("systems", name, "missing", blocked, _weights_command(card))


def _resolved(card: SystemCard) -> tuple[str, str | None]:
    """Where a system's weights are, and why it cannot run, None when it can."""
    system = resolve_system(card, fetch=False, starts_servers=True)
    return f"weights in {system.weights.folder}" if system.weights else "needs no weights", system.blocked


def _looked_for(card: SystemCard) -> tuple[str, str | None]:
    """The same without reading code or weights."""
    if card.probe is not None and card.probe not in PROBES:
        raise UsageError(f"there is no probe {card.probe!r}; {nearest(card.probe, PROBES)}")
    for dotted in (card.adapter, card.features.encoder if card.features else None):
        package = split_dotted(dotted)[0].partition(".")[0] if dotted else "bench"
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"no module named {package!r} (from {dotted!r}): is its package installed?")
    if card.family == "audio-llm":
        return "its server can be asked or started", without_server(card, True)
    if card.requirements is not None:
        try:
            find_environment(card)
        except CannotRun as error:
            return "", str(error)
    if card.weights is None:
        return "needs no weights", None
    folder = local_folder(card.weights) or _hub_folder(card.weights)
    if folder is not None:
        return f"weights in {folder}", None
    return "", _without_weights(card.weights)


def _without_weights(spec: WeightsSpec) -> str:
    if spec.package is not None:
        return f"weights {spec.local!r} of the package {spec.package!r} not found; install the package that ships them"
    roots = [*spec.beside, *weight_roots()]
    looked = ", ".join(map(str, roots)) if roots else "nowhere: SERBENCH_WEIGHTS is not set"
    return f"weights {spec.local!r} not found (looked in {looked})"


def _hub_folder(spec: WeightsSpec) -> Path | None:
    """Where the hub's client keeps the weights, if it has fetched them; its own package takes long to import."""
    if spec.hub is None or spec.package is not None:
        return None
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    snapshots = cache / f"models--{spec.hub.replace('/', '--')}" / "snapshots"
    kept = [snapshots / spec.revision] if spec.revision else sorted(snapshots.glob("*"))
    return next((f for f in kept if any(f.glob("*.safetensors")) or any(f.glob("*.bin"))), None)


def _weights_command(card: SystemCard) -> str:
    if card.family == "audio-llm" and card.server is None and not card.trained_here:
        return f"serbench run MATRIX --set {card.name}:server=http://HOST:PORT/v1"
    spec = card.weights
    if card.requirements is not None and (spec is None or local_folder(spec) is not None):
        return f"serbench env build {card.name}"
    if spec is None:
        return f"serbench check {card.name}"
    if spec.package is not None:
        return f"install the package that Python imports as {spec.package}"
    root = os.environ.get("SERBENCH_WEIGHTS", "").split(os.pathsep)[0] or "weights"
    if spec.hub is None:
        return f"mkdir -p {root}/{spec.local}, put the weights there, export SERBENCH_WEIGHTS={root}"
    revision = f" --revision {spec.revision}" if spec.revision else ""
    fetch = f"hf download {spec.hub}{revision} --local-dir {root}/{spec.local}"
    return fetch if os.environ.get("SERBENCH_WEIGHTS") else f"{fetch} && export SERBENCH_WEIGHTS={root}"
