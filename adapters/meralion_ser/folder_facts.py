"""What a trained network alone does not say, in ``serbench.json`` beside it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adapters.meralion_ser.network.architecture import Architecture
from bench.errors import CannotRun, UsageError
from bench.protocols import Array
from bench.storage.atomic import write_text

FILE = "serbench.json"
INPUTS = ("own", "30s")


@dataclass(frozen=True)
class FolderFacts:
    """How a kept network was trained, as far as its answers depend on it.

    Args:
        architecture: what the card said of the network.
        dimensions: whether it learnt any.
        matching: offset and scale (3,) of its dimensions, or None.
        input: what the encoder of its stored frames saw, ``own`` (the clip) or ``30s`` (the padded window).
    """

    architecture: Architecture
    dimensions: bool = True
    matching: tuple[Array, Array] | None = None
    input: str = "own"

    def write(self, folder: Path) -> None:
        """Write them into ``folder``."""
        facts = {
            "architecture": dataclasses.asdict(self.architecture),
            "dimensions": self.dimensions,
            "matching": None if self.matching is None else [part.tolist() for part in self.matching],
            "input": self.input,
        }
        write_text(folder / FILE, json.dumps(facts, indent=1) + "\n")


def read_facts(folder: Path) -> FolderFacts | None:
    """Read the facts of a folder; None where there are none. Folders from before ``input`` was kept count as ``own``.

    Raises:
        CannotRun: the file is not what :meth:`FolderFacts.write` wrote.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        architecture = Architecture(**found["architecture"])
        window = found.get("input", "own")
        if window not in INPUTS:
            raise ValueError(f"input is {window!r}; expected one of {', '.join(INPUTS)}")
        return FolderFacts(architecture, bool(found["dimensions"]), _matching(found["matching"]), window)
    except KeyError as error:
        raise CannotRun(f"{path}: not what serbench train wrote ({error} is missing); train again") from error
    except (ValueError, TypeError, AttributeError, UsageError) as error:
        raise CannotRun(f"{path}: not what serbench train wrote ({error}); train again") from error


def _matching(found: Any) -> tuple[Array, Array] | None:
    if found is None:
        return None
    offset, scale = (np.array(part, dtype=np.float64) for part in found)
    if offset.shape != (3,) or scale.shape != (3,) or not np.isfinite([offset, scale]).all():
        raise ValueError(f"matching is {found!r}; expected an offset and a scale per dimension")
    return offset, scale
