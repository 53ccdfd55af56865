"""``--dry-run``: what a matrix means here, what is done already, and what the rest will cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.audio.conditioned import ConditionShard
from bench.audio.conditions import parse_condition
from bench.execution.devices import worker_devices
from bench.execution.driver import finished_cells
from bench.execution.inputs import GroupInputs, missing_features
from bench.execution.jobs import EncodeJob
from bench.execution.planning.estimates import (
    FRAME_BYTES_PER_SECOND,
    PCM_BYTES_PER_SECOND,
    POOLED_BYTES_PER_CLIP,
    TABLE_BYTES_PER_CLIP,
    Rates,
    load_rates,
)
from bench.execution.planning.plan import Group, RecordPlan, RunPlan
from bench.execution.prepared_run import PreparedRun, RunSettings
from bench.execution.stages import fit_seconds
from bench.features.store import FeatureStore
from bench.protocols import SAMPLE_RATE
from bench.storage.journal import Journal

SECONDS_PER_UNDECODED_CLIP = 3.0
"""Assumed length of a clip that was never decoded, for the estimate of disk alone."""


@dataclass(frozen=True)
class ForecastRow:
    """One system on one task."""

    system: str
    task: str
    protocol: str
    training: str
    condition: str
    clips: int
    fits: int
    """Of conditions that share their fits, the first has them."""
    cells: int
    done: int
    features: str
    state: str


@dataclass(frozen=True)
class Forecast:
    """What a run would do."""

    matrix: str
    matrix_hash: str
    rows: tuple[ForecastRow, ...]
    notes: tuple[str, ...]
    undecoded: int
    unconditioned: int
    """Clips that are still to be put through a condition."""
    seconds: float
    bytes: float
    workers: int
    measured: bool

    @property
    def fits(self) -> int:
        """How many fits the matrix holds."""
        return sum(r.fits for r in self.rows)

    @property
    def cells(self) -> int:
        """How many cells the matrix holds."""
        return sum(r.cells for r in self.rows)

    @property
    def done(self) -> int:
        """How many cells are done."""
        return sum(r.done for r in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        totals = {"fits": self.fits, "cells": self.cells, "done": self.done}
        return {**asdict(self), "rows": [asdict(r) for r in self.rows], "notes": list(self.notes), **totals}


def forecast(settings: RunSettings) -> Forecast:
    """Plan a run without running any of it."""
    prepared = PreparedRun(settings)
    _, chosen = prepared.wanted(fetch=False)
    tables = prepared.corpora_of(chosen)
    undecoded = sum(len(s.clip_ids) for t in tables for s in t.missing_shards())
    plan = prepared.plan(chosen, forecast=True)
    done = _done(prepared, plan)
    undone = {c.key for r in plan.records for c in r.cells} - done
    pending = [g for g in (group.only(undone) for group in plan.groups) if g.cells]
    workers = len(worker_devices(settings.device, settings.workers))
    rates = load_rates(prepared.cache)
    hearing = GroupInputs(prepared.cache / "audio")
    encodes = missing_features(pending, prepared.cache, hearing)
    shards = hearing.missing(pending)
    unheard = {g.system.feature_key: g for g in pending if g.system.feature_key and not g.task.audible.any()}
    changed = sum(len(s.clips) for s in shards)
    seconds = rates.seconds("decode", undecoded) + sum(fit_seconds(g, rates) for g in pending)
    seconds += sum(rates.seconds(f"encode {j.system.name}", j.clips) for j, _ in encodes)
    seconds += sum(rates.seconds(f"encode {g.system.name}", len(g.task)) for g in unheard.values())
    seconds += sum(rates.seconds(f"condition {s.condition}", len(s.clips)) for s in shards)
    seconds += _encoding_what_is_not_made(pending, hearing, rates)
    size = undecoded * SECONDS_PER_UNDECODED_CLIP * PCM_BYTES_PER_SECOND
    size += sum(_sounding_bytes(s) for s in shards)
    size += sum(len(g.task) // len(g.task.folds) * len(g.cells) * TABLE_BYTES_PER_CLIP for g in pending)
    size += sum(_feature_bytes(j) for j, _ in encodes)
    return Forecast(
        matrix=prepared.matrix.name,
        matrix_hash=prepared.matrix.hash,
        rows=tuple(_row(r, plan, done, prepared) for r in plan.records),
        notes=(
            *prepared.notes,
            *(f"cannot be run: {reason}" for reason in dict.fromkeys(plan.refused.values())),
        ),
        undecoded=undecoded,
        unconditioned=changed,
        seconds=seconds / workers,
        bytes=size,
        workers=workers,
        measured=bool(rates.measured),
    )


def _encoding_what_is_not_made(pending: Sequence[Group], hearing: GroupInputs, rates: Rates) -> float:
    """Seconds to encode clips whose condition is not made yet: each once per encoder and condition."""
    wanted = {
        (g.system.feature_key, s.target.samples_path): (g.system.name, len(s.clips))
        for g in pending
        if g.system.feature_key
        for s in hearing.missing([g])
    }
    return sum(rates.seconds(f"encode {name}", clips) for name, clips in wanted.values())


def _sounding_bytes(shard: ConditionShard) -> float:
    """Disk for a shard's conditioned samples, were they as long as what they are made of (or as what they are filled to)."""
    condition = parse_condition(shard.condition)
    least = condition.amount * SAMPLE_RATE if condition.kind in ("pad", "tile") else 0.0
    return sum(2 * max(c.samples, least) for c in shard.clips)


def _done(prepared: PreparedRun, plan: RunPlan) -> set[str]:
    if not prepared.folder.journal.exists():
        return set()
    with Journal(prepared.folder.journal) as journal:
        return set(finished_cells(journal, prepared.folder, plan))


def _feature_bytes(job: EncodeJob) -> float:
    """Disk for what a job keeps: means, or frames, or both."""
    spec = job.system.card.features
    means = POOLED_BYTES_PER_CLIP * len(job.decoded)
    if spec is None or spec.pooled:
        return means
    frames = FRAME_BYTES_PER_SECOND / spec.every * sum(c.samples for c in job.decoded) / SAMPLE_RATE
    return frames + (means if job.also_pooled else 0.0)


def _row(record: RecordPlan, plan: RunPlan, done: set[str], prepared: PreparedRun) -> ForecastRow:
    system, task = record.system, record.task
    finished = sum(c.key in done for c in record.cells)
    features = ""
    if system.feature_key is not None and system.blocked is None:
        hashes = {d.pcm_hash for d in task.decoded if d.message is None and d.pcm_hash}
        missing = FeatureStore(prepared.cache / "features").missing(system.feature_key, sorted(hashes))
        features = f"{len(hashes) - len(missing)}/{len(task)}"
    state = system.blocked or ("done" if finished == len(record.cells) else "to do")
    first = {g.cells[0].key: g.fits for g in plan.groups}
    fits = sum(first.get(c.key, 0) for c in record.cells)
    return ForecastRow(
        system.name,
        task.name,
        record.protocol,
        record.training,
        record.condition,
        len(task),
        fits,
        len(record.cells),
        finished,
        features,
        state,
    )
