"""What a worker process does with a job: decode, put through a condition, encode, fit and predict."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.audio.conditioned import apply_shard
from bench.audio.store import DecodedClip, decode_shard
from bench.cards.registry import build, given_weights
from bench.errors import BenchError, CannotRun, DataError, NeedsServer
from bench.execution.devices import BATCH_SECONDS, batch_seconds
from bench.execution.fitting import fit
from bench.execution.job_use import Taking
from bench.execution.jobs import (
    CellOutcome,
    ConditionJob,
    DecodeJob,
    EncodeJob,
    Job,
    JobOutcome,
    Stopwatch,
)
from bench.execution.out_of_memory import memory_sentence, once_more
from bench.execution.planning.systems import System
from bench.execution.separate import separate_encoder
from bench.features.disk_budget import require_room
from bench.features.extraction import compute_kept
from bench.features.out_of_memory import AudioBatch, ran_out_of_memory
from bench.features.store import FeatureStore, Keep, pooled_identity
from bench.protocols import SAMPLE_RATE, Clips, Progress

ERROR_CHARACTERS = 2000
"""Of an error's message that are kept; a page of numbers helps nobody."""
TRACE_CHARACTERS = 20_000


class Runner:
    """Does jobs on one device, and keeps the encoder it built last for the jobs that follow.

    ``batch_seconds`` of audio go to an encoder at a time; None: as the device's free memory has it.
    """

    def __init__(self, device: str = "cpu", batch_seconds: float | None = None) -> None:
        self.device = device
        self._batch_seconds = batch_seconds
        self._encoder: tuple[str | None, Any] = (None, None)
        self._audio: dict[str | None, AudioBatch] = {}
        """Of each encoder, how much audio its device takes, as far as it was found out."""

    def run(self, job: Job, progress: Progress) -> JobOutcome:
        """Do a job. Never raises: what goes wrong is in the outcome."""
        started, clock, stopwatch = time.time(), time.perf_counter(), Stopwatch()
        taking = Taking(self.device)
        try:
            clips, cells = once_more(lambda: self._do(job, stopwatch, progress), self._let_go)
        except BaseException as problem:  # noqa: BLE001 - an adapter may raise anything, KeyboardInterrupt too; its cell fails, the run goes on
            done = failure(problem, started=started, job=job, device=self.device)
        else:
            done = JobOutcome(seconds=0.0, work_seconds=0.0, started=started, clips=clips, cells=cells)
        seconds = time.perf_counter() - clock
        return replace(done, seconds=seconds, work_seconds=stopwatch.seconds, use=taking.end())

    def _do(self, job: Job, stopwatch: Stopwatch, progress: Progress) -> tuple[int, tuple[CellOutcome, ...]]:
        """Do a job. Returns the clips it touched and the cells it finished."""
        if isinstance(job, DecodeJob):
            with stopwatch.running():
                return decode_shard(job.shard), ()
        if isinstance(job, ConditionJob):
            with stopwatch.running():
                return apply_shard(job.shard), ()
        if isinstance(job, EncodeJob):
            with stopwatch.running():
                encoder = self.encoder(job.system)
                seconds = self._batch_seconds or batch_seconds(self.device)
                audio = self._audio.setdefault(job.system.feature_key, AudioBatch(seconds))
                audio.seconds = min(audio.seconds, seconds)
            return encode(job, encoder, stopwatch, progress, seconds=audio), ()
        return job.clips, tuple(fit(job, self.device, stopwatch, progress))

    def encoder(self, system: System) -> Any:
        """Build a system's frozen encoder, or return the one built last when it is the same."""
        if self._encoder[0] != system.feature_key:
            self._encoder = (system.feature_key, build_encoder(system, self.device))
        return self._encoder[1]

    def _let_go(self) -> None:
        """Drop what is kept for the jobs that follow."""
        self._encoder = (None, None)


def failure(
    problem: BaseException, *, started: float, job: Job | None = None, device: str = "cpu"
) -> JobOutcome:
    """What an exception means for its job: a sentence, a traceback for the log, and whether another time may do.

    Args:
        problem: what was raised.
        started: when the job began, seconds since the epoch.
        job: that was being done, where there is one.
        device: on which.
    """
    trace = "".join(traceback.format_exception(problem))[-TRACE_CHARACTERS:]
    if ran_out_of_memory(problem):
        error = memory_sentence(job, device, problem)
    elif isinstance(problem, BenchError):
        error = str(problem)
    else:
        error = f"{type(problem).__name__}: {problem}"
    return JobOutcome(
        seconds=0.0,
        work_seconds=0.0,
        started=started,
        error=error if len(error) <= ERROR_CHARACTERS else error[:ERROR_CHARACTERS] + "…",
        trace=trace,
        needs_server=isinstance(problem, NeedsServer),
        transient=_may_pass(problem),
    )


def _may_pass(problem: BaseException) -> bool:
    """Whether a failure has a cause outside the job: what is missing here, memory, the disk, the network."""
    if isinstance(problem, CannotRun | OSError | EOFError) or ran_out_of_memory(problem):
        return True
    return isinstance(problem.__cause__, OSError)  # the disk, told as a sentence


def build_encoder(system: System, device: str) -> Any:
    """Build a system's frozen encoder from its card."""
    features = system.card.features
    assert features is not None
    if system.environment is not None:
        return separate_encoder(system, device)
    weights = given_weights(features.encoder, system.weights, system.card.weights)
    return build(features.encoder, features.params | weights | {"device": device})


def encode(
    job: EncodeJob,
    encoder: Any,
    stopwatch: Stopwatch,
    progress: Progress,
    *,
    seconds: float | AudioBatch = BATCH_SECONDS,
) -> int:
    """Encode a job's clips in one pass and write one shard.

    Args:
        job: the clips, the system whose encoder it is, and the cache that is written to.
        encoder: that encoder, built; see :class:`bench.protocols.Encoder`.
        stopwatch: counts the time spent in decoder and encoder.
        progress: told of (done, total) clips.
        seconds: of audio that go to the encoder at a time; an :class:`AudioBatch` learns from memory that runs out.

    Returns:
        How many clips went through, those that failed included.
    """
    system = job.system
    assert system.feature_key is not None
    assert system.card.features is not None
    clips = clips_to_encode(job.decoded, job.language)
    spec = system.card.features
    keeps = [Keep(spec.pooled, spec.every), *([Keep(pooled=True)] if job.also_pooled else [])]
    with stopwatch.running():
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


def clips_to_encode(decoded: Sequence[DecodedClip], language: str) -> Clips:
    """Decoded clips of one language, as an encoder is given them."""
    return Clips(
        ids=tuple(d.clip_id for d in decoded),
        pcm_hashes=tuple(d.pcm_hash for d in decoded),
        seconds=np.array([d.samples / SAMPLE_RATE for d in decoded]),
        languages=(language,) * len(decoded),
        read=lambda i: decoded[i].read(),
    )


def quiet_single_thread() -> None:
    """Make numeric libraries use one thread each, so that results do not depend on the machine's core count."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
