"""Content hashes: how the suite knows that two things are the same."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any


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


def keyed_digest(key: bytes, *parts: bytes | str, length: int = 16) -> str:
    """Hash byte strings under a key: who does not have the key can neither make the hash nor try guesses against it.

    Args:
        key: at most 64 bytes.
        parts: what is hashed, each with its length, as :func:`digest` does.
        length: bytes of the hash.

    Returns:
        ``length`` bytes of keyed BLAKE2b (RFC 7693, section 2.9) as hexadecimal text.
    """
    h = hashlib.blake2b(key=key, digest_size=length)
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


HASH = re.compile(r"[0-9a-f]{16,64}")
"""What names a cell, and what the suite's hashes look like."""
