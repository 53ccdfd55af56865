"""What ``serbench doctor`` looks at: Python, packages, devices, disk, corpora; each with the command that mends it.

Whatever imports torch runs in a process of its own, with a time limit: a broken native library kills that process and
nothing else. Systems and weights: :mod:`bench.cli.doctor_systems`.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from packaging.requirements import Requirement

import bench
from bench.cli.findings import Finding, State
from bench.cli.own_packages import DISTRIBUTION, OWN_ENVIRONMENT, TOP_LEVEL, find_clashes, foreign_owners
from bench.corpora.metadata import read_metadata
from bench.corpora.prepared import PreparedCorpus, data_folders, faulty_cards, find_corpora
from bench.errors import BenchError
from bench.execution.devices import cpu_workers, gpu_count
from bench.storage.provenance import code_version
from bench.storage.run_folder import cache_folder

SHOWN_PACKAGES = ("numpy", "torch", "torchaudio", "transformers", "s3prl", "opensmile")
TORCH_PAIR = "pip install --force-reinstall 'torch>=2.11,<2.12' 'torchaudio>=2.11,<2.12'"
LEAST_PYTHON = (3, 11)
LEAST_DISK = 1e9
LEAST_MEMORY = 2e9
PROBE_SECONDS = 180.0


@dataclass(frozen=True)
class ImportProbe:
    """Code to run in a fresh interpreter; what it prints is what was found, a failure is ``wrong``."""

    name: str
    code: str
    mend: str


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
    clashes = {c.name: c for c in reversed(find_clashes())}
    clean = not clashes
    for name in TOP_LEVEL:
        others = foreign_owners(owners.get(name, []))
        if others:
            clean = False
            clashes.pop(name, None)
            said = (
                f"the package {name!r} also belongs to {', '.join(others)}: their files overwrite each other"
            )
            mend = f"pip uninstall -y {' '.join(others)} && pip install --force-reinstall --no-deps {DISTRIBUTION}"
            yield Finding("python", f"name {name!r}", "wrong", said, mend)
    for clash in clashes.values():
        state: State = "wrong" if clash.hides_ours else "missing"
        yield Finding("python", f"name {clash.name!r}", state, clash.sentence, OWN_ENVIRONMENT)
    if clean:
        home = Path(bench.__file__).resolve().parent.parent
        yield Finding("python", "package names", "ok", f"{', '.join(TOP_LEVEL)} are ours, in {home}")


def torch_probe() -> ImportProbe:
    """Torch and torchaudio load together: a CPU-only torch with another torchaudio fails in its native library."""
    code = (
        "import torch, torchaudio; torchaudio.functional.resample(torch.zeros(1, 160), 16000, 8000); "
        "print(f'torch {torch.__version__}, torchaudio {torchaudio.__version__}, CUDA devices: {torch.cuda.device_count()}')"
    )
    return ImportProbe("torch and torchaudio", code, TORCH_PAIR)


def run_probe(probe: ImportProbe, *, limit: float = PROBE_SECONDS, patient: bool = True) -> Finding:
    """Run a probe in a fresh interpreter.

    Args:
        probe: what to import.
        limit: seconds that it may take.
        patient: whether the limit is one that every sound installation keeps; else what takes longer was only not seen.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", probe.code],
            capture_output=True, text=True, timeout=limit, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        if not patient:
            said = f"was not imported within {limit:.1f} s, and no longer was waited"
            return Finding("imports", probe.name, "unseen", said, "serbench doctor --systems")
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
    told = set[str]()
    for folder in folders:
        try:
            faults = [f for f in faulty_cards([folder]) if f not in told]
            found_here, notes = find_corpora([folder])
        except BenchError as error:
            mend = f"serbench corpus describe {folder}, once what is named above is mended"
            yield Finding("data", str(folder), "wrong", str(error), mend)
            continue
        told.update(faults)
        for fault in faults:
            yield Finding("data", "corpus card", "wrong", fault, "mend the card, then: serbench list corpora")
        yield from (_corpus(c) for c in found_here)
        for note in notes:
            place, without_card, rest = note.partition(": has no card; draft one with: ")
            if without_card:
                yield Finding("data", place, "missing", "has no card", rest)


def _corpus(corpus: PreparedCorpus) -> Finding:
    try:
        metadata = read_metadata(corpus)
    except BenchError as error:
        mend = f"mend the card or metadata.csv, then: serbench corpus describe {corpus.folder}"
        return Finding("data", corpus.card.name, "wrong", str(error), mend)
    speakers = len({s for s in metadata.speakers if s})
    gone = [c for c in metadata.clip_ids if _is_gone(corpus.folder / c)]
    if gone:
        found = f"{len(gone)} of {len(metadata)} audio files in {corpus.folder} are missing or empty, first {gone[0]}"
        mend = f"copy or prepare them again, then: serbench corpus verify {corpus.folder}"
        return Finding("data", corpus.card.name, "wrong", found, mend)
    return Finding(
        "data", corpus.card.name, "ok", f"{len(metadata)} clips, {speakers} speakers in {corpus.folder}"
    )


def _is_gone(file: Path) -> bool:
    try:
        return file.stat().st_size == 0
    except OSError:
        return True
