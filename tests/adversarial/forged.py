"""Records that a careless or dishonest run might leave: true ones, with something about them changed."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.scoring.figures import figures
from bench.scoring.record_schema import ClusterFold, TrainingLabels
from bench.scoring.records import Counts, Record, read_record

RESULTS = Path(__file__).resolve().parents[2] / "results"
SEVEN = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")


@functools.cache
def published(folder: str, stem: str) -> Record:
    """A committed record."""
    return read_record(RESULTS / folder / "records" / f"{stem}.json")


def changed(record: Record, **facts: Any) -> Record:
    """The record, saying something else."""
    return replace(record, facts=record.facts.model_copy(update=facts))


def answered(
    counts: dict[str, list[list[int]]] | np.ndarray,
    classes: tuple[str, ...],
    *,
    view: str = "native",
    system: str = "egemaps-linear",
    learnt: list[dict[str, int]] | None = None,
    **facts: Any,
) -> Record:
    """A record of given counts, (clusters, K, K + 1), each cluster a fold of its own, with the figures that follow."""
    table = np.asarray(counts, dtype=float)
    base = published("quick", "egemaps-linear__indowave.id__within__clean").facts
    clusters = tuple(ClusterFold(name=f"{i:032x}", fold=str(i)) for i in range(len(table)))
    training = tuple(TrainingLabels(fold=str(i), clips=c) for i, c in enumerate(learnt or []))
    own = base.model_copy(
        update={
            "schema_version": 3, "system": system, "clusters": clusters, "seeds": (0,), "chance": (), "human": (),
            "speakers": len(table), "clips": int(table.sum()), "training_labels": training, "labels_offered": classes,
            "card": base.card.model_copy(update={"name": system}), **facts,
        }
    )  # fmt: skip
    block = Counts(view, "wrong", "all", "category", classes, table[np.newaxis])
    block = replace(block, labels=classes[: table.shape[1]])
    own = own.model_copy(update=vars(figures(own, [block], [])))
    return Record(own, (block,))
