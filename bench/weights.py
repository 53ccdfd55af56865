"""Finding pretrained weights: beside a card of one's own, then folders of SERBENCH_WEIGHTS, then the hub's cache and the hub."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from bench.cards import WeightsSpec
from bench.errors import CannotRun, UsageError
from bench.identity import digest, hash_file
from bench.protocols import Weights

WEIGHT_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
"""What is hashed, and fetched: weights as safetensors; pickles only where the card says ``pickled``."""
PICKLES = ("*.pt", "*.pth", "*.bin", "*.yaml")


def find_weights(spec: WeightsSpec, *, fetch: bool = True) -> Weights:
    """Find weights and hash their content.

    Raises:
        CannotRun: they are neither in a SERBENCH_WEIGHTS folder nor to be had from the hub; says where it looked.
    """
    if (found := local_weights(spec)) is not None:
        return found
    roots = [*spec.beside, *weight_roots()]
    looked = ", ".join(map(str, roots)) if roots else "nowhere: SERBENCH_WEIGHTS is not set"
    missing = f"weights {spec.local!r} not found (looked in {looked})"
    if spec.hub is None:
        raise CannotRun(f"{missing}; put a folder of that name into one named by SERBENCH_WEIGHTS")
    folder_or_none = _from_hub(spec.hub, spec.revision, fetch=fetch, pickled=spec.pickled)
    if folder_or_none is None:
        raise CannotRun(
            f"{missing}, and the hub cannot be reached for {spec.hub}; set SERBENCH_WEIGHTS, or fetch with: hf download {spec.hub}"
        )
    return _found(folder_or_none, spec)


def local_weights(spec: WeightsSpec) -> Weights | None:
    """Find a local copy: beside the card's own file, else among the SERBENCH_WEIGHTS folders; None when there is none."""
    for root in (*spec.beside, *weight_roots()):
        folder = root / spec.local
        if folder.is_dir():
            return _found(folder, spec)
    return None


def _found(folder: Path, spec: WeightsSpec) -> Weights:
    return Weights(folder, folder_hash(folder, pickled=spec.pickled), spec.revision, spec.pickled)


def weight_roots() -> list[Path]:
    """Return the folders of SERBENCH_WEIGHTS, each of which must exist."""
    roots = [Path(p) for p in os.environ.get("SERBENCH_WEIGHTS", "").split(os.pathsep) if p]
    for root in roots:
        if not root.is_dir():
            raise UsageError(f"{root}: no such folder (SERBENCH_WEIGHTS must name folders that hold weights)")
    return roots


def folder_hash(folder: Path, *, pickled: bool = False) -> str:
    """Hash the weight and configuration files of a folder: names and bytes."""
    files = sorted(p for pattern in _patterns(pickled) for p in folder.glob(pattern))
    if not any(
        p.suffix == ".safetensors" or (pickled and p.suffix in (".pt", ".pth", ".bin")) for p in files
    ):
        raise CannotRun(
            f"{folder}: holds no .safetensors file (pickled checkpoints can run code, and are read only where the card says "
            "pickled: true under weights)"
        )
    return _hash_files(tuple((p, p.stat().st_mtime_ns) for p in files))


def _patterns(pickled: bool) -> tuple[str, ...]:
    return (*WEIGHT_FILES, *PICKLES) if pickled else WEIGHT_FILES


@functools.cache
def _hash_files(files: tuple[tuple[Path, int], ...]) -> str:
    return digest(*(part for path, _ in files for part in (path.name, hash_file(path))))


@functools.cache
def _from_hub(repository: str, revision: str | None, *, fetch: bool, pickled: bool) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    for offline in (True, False) if fetch else (True,):
        if not offline and not _answers(repository, revision):
            break
        try:
            return Path(
                snapshot_download(
                    repository,
                    revision=revision,
                    allow_patterns=list(_patterns(pickled)),
                    local_files_only=offline,
                    etag_timeout=5,
                )
            )
        except (OSError, ValueError, HfHubHTTPError):  # not cached, no network, gated, unknown: not to be had
            continue
    return None


def _answers(repository: str, revision: str | None) -> bool:
    """Whether the hub answers for a repository: one question, where fetching a pinned revision would ask for half a minute."""
    from huggingface_hub import HfApi

    try:
        HfApi().repo_info(repository, revision=revision, timeout=5)
    except Exception:  # noqa: BLE001 - not there, gated, no network: its client says so in errors of several libraries
        return False
    return True
