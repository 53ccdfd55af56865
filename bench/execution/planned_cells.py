"""Which cells a run's last driver planned, kept in ``planned.json`` for whoever asks how far the run is."""

from __future__ import annotations

from collections.abc import Collection

from bench.cards.typed_yaml import Strict
from bench.errors import DataError
from bench.execution.planning.plan import RunPlan
from bench.storage.atomic import write_json
from bench.storage.run_folder import RunFolder


class PlannedRecord(Strict):
    """The cells of one record."""

    system: str
    task: str
    cells: tuple[str, ...]
    """Keys of those that this run was asked to compute."""
    blocked: int = 0
    """Cells that cannot be computed here."""
    left_out: int = 0
    """Cells that ``--only`` or ``--shard`` left out."""


class PlannedCells(Strict):
    """What ``planned.json`` says: every record by its file stem."""

    records: dict[str, PlannedRecord]


def note_planned(folder: RunFolder, plan: RunPlan, asked: Collection[str]) -> None:
    """Write which cells are planned.

    Args:
        folder: of the run.
        plan: all that the matrix means here.
        asked: keys of the cells that are to be computed in this run.
    """
    able = {c.key for g in plan.groups for c in g.cells}
    records = {}
    for record in plan.records:
        keys = [c.key for c in record.cells]
        wanted = [key for key in keys if key in asked]
        blocked = sum(key not in able for key in keys)
        records[record.stem] = {
            "system": record.system.name,
            "task": record.task.name,
            "cells": wanted,
            "blocked": blocked,
            "left_out": len(keys) - len(wanted) - blocked,
        }
    write_json(folder.planned, {"records": records})


def read_planned(folder: RunFolder) -> PlannedCells | None:
    """Read which cells were planned; None where no driver came so far, or one of an earlier version planned the run.

    Raises:
        DataError: the file is damaged.
    """
    try:
        return PlannedCells.model_validate_json(folder.planned.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(
            f"{folder.planned}: cannot be read ({said}); the run's own command writes it anew"
        ) from None
