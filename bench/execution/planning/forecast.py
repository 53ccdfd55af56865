"""``--dry-run``: what a matrix means here, what is done already, and what the rest will cost."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, get_args

from bench.audio.conditioned import ConditionShard
from bench.audio.conditions import CLEAN, parse_condition
from bench.cards.registry import load_system
from bench.errors import BenchError
from bench.execution.devices import worker_devices
from bench.execution.driver import finished_cells
from bench.execution.inputs import GroupInputs, missing_features
from bench.execution.jobs import EncodeJob
from bench.execution.planning.blocked_work import blocked_seconds, fit_family
from bench.execution.planning.estimates import (
    FRAME_BYTES_PER_SECOND,
    PCM_BYTES_PER_SECOND,
    POOLED_BYTES_PER_CLIP,
    SCALED_FAMILIES,
    TABLE_BYTES_PER_CLIP,
    Basis,
    Estimate,
    Rates,
    load_rates,
)
from bench.execution.planning.plan import Group, RecordPlan, RunPlan
from bench.execution.planning.shards import cells_of_shard
from bench.execution.planning.systems import System
from bench.execution.prepared_run import PreparedRun, RunSettings
from bench.features.store import FeatureStore
from bench.protocols import SAMPLE_RATE
from bench.scoring.designs import TYPICAL, pairs_of
from bench.statistics.power import Design, difference_seen
from bench.storage.journal import Journal

SECONDS_PER_UNDECODED_CLIP = 3.0
"""Assumed length of a clip that was never decoded, for the estimate of disk alone."""


@dataclass(frozen=True)
class ForecastRow:
    """One system on one task."""

    system: str
    family: str
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
class TaskSight:
    """What a task of the matrix can see: the smallest difference of UA that one track's tests find 4 times in 5 (None: none).

    Of a task that was never run, from typical differences (:data:`bench.scoring.designs.TYPICAL`); weights as they will be.
    """

    task: str
    track: str
    speakers: int
    clips: float
    systems: int
    seen: float | None


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
    """Until the end, with all workers."""
    bytes: float
    workers: int
    measured: bool
    """Whether anything was measured on this machine."""
    sight: tuple[TaskSight, ...] = ()
    gpus: bool = False
    """Whether each worker holds a GPU, whatever it does meanwhile; else a core."""
    worker_seconds: Mapping[str, float] = field(default_factory=dict)
    """Of all workers together, by what the estimate rests on (:data:`bench.execution.planning.estimates.Basis`)."""
    free_bytes: int | None = None
    """Of the disk that holds the cache."""
    blocked_seconds: Mapping[str, Mapping[Basis, float]] = field(default_factory=dict)
    """Of one worker, by blocked system and by what the estimate rests on: what it would take if it could run. In no other figure."""

    @property
    def worker_hours(self) -> float:
        """GPU-hours where each worker holds a GPU, else hours of a core."""
        return sum(self.worker_seconds.values()) / 3600

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
        totals = {
            "fits": self.fits,
            "cells": self.cells,
            "done": self.done,
            "worker_hours": round(self.worker_hours, 3),
        }
        return {
            **asdict(self),
            "rows": [asdict(r) for r in self.rows],
            "notes": list(self.notes),
            "sight": [asdict(s) for s in self.sight],
            **totals,
        }


def forecast(settings: RunSettings) -> Forecast:
    """Plan a run without running any of it."""
    prepared = PreparedRun(settings)
    everything, chosen = prepared.matrix_rows(fetch=False)
    tables = prepared.corpora_of(chosen)
    plan = prepared.plan(chosen, forecast=True)
    if settings.shard is not None:
        whole = prepared.plan(everything, forecast=True)
        plan = plan.only(cells_of_shard(whole.records, settings.shard))
    done = _done(prepared, plan)
    undone = {c.key for r in plan.records for c in r.cells} - done
    todo = _to_do(
        prepared,
        undecoded=sum(len(s.clip_ids) for t in tables for s in t.missing_shards()),
        pending=[g for g in (group.only(undone) for group in plan.groups) if g.cells],
    )
    devices = worker_devices(settings.device, settings.workers)
    rates = scaled_rates(load_rates(prepared.cache))
    taken = _by_basis(todo.estimates(rates))
    return Forecast(
        matrix=prepared.matrix.name,
        matrix_hash=prepared.matrix.hash,
        rows=tuple(_row(r, plan, done, prepared) for r in plan.records),
        notes=(
            *prepared.notes,
            *(f"cannot be run: {reason}" for reason in dict.fromkeys(plan.refused.values())),
        ),
        undecoded=todo.undecoded,
        unconditioned=sum(len(s.clips) for s in todo.shards),
        seconds=sum(taken.values()) / len(devices),
        bytes=todo.bytes,
        workers=len(devices),
        measured=bool(rates.measured),
        sight=tuple(_sight(plan, prepared.matrix.plan.level)),
        gpus=devices[0].startswith("cuda"),
        worker_seconds=taken,
        free_bytes=_free(prepared.cache),
        blocked_seconds=blocked_seconds(plan.records, rates),
    )


def scaled_rates(rates: Rates) -> Rates:
    """Rates with seconds per clip and parameter: the median of the systems that were measured here and whose cards tell their size."""
    found: dict[str, list[float]] = defaultdict(list)
    for key, seconds in rates.measured.items():
        kind, _, name = key.partition(" ")
        if kind not in ("encode", "fit") or not name:
            continue
        try:
            card = load_system(name)
        except BenchError:  # measured once, and its card is gone or lies elsewhere
            continue
        family = "encode" if kind == "encode" else fit_family(card)
        if family in SCALED_FAMILIES and card.parameters:
            found[family].append(seconds / card.parameters)
    return replace(rates, per_parameter={family: median(each) for family, each in found.items()})


def _by_basis(estimates: Iterable[Estimate]) -> dict[str, float]:
    taken: dict[str, float] = dict.fromkeys(get_args(Basis), 0.0)
    for estimate in estimates:
        taken[estimate.basis] += estimate.seconds
    return taken


def _free(cache: Path) -> int | None:
    """Free bytes where the cache is, or will be made."""
    for folder in (cache, *cache.parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return None


def _sight(plan: RunPlan, level: float) -> Iterator[TaskSight]:
    """What each task and track can see, clean audio, all systems of a track as one family."""
    met: dict[tuple[str, str], dict[str, RecordPlan]] = defaultdict(dict)
    for r in plan.records:
        system = r.system
        if r.condition == CLEAN and system.card.track != "reference" and r.task.labels and not system.blocked:
            met[r.task.name, system.card.track][system.name] = r
    for (task, track), own in met.items():
        tested = next(iter(own.values())).task.tested
        speakers = len(set(tested.clusters))
        if len(own) > 1 and speakers > 1:
            clips = len(tested) / speakers
            design = Design(speakers, clips, 1, pairs_of(len(own)), level)
            yield TaskSight(task, track, speakers, clips, len(own), difference_seen(TYPICAL, design))


@dataclass(frozen=True)
class _ToDo:
    """What a run would still have to make: clips to decode, shards of conditioned audio, features, fits."""

    undecoded: int
    pending: Sequence[Group]
    shards: Sequence[ConditionShard]
    encodes: Sequence[EncodeJob]
    """Of clips that are there to be encoded."""
    encodes_later: Sequence[tuple[System, int]]
    """System and number of clips that must be decoded or conditioned first."""

    def estimates(self, rates: Rates) -> Iterator[Estimate]:
        """What one worker would take for each piece of work."""
        yield rates.estimate("decode", self.undecoded)
        for group in self.pending:
            card = group.system.card
            key, family = f"fit {card.name}", fit_family(card)
            yield rates.estimate(key, len(group.data), family=family, parameters=card.parameters)
        passes = [*((j.system, j.clips) for j in self.encodes), *self.encodes_later]
        for system, clips in passes:
            yield rates.estimate(f"encode {system.name}", clips, parameters=system.card.parameters)
        for shard in self.shards:
            yield rates.estimate(f"condition {shard.condition}", len(shard.clips))

    @property
    def bytes(self) -> float:
        """Disk, about."""
        total = self.undecoded * SECONDS_PER_UNDECODED_CLIP * PCM_BYTES_PER_SECOND
        total += sum(_conditioned_bytes(s) for s in self.shards)
        total += sum(
            len(g.task) // len(g.task.folds) * len(g.cells) * TABLE_BYTES_PER_CLIP for g in self.pending
        )
        return total + sum(_feature_bytes(j) for j in self.encodes)


def _to_do(prepared: PreparedRun, *, undecoded: int, pending: Sequence[Group]) -> _ToDo:
    inputs = GroupInputs(prepared.cache / "audio")
    encoding = [g for g in pending if g.system.feature_key]
    undecoded_groups = {g.system.feature_key: g for g in encoding if not g.task.audible.any()}
    # Clips whose condition is not made yet: each once per encoder and condition.
    unconditioned = {
        (g.system.feature_key, s.target.samples_path): (g.system, len(s.clips))
        for g in encoding
        for s in inputs.missing([g])
    }
    return _ToDo(
        undecoded=undecoded,
        pending=pending,
        shards=inputs.missing(pending),
        encodes=[job for job, _ in missing_features(pending, prepared.cache, inputs)],
        encodes_later=[
            *((g.system, len(g.task)) for g in undecoded_groups.values()),
            *unconditioned.values(),
        ],
    )


def _conditioned_bytes(shard: ConditionShard) -> float:
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
        system=system.name,
        family=system.card.family,
        task=task.name,
        protocol=record.protocol,
        training=record.training,
        condition=record.condition,
        clips=len(task),
        fits=fits,
        cells=len(record.cells),
        done=finished,
        features=features,
        state=state,
    )
