"""Content hashes: how the suite knows that two things are the same."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import subprocess
from pathlib import Path
from typing import Any

from bench import __version__
from bench.errors import UsageError


def digest(*parts: bytes | str, length: int = 16) -> str:
    """Hash byte strings, each with its length, so that no two lists of parts collide by concatenation.

    Returns ``length`` bytes of BLAKE2b as hexadecimal text.
    """
    h = hashlib.blake2b(digest_size=length)
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        h.update(len(raw).to_bytes(8, "little"))
        h.update(raw)
    return h.hexdigest()


def hash_json(value: Any) -> str:
    """Hash a JSON value independently of the order of its keys."""
    return digest(
        json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    )


def hash_file(path: Path) -> str:
    """Hash a file's bytes."""
    h = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            h.update(block)
    return h.hexdigest()


def split_dotted(path: str) -> tuple[str, str]:
    """Split ``package.module:Name`` into its two halves."""
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise UsageError(f"{path!r} does not name code: expected 'package.module:Name'")
    return module, name


@functools.cache
def source_hash(module: str) -> str:
    """Hash the source of a module, or of a whole package, without importing it (its parents are imported).

    This is the adapter's code version inside every key: a changed adapter never meets an old feature or cell.
    """
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"no module named {error.name!r} (from the adapter path {module!r}): is its package installed?"
        ) from None
    if spec is None or spec.origin is None:
        raise UsageError(f"no module named {module!r}: is the adapter's package installed?")
    origin = Path(spec.origin)
    files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    return digest(
        *(part for f in files for part in (f.relative_to(origin.parent).as_posix(), f.read_bytes()))
    )


def adapter_hash(dotted: str) -> str:
    """Hash the code behind ``package.module.…:Name``: its module, or its sub-package when it lies deeper.

    ``adapters.acoustic:OpenSmile`` is one file; ``adapters.meralion_ser.predictor:…`` is all of that folder.
    """
    return source_hash(".".join(split_dotted(dotted)[0].split(".")[:2]))


@functools.cache
def code_version() -> str:
    """Package version, with the git revision where the package runs from a checkout: ``0.1.0+g1a2b3c4`` (``.dirty``)."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return __version__
    try:
        revision = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=.dirty", "--abbrev=10", "--exclude=*"],
            capture_output=True, text=True, timeout=10, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__}+g{revision}"
