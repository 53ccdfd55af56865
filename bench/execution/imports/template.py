"""The table to fill: every test clip of a task, with the columns that an import reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.cards.corpus import Protocol
from bench.corpora.prepared import data_folders
from bench.errors import UsageError
from bench.execution.imports.columns import SHARE
from bench.execution.in_process import load_task
from bench.protocols import DIMENSIONS
from bench.storage.atomic import replacing
from bench.tasks import Task


@dataclass(frozen=True)
class TableTemplate:
    """A table whose answers are blank, and what it asks for."""

    text: str
    """CSV: a row per test clip, in the order of ``metadata.csv``."""
    clips: int
    labels: tuple[str, ...]
    dimensions: tuple[str, ...]
    folds: bool
    """Whether the column ``fold`` says in which fold each clip must have been tested."""


def table_template(
    name: str, *, protocol: Protocol = "zero-shot", data: Sequence[Path] = ()
) -> TableTemplate:
    """Make the table to fill for a task.

    Args:
        name: the task.
        protocol: ``within`` adds the fold that each clip is tested in.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.

    Raises:
        UsageError, DataError: no such task, or a corpus that is not as it must be.
    """
    if protocol == "transfer":
        raise UsageError("predictions are imported under the protocols within and zero-shot")
    task = load_task(name, data=data_folders(data), protocol=protocol)
    rated = tuple(d for i, d in enumerate(DIMENSIONS) if np.isfinite(task.dimensions[:, i]).any())
    folds = protocol == "within"
    columns = [
        "clip_id",
        *(["fold"] if folds else []),
        *(["label", *(f"{SHARE}{x}" for x in task.offered_labels)] if task.offered_labels else []),
        *rated,
        "status",
    ]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    clips = _fold_of_clips(task)
    writer.writerows({"clip_id": c, **({"fold": fold} if folds else {})} for c, fold in clips.items())
    return TableTemplate(stream.getvalue(), len(clips), task.offered_labels, rated, folds)


def _fold_of_clips(task: Task) -> dict[str, str]:
    """The test clips in row order, each with its fold."""
    found = {i: fold.name for fold in task.folds for i in fold.test.tolist()}
    return {task.clip_ids[i]: found[i] for i in sorted(found)}


def write_template(template: TableTemplate, path: Path) -> None:
    """Write it where no file is yet.

    Raises:
        UsageError: there is one, perhaps with answers in it.
    """
    if path.exists():
        raise UsageError(
            f"{path}: is there already, perhaps with answers in it; name another file with --out"
        )
    with replacing(path) as temporary:
        temporary.write_text(template.text, encoding="utf-8")
