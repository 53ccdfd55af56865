"""What a fit learnt, kept: trained once for all the ways in which the model is then asked.

The key covers all that decides it (clips, labels, recipe, seed, the model's content, the code that trains), so a system that asks
the same training otherwise finds it, and reading stored replies again needs neither training nor server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import Tensor

from adapters.audio_lm.tuning.processes import Processes
from bench.storage.atomic import replacing, write_text
from bench.storage.hashing import hash_file
from bench.storage.run_folder import cache_folder

LEARNT, NOTES = "learnt.safetensors", "notes.json"


@dataclass(frozen=True)
class TunedFit:
    """A finished training.

    Args:
        folder: where it is kept.
        notes: what a report should know of it.
    """

    folder: Path
    notes: Mapping[str, Any]

    @property
    def content(self) -> str:
        """Hash of what was learnt."""
        return hash_file(self.folder / LEARNT)

    def learnt(self) -> dict[str, Tensor]:
        """Read what was learnt, by name."""
        return dict(load_file(self.folder / LEARNT))


def fit_folder(fingerprint: str) -> Path:
    """Return where the training of a fingerprint is kept."""
    return cache_folder() / "audio_lm" / "tuned" / fingerprint[:32]


def stored_fit(fingerprint: str) -> TunedFit | None:
    """Return a finished training, or None."""
    folder = fit_folder(fingerprint)
    if not (folder / NOTES).is_file():
        return None
    return TunedFit(folder, json.loads((folder / NOTES).read_text(encoding="utf-8")))


def fit_once(
    fingerprint: str,
    train: Callable[[Path], tuple[Mapping[str, Tensor], Mapping[str, Any]]],
    processes: Processes,
) -> TunedFit:
    """Return a finished training, training it first if nobody did; who comes meanwhile waits.

    Args:
        fingerprint: of all that decides it.
        train: trains, keeping checkpoints in the folder that it is given; returns what was learnt, and notes.
        processes: that train together; the first alone writes.
    """
    folder = fit_folder(fingerprint)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock") if processes.first else nullcontext():
        if (found := stored_fit(fingerprint)) is not None:
            return found
        processes.wait()
        learnt, notes = train(folder)
        if processes.first:
            _write(folder, learnt, notes)
    processes.wait()
    return TunedFit(folder, notes)


def _write(folder: Path, learnt: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    with replacing(folder / LEARNT) as temporary:
        save_file(dict(learnt), temporary)
    # Written last: who finds notes finds all.
    write_text(folder / NOTES, json.dumps(notes, sort_keys=True))
    for path in folder.glob("training.pt"):
        path.unlink()
