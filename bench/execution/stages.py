"""The stages of a run that need workers: decode, condition, encode, fit, serve; and how their outcomes are written down."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench.corpora.decoded import CorpusTable
from bench.errors import CannotRun, DataError
from bench.execution.executors.interface import Executor
from bench.execution.heartbeat import Heartbeat
from bench.execution.inputs import GroupInputs, missing_features
from bench.execution.jobs import ConditionJob, DecodeJob, FitJob, Job, JobOutcome, rate_key
from bench.execution.planning.blocked_work import fit_family
from bench.execution.planning.estimates import Rates, load_rates
from bench.execution.planning.plan import Cell, Group
from bench.execution.prepared_run import PreparedRun
from bench.execution.probe_runs import checked_probe
from bench.execution.progress import Reporter
from bench.execution.schedule import OnDone, Step, run_steps
from bench.execution.vllm_server import Serving, serving_of
from bench.storage.hashing import hash_json
from bench.storage.journal import CellRow, JobRow, Journal
from bench.storage.provenance import code_version
from bench.storage.run_folder import RunFolder


@dataclass
class RunStages:
    """The stages that need workers, and how their outcomes are written down.

    Args:
        prepared: the matrix, its settings and its corpora.
        folder: the run folder, locked by this process.
        journal: of that folder.
        session: name of this session in the journal.
        executor: the workers.
        reporter: told of every stage, job and failure.
        heartbeat: looks at the workers now and then.
        kept: keys of finished cells that are computed again for what failed in them; they stay where that fails.
    """

    prepared: PreparedRun
    folder: RunFolder
    journal: Journal
    session: str
    executor: Executor
    reporter: Reporter
    heartbeat: Heartbeat
    kept: frozenset[str] = frozenset()

    def decode(self, tables: Sequence[CorpusTable]) -> None:
        """Decode what is not decoded yet.

        Raises:
            DataError: of the first shard that failed.
        """
        rates = load_rates(self.prepared.cache)
        jobs = [DecodeJob(t.corpus.card.name, shard) for t in tables for shard in t.missing_shards()]
        errors: list[str] = []

        def on_done(job: Job, outcome: JobOutcome) -> None:
            self._note(job, outcome)
            if outcome.error is not None:
                errors.append(outcome.error)

        self._run("decoding audio", [Step(j, rates.seconds("decode", j.clips)) for j in jobs], on_done)
        if errors:
            raise DataError(errors[0])

    def compute(self, pending: Sequence[Group]) -> None:
        """Put audio through conditions, encode, fit, and ask servers, for the cells that are pending."""
        for card in {g.system.name: g.system.card for g in pending if g.system.card.probe}.values():
            checked_probe(card)
        inputs = GroupInputs(self.prepared.cache / "audio")
        able = self._condition(pending, inputs)
        unserved = self._encode_and_fit(able, inputs)
        self._serve(unserved)

    def _condition(self, pending: Sequence[Group], inputs: GroupInputs) -> list[Group]:
        """Put test clips (and training clips, where asked for) through their conditions. Returns the groups that can go on."""
        rates = load_rates(self.prepared.cache)
        jobs = {
            s.target.samples_path: ConditionJob(g.task.name, s) for g in pending for s in inputs.shards(g)
        }
        missing = [jobs[s.target.samples_path] for s in inputs.missing(pending)]
        broken: dict[Path, JobOutcome] = {}

        def on_done(job: Job, outcome: JobOutcome) -> None:
            self._note(job, outcome)
            if outcome.error is not None and isinstance(job, ConditionJob):
                broken[job.shard.target.samples_path] = outcome

        steps = [Step(j, rates.seconds(f"condition {j.shard.condition}", j.clips)) for j in missing]
        self._run("conditions", steps, on_done)
        able = []
        for group in pending:
            missing_ones = [o for s in inputs.shards(group) if (o := broken.get(s.target.samples_path))]
            if missing_ones:
                why = missing_ones[0]
                self._note(
                    self._fit_job(group, inputs), failed_outcome(str(why.error), transient=why.transient)
                )
            else:
                able.append(group)
        return able

    def _encode_and_fit(self, groups: Sequence[Group], inputs: GroupInputs) -> list[FitJob]:
        """Encode what is missing and fit, each fit after the encoder jobs it waits for. Returns the fits that need a server."""
        rates = load_rates(self.prepared.cache)
        encodes = missing_features(groups, self.prepared.cache, inputs)
        steps = [Step(job, rates.seconds(f"encode {job.system.name}", job.clips)) for job, _ in encodes]
        for group in groups:
            needs = frozenset(i for i, (_, users) in enumerate(encodes) if group.key in users)
            steps.append(Step(self._fit_job(group, inputs), fit_seconds(group, rates), needs))
        unserved: list[FitJob] = []

        def on_done(job: Job, outcome: JobOutcome) -> None:
            if outcome.needs_server and isinstance(job, FitJob) and serving_of_job(job) is not None:
                unserved.append(job)
            else:
                self._note(job, outcome)

        self._run(f"matrix {self.prepared.matrix.name}", steps, on_done)
        return unserved

    def _serve(self, jobs: Sequence[FitJob]) -> None:
        """Start one server after the other, each for the jobs whose replies are missing, and stop it."""
        rates = load_rates(self.prepared.cache)
        by_server: dict[str, tuple[Serving, list[FitJob]]] = {}
        for job in jobs:
            if (serving := serving_of_job(job)) is not None:
                by_server.setdefault(serving.key, (serving, []))[1].append(job)
        for serving, served in by_server.values():
            name = serving.served_name
            self.reporter.note(f"starting a vLLM server for {name}")
            log = self.folder.root / "servers" / f"{_slug(name)}.log"
            with ExitStack() as running:
                try:
                    address = running.enter_context(self.executor.serve(serving, log))
                except CannotRun as error:
                    for job in served:
                        self._note(job, failed_outcome(str(error), transient=True))
                    continue
                asking = [replace(job, server=address) for job in served]
                steps = [Step(job, fit_seconds(job.group, rates)) for job in asking]
                self._run(f"asking {name}", steps, self._note)

    def _run(self, title: str, steps: Sequence[Step], on_done: OnDone) -> None:
        if steps:
            run_steps(
                steps,
                self.executor,
                self.reporter,
                title=title,
                on_done=on_done,
                heartbeat=self.heartbeat,
                together=self.journal.together,
            )

    def _fit_job(self, group: Group, inputs: GroupInputs) -> FitJob:
        matrix, folder = self.prepared.matrix, RunFolder(self.folder.root.absolute())
        return FitJob(
            group,
            tables=folder.tables,
            work=folder.work,
            cache=self.prepared.cache,
            identity={
                "matrix": matrix.name,
                "matrix_hash": matrix.hash,
                "code_version": code_version(),
                "card_hash": hash_json(group.system.card.model_dump(mode="json")),
            },
            max_cost=self.prepared.settings.max_cost,
            conditioned=inputs.conditioned(group),
        )

    def _note(self, job: Job, outcome: JobOutcome) -> None:
        """Write an outcome into the journal, and its traceback into the log."""
        outcome = self._arrived(outcome)
        row = JobRow(
            session=self.session,
            kind=job.kind,
            name=job.name,
            key=rate_key(job),
            clips=outcome.clips,
            seconds=outcome.seconds,
            work_seconds=outcome.work_seconds,
            started=outcome.started,
            error=outcome.error,
        )
        cells = [c for c in _cell_rows(job, outcome) if c.state == "done" or c.cell not in self.kept]
        self.journal.record(cells, row)
        if outcome.error is not None:
            self.reporter.note(f"failed: {job.name}: {outcome.error}")
        for text in filter(None, (outcome.log, outcome.trace)):
            with self.folder.log.open("a", encoding="utf-8") as log:
                log.write(f"\n{job.name}\n{text}")

    def _arrived(self, outcome: JobOutcome) -> JobOutcome:
        """An outcome whose tables are here; else its failure: a worker on another machine wrote them where nobody looks."""
        names = (f"{finished.cell.key}.parquet" for finished in outcome.cells)
        if all((self.folder.tables / name).is_file() for name in names):
            return outcome
        error = (
            f"its worker wrote its tables elsewhere: they are not in {self.folder.tables}. Where the nodes of a cluster do not see "
            "this machine's files, run with --no-shared-files or --exchange"
        )
        return replace(outcome, error=error, transient=True, cells=())


def failed_outcome(error: str, *, transient: bool) -> JobOutcome:
    """Outcome of a job that was not run, since what it needs is not there.

    Args:
        error: why.
        transient: whether another time may do.
    """
    return JobOutcome(seconds=0.0, work_seconds=0.0, started=time.time(), error=error, transient=transient)


def serving_of_job(job: FitJob) -> Serving | None:
    """Return the server that the suite can start for a job."""
    system = job.group.system
    return None if system.card.trained_here else serving_of(system.card, system.weights)


def fit_seconds(group: Group, rates: Rates) -> float:
    """Estimate the core-seconds of a group: a trained system pays for every fit, a probe once for all."""
    family = fit_family(group.system.card)
    return rates.seconds(f"fit {group.system.name}", len(group.data), family=family)


def _cell_rows(job: Job, outcome: JobOutcome) -> list[CellRow]:
    """What a job means for cells: those it finished, or all of a fit that failed."""
    if not isinstance(job, FitJob):
        return []
    if outcome.error is not None:
        return [_cell_row(c, "failed", outcome, of=len(job.group.cells)) for c in job.group.cells]
    of = len(outcome.cells)
    return [
        _cell_row(o.cell, "done", outcome, of=of, table_hash=o.table_hash, notes=o.notes)
        for o in outcome.cells
    ]


def _cell_row(
    cell: Cell,
    state: str,
    outcome: JobOutcome,
    *,
    of: int,
    table_hash: str | None = None,
    notes: str | None = None,
) -> CellRow:
    """A cell as the journal has it; of what its job took, it has an equal share with all ``of`` cells of the job."""
    failed, use = outcome.error is not None, outcome.use
    return CellRow(
        cell=cell.key,
        system=cell.system,
        task=cell.task,
        protocol=cell.regime,
        condition=cell.condition,
        fold=cell.fold_name,
        seed=cell.seed,
        state=state,
        table_hash=table_hash,
        notes=notes,
        error=outcome.error,
        transient=outcome.transient if failed else None,
        seconds=outcome.seconds / of,
        ended=outcome.started + outcome.seconds,
        memory_bytes=use.memory_bytes,
        gpu_memory_bytes=use.gpu_memory_bytes,
        joules=None if use.joules is None else use.joules / of,
    )


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in ".-_" else "-" for c in name)
