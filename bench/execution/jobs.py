"""The kinds of work, as a worker process does them: decode, put through a condition, encode, fit and predict.

A job carries all it needs, runs anywhere, and hands back files and facts; only the driver writes the journal.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.audio_store import AudioShard, DecodedClip, decode_shard
from bench.conditions import ConditionShard, apply_shard
from bench.devices import BATCH_SECONDS, batch_seconds
from bench.errors import BenchError, DataError, NeedsServer
from bench.execution.probing import run_probe
from bench.extraction import compute_kept
from bench.features import FeatureReader, FeatureStore, Keep, pooled_identity
from bench.frame_bound import require_room
from bench.identity import hash_file
from bench.material import Heard, Material
from bench.plan import Cell, Group, System
from bench.predictions import PredictionTable, complete_answers, variant_path, write_table
from bench.protocols import SAMPLE_RATE, Answers, Clips, Examples, FitContext
from bench.registry import build

Progress = Callable[[float, float], None]


@dataclass(frozen=True)
class DecodeJob:
    """Decode one shard of a corpus."""

    corpus: str
    shard: AudioShard
    kind = "decode"

    @property
    def name(self) -> str:
        """What the progress bar calls it."""
        return f"decode {self.corpus}"

    @property
    def clips(self) -> int:
        """How many clips it touches."""
        return len(self.shard.clip_ids)


@dataclass(frozen=True)
class ConditionJob:
    """Put some clips of a task through a condition."""

    task: str
    shard: ConditionShard
    kind = "condition"

    @property
    def name(self) -> str:
        """What the progress bar calls it."""
        return f"{self.shard.condition} · {self.task}"

    @property
    def clips(self) -> int:
        """How many clips it touches."""
        return len(self.shard.clips)


@dataclass(frozen=True)
class EncodeJob:
    """Put some clips through one frozen encoder and store what comes out."""

    system: System
    decoded: tuple[DecodedClip, ...]
    language: str
    cache: Path
    also_pooled: bool = False
    """Of frames: keep their means too, for the systems that read those."""
    kind = "encode"

    @property
    def name(self) -> str:
        """What the progress bar calls it."""
        return f"encode {self.system.name}"

    @property
    def clips(self) -> int:
        """How many clips it touches."""
        return len(self.decoded)


@dataclass(frozen=True)
class FitJob:
    """Compute one group of cells: fit, predict, write the prediction tables."""

    group: Group
    tables: Path
    work: Path
    cache: Path
    identity: dict[str, Any]
    """What goes into every table's metadata beside the cell's own facts."""
    server: str | None = None
    """Address of the server that the suite started for this job's system; the card's own comes first."""
    max_cost: float | None = None
    heard: Heard = field(default_factory=dict)
    """The clips as they sound under the group's conditions."""
    kind = "fit"

    @property
    def name(self) -> str:
        """What the progress bar calls it."""
        cells = self.group.cells
        one_fit = len({c.fit for c in cells}) == 1
        part = f"fold {cells[0].fold_name} seed {cells[0].seed}" if one_fit else f"{len(cells)} cells"
        return f"{self.group.system.name} · {self.group.task.name} · {part}"

    @property
    def clips(self) -> int:
        """How many clips it touches."""
        return len(self.group.material)


Job = DecodeJob | ConditionJob | EncodeJob | FitJob


@dataclass(frozen=True)
class CellOutcome:
    """A finished cell: its table's hash and what the adapter had to say of the fit."""

    cell: Cell
    table_hash: str
    notes: str
    """JSON."""


@dataclass(frozen=True)
class JobOutcome:
    """What came of a job. ``error`` is one sentence; ``trace`` its traceback, for the log."""

    seconds: float
    work_seconds: float
    started: float
    clips: int = 0
    cells: tuple[CellOutcome, ...] = ()
    error: str | None = None
    trace: str | None = None
    needs_server: bool = False
    """The answers that are missing need a server, and the job had none."""


@dataclass
class Stopwatch:
    """Adds up the time spent in decoders and models, as against the harness around them."""

    seconds: float = field(default=0.0)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time inside the block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start


class Runner:
    """Does jobs on one device, and keeps the encoder it built last for the jobs that follow.

    ``batch_seconds`` of audio go to an encoder at a time; None: as the device's free memory has it.
    """

    def __init__(self, device: str = "cpu", batch_seconds: float | None = None) -> None:
        self.device = device
        self._batch_seconds = batch_seconds
        self._encoder: tuple[str | None, Any] = (None, None)

    def run(self, job: Job, progress: Progress) -> JobOutcome:
        """Do a job. Never raises: what goes wrong is in the outcome."""
        started, clock, watch = time.time(), time.perf_counter(), Stopwatch()
        cells: tuple[CellOutcome, ...] = ()
        clips, error, trace, needs_server = 0, None, None, False
        try:
            if isinstance(job, DecodeJob):
                with watch.running():
                    clips = decode_shard(job.shard)
            elif isinstance(job, ConditionJob):
                with watch.running():
                    clips = apply_shard(job.shard)
            elif isinstance(job, EncodeJob):
                with watch.running():
                    encoder = self.encoder(job.system)
                    seconds = self._batch_seconds or batch_seconds(self.device)
                clips = encode(job, encoder, watch, progress, seconds)
            else:
                cells = tuple(fit(job, self.device, watch, progress))
                clips = job.clips
        except BenchError as problem:
            error, trace = str(problem), traceback.format_exc()
            needs_server = isinstance(problem, NeedsServer)
        except MemoryError:
            error = "out of memory; run with fewer workers (--workers 1), or on a machine with more"
        except (Exception, SystemExit) as problem:  # noqa: BLE001 - an adapter may do anything; its cell fails, the run goes on
            error, trace = f"{type(problem).__name__}: {problem}", traceback.format_exc()
        seconds = time.perf_counter() - clock
        return JobOutcome(seconds, watch.seconds, started, clips, cells, error, trace, needs_server)

    def encoder(self, system: System) -> Any:
        """Build a system's frozen encoder, or return the one built last when it is the same."""
        if self._encoder[0] != system.feature_key:
            self._encoder = (system.feature_key, build_encoder(system, self.device))
        return self._encoder[1]


def build_encoder(system: System, device: str) -> Any:
    """Build a system's frozen encoder from its card."""
    features = system.card.features
    assert features is not None
    weights = {"weights": system.weights} if system.weights else {}
    return build(features.encoder, features.params | weights | {"device": device})


def encode(
    job: EncodeJob, encoder: Any, watch: Stopwatch, progress: Progress, seconds: float = BATCH_SECONDS
) -> int:
    """Encode a job's clips in one pass and write one shard. Returns how many clips went through."""
    system = job.system
    assert system.feature_key is not None
    assert system.card.features is not None
    clips = _clips(job.decoded, job.language)
    spec = system.card.features
    keeps = [Keep(spec.pooled, spec.every), *([Keep(pooled=True)] if job.also_pooled else [])]
    with watch.running():
        kept, failures = compute_kept(
            encoder, clips, range(len(clips)), keeps, progress, batch_seconds=seconds
        )
    store = FeatureStore(job.cache / "features")
    if job.also_pooled and system.pooled_key is not None:
        store.write(system.pooled_key, kept[1], failures)
        store.remember(system.pooled_key, pooled_identity(system.feature_identity or {}))
    arrays = kept[0]
    if not spec.pooled:
        try:
            require_room(store, sum(a.nbytes for a in arrays.values()))
        except DataError as error:
            arrays, failures = {}, failures | dict.fromkeys(arrays, str(error))
    store.write(system.feature_key, arrays, failures)
    if system.feature_identity is not None:
        store.remember(system.feature_key, system.feature_identity)
    for clip in job.decoded:
        if clip.pcm_hash in failures:
            print(f"{job.name}: {clip.clip_id}: {failures[clip.pcm_hash]}", file=sys.stderr)
    return len(clips)


def _clips(decoded: Sequence[DecodedClip], language: str) -> Clips:
    return Clips(
        ids=tuple(d.clip_id for d in decoded),
        pcm_hashes=tuple(d.pcm_hash for d in decoded),
        seconds=np.array([d.samples / SAMPLE_RATE for d in decoded]),
        languages=(language,) * len(decoded),
        read=lambda i: decoded[i].read(),
    )


def fit(job: FitJob, device: str, watch: Stopwatch, progress: Progress) -> list[CellOutcome]:
    """Compute a group's cells and write their tables."""
    group, material, system = job.group, job.group.material, job.group.system
    features = FeatureStore(job.cache / "features").reader(system.feature_key) if system.feature_key else None
    if system.card.probe:
        assert features is not None
        with watch.running():
            answers = run_probe(group, features, job.heard, device, progress)
    else:
        answers = _run_predictor(job, device, features, watch, progress)
    outcomes = []
    for cell, answer in zip(group.cells, answers, strict=True):
        rows = material.folds[cell.fold].test
        usable = _usable(material, rows, cell.condition, job.heard, features)
        path = job.tables / f"{cell.key}.parquet"
        identity = job.identity | _cell_identity(cell, group)
        variants = {}
        for name, said in answer.variants.items():
            part = variant_path(path, name)
            write_table(part, _table(material, rows, usable, said), identity | {"variant": name})
            variants[name] = hash_file(part)
        write_table(path, _table(material, rows, usable, answer), identity | {"variants": variants})
        outcomes.append(CellOutcome(cell, hash_file(path), notes_json(answer.notes)))
    shutil.rmtree(job.work / group.key, ignore_errors=True)
    return outcomes


def _usable(
    material: Material,
    rows: NDArray[np.intp],
    condition: str,
    heard: Heard,
    features: FeatureReader | None,
) -> NDArray[np.bool_]:
    """Which of these rows can be heard under a condition, by the encoder too where there is one."""
    clips = [material.hear(int(i), condition, heard) for i in rows]
    return np.array(
        [c.message is None and (features is None or c.pcm_hash in features) for c in clips], dtype=bool
    )


def notes_json(notes: Mapping[str, Any]) -> str:
    """Write an adapter's notes as JSON, numpy values as plain ones.

    Raises:
        DataError: a note that JSON cannot hold.
    """
    try:
        return json.dumps(_plain(notes), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the adapter's notes must be JSON values without NaN or infinity ({error})"
        ) from None


def _plain(value: Any) -> Any:
    """Turn numpy scalars and arrays inside notes into JSON values."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def _cell_identity(cell: Cell, group: Group) -> dict[str, Any]:
    weights = group.system.weights
    return {
        "cell": cell.key,
        "system": cell.system,
        "task": cell.task,
        "protocol": cell.protocol,
        "training": cell.training,
        "view": cell.view,
        "condition": cell.condition,
        "train_condition": cell.train_condition,
        "fold": cell.fold_name,
        "seed": cell.seed,
        "system_identity": group.system.identity,
        "weights_hash": weights.content_hash if weights else None,
        "weights_revision": weights.revision if weights else None,
        "folds_hash": group.task.folds_hash,
        "content_hash": group.task.content_hash,
    }


def _table(
    material: Material, rows: NDArray[np.intp], usable: NDArray[np.bool_], answers: Answers
) -> PredictionTable:
    """Lay out answers on the usable rows as a table of all rows; ``usable`` is (rows,)."""
    clips = [material.decoded[i] for i in rows]
    asked = np.flatnonzero(usable).tolist()
    silent = {
        j: "failed" if clips[j].message is None else "undecodable" for j in np.flatnonzero(~usable).tolist()
    }
    return complete_answers([c.clip_id for c in clips], asked, answers, silent, material.labels)


def _run_predictor(
    job: FitJob,
    device: str,
    features: FeatureReader | None,
    watch: Stopwatch,
    progress: Progress,
) -> list[Answers]:
    """Fit one predictor and let it answer its test clips under each condition."""
    group, system, material = job.group, job.group.system, job.group.material
    assert system.card.adapter is not None
    fold = material.folds[group.cells[0].fold]
    learnt_from = (fold.train, fold.dev)
    context = FitContext(
        labels=material.labels,
        dimensions=material.has_dimensions(learnt_from) if material.sources else group.task.has_dimensions,
        seed=group.cells[0].seed,
        workdir=job.work / job.group.key,
        device=device,
        features=features,
        server=system.card.server or job.server,
        max_cost=job.max_cost,
        progress=progress,
    )
    context.workdir.mkdir(parents=True, exist_ok=True)

    def usable(rows: NDArray[np.intp], condition: str) -> NDArray[np.intp]:
        return rows[_usable(material, rows, condition, job.heard, features)]

    def learnt(rows: NDArray[np.intp]) -> Examples:
        condition = group.train_condition
        return material.examples(usable(rows, condition), condition, job.heard)

    with watch.running():
        predictor = build(
            system.card.adapter, system.card.params | ({"weights": system.weights} if system.weights else {})
        )
        predictor.fit(learnt(fold.train), learnt(fold.dev), context)
        answers = []
        for cell in group.cells:
            rows = usable(fold.test, cell.condition)
            said: Answers = predictor.predict(material.clips(rows, cell.condition, job.heard))
            variants = {name: _only_ok(part) for name, part in said.variants.items()}
            answers.append(replace(_only_ok(said), variants=variants))
    return answers


def _only_ok(answers: Answers) -> Answers:
    """Leave a label only where the status is ok."""
    kept = (x if s == "ok" else None for x, s in zip(answers.labels, answers.statuses, strict=True))
    return replace(answers, labels=tuple(kept))


def quiet_single_thread() -> None:
    """Make numeric libraries use one thread each, so that results do not depend on the machine's core count."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
