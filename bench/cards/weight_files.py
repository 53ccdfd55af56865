"""Whether files of weights are whole, by their beginnings and lengths: nothing is loaded, a folder of many gigabytes takes no time."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.cards.weights import LFS_POINTER, PICKLES

MOST_HEADER = 100 << 20
"""The longest header that the format allows, in bytes."""
MOST_JSON = 64 << 20
ZIP = b"PK\x03\x04"
FETCH_AGAIN = "copy or download it again"


def weight_file_faults(folder: Path) -> list[str]:
    """Say, one sentence each, which files of a folder of weights are cut off, empty, or named and not there.

    A ``*.safetensors`` file says in its header how long it is; a pickle of torch is a zip archive, whose list of contents stands at
    its end; an index names its shards.
    """
    faults: list[str] = []
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        fault = _fault(path)
        if fault:
            faults.append(f"{path}: {fault}")
    for index in sorted(folder.glob("*.index.json")):
        faults += [
            f"{folder / shard}: is named by {index.name} and is not there; {FETCH_AGAIN}"
            for shard in _missing(index)
        ]
    return faults


def _fault(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(len(LFS_POINTER))
    if head == LFS_POINTER:
        return "is Git's placeholder and not the file; run there: git lfs pull"
    if path.suffix == ".safetensors":
        return _safetensors(path, size)
    if any(path.match(p) for p in PICKLES) and (
        size == 0 or (head.startswith(ZIP) and not zipfile.is_zipfile(path))
    ):
        return f"is cut off at {size:,} bytes (its list of contents, which stands at the end, is missing); {FETCH_AGAIN}"
    if path.suffix == ".json" and size <= MOST_JSON:
        try:
            json.loads(path.read_bytes())
        except ValueError:
            return f"is no whole JSON file ({size:,} bytes); {FETCH_AGAIN}"
    return ""


def _safetensors(path: Path, size: int) -> str:
    """The format: eight bytes say how long the header is, the header where each tensor ends."""
    with path.open("rb") as stream:
        first = stream.read(8)
        length = int.from_bytes(first, "little")
        if len(first) < 8:
            return f"is cut off at {size:,} bytes, within its header; {FETCH_AGAIN}"
        if length > MOST_HEADER:
            return f"is no safetensors file: its header would have {length:,} bytes; {FETCH_AGAIN}"
        header = stream.read(length)
    if len(header) < length:
        return f"is cut off at {size:,} bytes, within its header of {length:,}; {FETCH_AGAIN}"
    try:
        ends = list(_ends(json.loads(header)))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return f"is no safetensors file: its header cannot be read; {FETCH_AGAIN}"
    whole = 8 + length + max(ends, default=0)
    if size == whole:
        return ""
    what = "is cut off" if size < whole else "goes on behind its end"
    return f"{what}: it has {size:,} bytes, and by its header {whole:,}; {FETCH_AGAIN}"


def _ends(header: dict[str, Any]) -> Iterator[int]:
    for name, tensor in header.items():
        if name != "__metadata__":
            yield int(tensor["data_offsets"][1])


def _missing(index: Path) -> list[str]:
    """Shards that an index names and that are not beside it."""
    try:
        shards = set(json.loads(index.read_bytes())["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # told already, or the index of something else
    return sorted(s for s in shards if isinstance(s, str) and not (index.parent / s).is_file())
