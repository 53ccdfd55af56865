"""What ``serbench doctor`` looks at: Python, packages, devices, disk, corpora, systems; each with the command that mends it.

Whatever imports torch runs in a process of its own, with a time limit: a broken native library kills that process and
nothing else.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
from packaging.requirements import Requirement

import bench
from bench.cards.registry import load_system, system_names
from bench.cards.system import SystemCard
from bench.corpora.metadata import read_metadata
from bench.corpora.prepared import PreparedCorpus, data_folders, find_corpora
from bench.errors import BenchError
from bench.execution.devices import cpu_workers, gpu_count
from bench.execution.planning.systems import resolve_system
from bench.storage.provenance import code_version
from bench.storage.run_folder import cache_folder
from bench.storage.source_code import split_dotted

DISTRIBUTION = "ser-bench"
TOP_LEVEL = ("adapters", "bench", "reports", "tasks")
"""Import packages of the distribution. Other projects use such names too: PyPI has an unrelated ``adapters``."""
SHOWN_PACKAGES = ("numpy", "torch", "torchaudio", "transformers", "s3prl", "opensmile")
TORCH_PAIR = "pip install --force-reinstall 'torch>=2.11,<2.12' 'torchaudio>=2.11,<2.12'"
LEAST_PYTHON = (3, 11)
LEAST_DISK = 1e9
LEAST_MEMORY = 2e9
PROBE_SECONDS = 180.0

State = Literal["ok", "missing", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``missing`` is optional and can be had with ``mend``; ``wrong`` is broken until mended."""

    area: str
    name: str
    state: State
    found: str
    mend: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ImportProbe:
    """Code to run in a fresh interpreter; what it prints is what was found, a failure is ``wrong``."""

    name: str
    code: str
    mend: str


def diagnose_all(data: Sequence[Path], probes: Sequence[ImportProbe]) -> list[Finding]:
    """Look at everything. ``probes`` are imports worth trying that the engine itself knows nothing of."""
    own = [torch_probe(), *adapter_probes()]
    with ThreadPoolExecutor(max_workers=2) as pool:
        running = [pool.submit(run_probe, p) for p in (*own, *probes)]
        quick = [
            *python_and_packages(),
            *name_clashes(),
            *machine(),
            *cache(),
            *corpora(data),
            *systems(),
        ]
        imports = [f.result() for f in running]
    order = ("python", "imports", "machine", "data", "systems")
    return sorted([*quick, *imports, *gpus(imports)], key=lambda f: order.index(f.area))


def python_and_packages() -> Iterator[Finding]:
    """Python's version, and every required package at a version that the suite accepts."""
    version = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, LEAST_PYTHON))
    if sys.version_info >= LEAST_PYTHON:
        yield Finding("python", "python", "ok", f"{version} ({sys.executable})")
    else:
        mend = f"python{wanted} -m venv .venv && .venv/bin/pip install {DISTRIBUTION}"
        yield Finding("python", "python", "wrong", f"{version}; {wanted} or newer is needed", mend)
    try:
        requirements = [Requirement(r) for r in importlib.metadata.requires(DISTRIBUTION) or []]
    except importlib.metadata.PackageNotFoundError:
        yield Finding("python", DISTRIBUTION, "wrong", "not installed as a package", "pip install -e .")
        return
    yield Finding("python", DISTRIBUTION, "ok", code_version())
    needed = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    bad = list(_bad_packages(needed))
    yield from bad
    if not bad:
        shown = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in SHOWN_PACKAGES)
        yield Finding("python", "packages", "ok", f"{len(needed)} as required: {shown}, …")


def _bad_packages(needed: Iterable[Requirement]) -> Iterator[Finding]:
    for requirement in needed:
        wanted = f"{requirement.name}{requirement.specifier}"
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            found = f"not installed; needed: {wanted}"
        else:
            if requirement.specifier.contains(version, prereleases=True):
                continue
            found = f"{version}; needed: {wanted}"
        yield Finding("python", requirement.name, "wrong", found, f"pip install '{wanted}'")


def name_clashes() -> Iterator[Finding]:
    """Whether our import packages are ours: no other distribution owns them, and Python finds them where we are."""
    owners = importlib.metadata.packages_distributions()
    home = Path(bench.__file__).resolve().parent.parent
    clean = True
    for name in TOP_LEVEL:
        others = sorted({o for o in owners.get(name, []) if o.lower().replace("_", "-") != DISTRIBUTION})
        if others:
            clean = False
            found = (
                f"the package {name!r} also belongs to {', '.join(others)}: their files overwrite each other"
            )
            mend = f"pip uninstall -y {' '.join(others)} && pip install --force-reinstall --no-deps {DISTRIBUTION}"
            yield Finding("python", f"name {name!r}", "wrong", found, mend)
        elif (place := _found_at(name)) != home / name:
            clean = False
            found = f"Python finds {name!r} in {place or 'no place'}, not beside {home / 'bench'}"
            mend = f"cd elsewhere, or rename what stands in {place}" if place else "pip install -e ."
            yield Finding("python", f"name {name!r}", "wrong", found, mend)
    if clean:
        yield Finding("python", "package names", "ok", f"{', '.join(TOP_LEVEL)} are ours, in {home}")


def _found_at(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).resolve().parent if spec is not None and spec.origin else None


def torch_probe() -> ImportProbe:
    """Torch and torchaudio load together: a CPU-only torch with another torchaudio fails in its native library."""
    code = (
        "import torch, torchaudio; torchaudio.functional.resample(torch.zeros(1, 160), 16000, 8000); "
        "print(f'torch {torch.__version__}, torchaudio {torchaudio.__version__}, CUDA devices: {torch.cuda.device_count()}')"
    )
    return ImportProbe("torch and torchaudio", code, TORCH_PAIR)


def adapter_probes() -> Iterator[ImportProbe]:
    """One probe for the modules behind all system cards; it names each that does not import."""
    try:
        cards = [load_system(name) for name in system_names()]
    except BenchError:
        return  # systems() reports it
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


def run_probe(probe: ImportProbe, *, limit: float = PROBE_SECONDS) -> Finding:
    """Run a probe in a fresh interpreter."""
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", probe.code],
            capture_output=True, text=True, timeout=limit, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Finding("imports", probe.name, "wrong", f"does not import within {limit:.0f} s", probe.mend)
    if done.returncode == 0:
        return Finding("imports", probe.name, "ok", _last_line(done.stdout) or "imports")
    died = f"killed by signal {-done.returncode}" if done.returncode < 0 else "does not import"
    return Finding(
        "imports", probe.name, "wrong", _last_line(done.stdout) or _last_line(done.stderr) or died, probe.mend
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def machine() -> Iterator[Finding]:
    """Cores, memory, disk."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("machine", "cores", "ok", f"{cores}; {cpu_workers()} worker(s) on the CPU")
    free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    yield _enough(
        "memory",
        free,
        f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free",
        LEAST_MEMORY,
        "end other programs, then run with --workers 1",
    )
    folder = next(p for p in (cache_folder(), *cache_folder().absolute().parents) if p.is_dir())
    room = psutil.disk_usage(str(folder)).free
    yield _enough(
        "disk",
        room,
        f"{room / 1e9:.1f} GB free for {cache_folder()}",
        LEAST_DISK,
        "free some space, or: export SERBENCH_CACHE=FOLDER",
    )


def _enough(name: str, value: float, found: str, least: float, mend: str) -> Finding:
    if value >= least:
        return Finding("machine", name, "ok", found)
    return Finding("machine", name, "wrong", f"{found}; at least {least / 1e9:g} GB are needed", mend)


def gpus(imports: Sequence[Finding]) -> Iterator[Finding]:
    """GPUs, as the driver lists them and as torch sees them."""
    count = gpu_count()
    torch_found = next((f.found for f in imports if f.name == "torch and torchaudio" and f.state == "ok"), "")
    seen = re.search(r"CUDA devices: (\d+)", torch_found)
    if count == 0:
        yield Finding("machine", "GPUs", "ok", "none; everything runs on the CPU")
    elif seen is not None and int(seen[1]) == 0:
        yield Finding("machine", "GPUs", "wrong", f"the driver lists {count}, torch sees none", TORCH_PAIR)
    else:
        yield Finding("machine", "GPUs", "ok", f"{count}" + (f", torch sees {seen[1]}" if seen else ""))


def cache() -> Iterator[Finding]:
    """Whether the cache folder can be written."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"serbench")
            stream.flush()
    except OSError as error:
        found = f"{folder} cannot be written ({error.strerror or error})"
        yield Finding("machine", "cache", "wrong", found, "export SERBENCH_CACHE=FOLDER")
    else:
        yield Finding("machine", "cache", "ok", str(folder))


def corpora(data: Sequence[Path]) -> Iterator[Finding]:
    """Data folders, the corpora in them, and folders that lack a card."""
    try:
        folders = data_folders(data)
    except BenchError as error:
        yield Finding("data", "data folders", "wrong", str(error), "export SERBENCH_DATA=FOLDER")
        return
    if not folders:
        found = "none named: runs use the built-in synthetic corpus"
        yield Finding("data", "data folders", "missing", found, "export SERBENCH_DATA=FOLDER")
    for folder in folders:
        try:
            found_here, notes = find_corpora([folder])
        except BenchError as error:
            mend = f"serbench corpus describe {folder}, once what is named above is mended"
            yield Finding("data", str(folder), "wrong", str(error), mend)
            continue
        yield from (_corpus(c) for c in found_here)
        for note in notes:
            place, _, rest = note.partition(": has no card; draft one with: ")
            yield Finding("data", place, "missing", "has no card", rest)


def _corpus(corpus: PreparedCorpus) -> Finding:
    try:
        metadata = read_metadata(corpus)
    except BenchError as error:
        mend = f"mend the card or metadata.csv, then: serbench corpus describe {corpus.folder}"
        return Finding("data", corpus.card.name, "wrong", str(error), mend)
    speakers = len({s for s in metadata.speakers if s})
    return Finding(
        "data", corpus.card.name, "ok", f"{len(metadata)} clips, {speakers} speakers in {corpus.folder}"
    )


def systems() -> Iterator[Finding]:
    """Whether each system can run here: its card, its code, its weights, its server."""
    try:
        names = system_names()
    except BenchError as error:
        yield Finding("systems", "system cards", "wrong", str(error), "pip install -e .")
        return
    for name in names:
        yield _system(name)


def _system(name: str) -> Finding:
    try:
        card = load_system(name)
        system = resolve_system(card, fetch=False, starts_servers=True)
    except BenchError as error:
        return Finding(
            "systems", name, "wrong", str(error), f"mend the card or its package, then: serbench check {name}"
        )
    if system.blocked is None:
        place = f"weights in {system.weights.folder}" if system.weights else "needs no weights"
        return Finding("systems", name, "ok", place)
    return Finding("systems", name, "missing", system.blocked, _weights_command(card))


def _weights_command(card: SystemCard) -> str:
    if card.family == "audio-llm" and card.server is None and not card.trained_here:
        return f"serbench run MATRIX --set {card.name}:server=http://HOST:PORT/v1"
    spec = card.weights
    if spec is None:
        return f"serbench check {card.name}"
    root = os.environ.get("SERBENCH_WEIGHTS", "").split(os.pathsep)[0] or "weights"
    if spec.hub is None:
        return f"mkdir -p {root}/{spec.local}, put the weights there, export SERBENCH_WEIGHTS={root}"
    revision = f" --revision {spec.revision}" if spec.revision else ""
    fetch = f"hf download {spec.hub}{revision} --local-dir {root}/{spec.local}"
    return fetch if os.environ.get("SERBENCH_WEIGHTS") else f"{fetch} && export SERBENCH_WEIGHTS={root}"
