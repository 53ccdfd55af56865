"""The stages of a run that need workers: decode, condition, encode, fit, serve; and how their outcomes are written down."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.corpora.decoded import CorpusTable
from bench.errors import CannotRun, DataError
from bench.execution.inputs import GroupInputs, missing_features
from bench.execution.jobs import ConditionJob, DecodeJob, EncodeJob, FitJob, Job, JobOutcome
from bench.execution.planning.estimates import Rates, load_rates
from bench.execution.planning.plan import Cell, Group
from bench.execution.pool import Pool
from bench.execution.prepared_run import PreparedRun
from bench.execution.probe_runs import checked_probe
from bench.execution.progress import Reporter
from bench.execution.schedule import Step, run_steps
from bench.execution.vllm_server import Server, Serving, serving_of
from bench.storage.hashing import hash_json
from bench.storage.journal import CellRow, JobRow, Journal
from bench.storage.provenance import code_version
from bench.storage.run_folder import RunFolder


@dataclass
class RunStages:
    """The stages that need workers, and how their outcomes are written down."""

    prepared: PreparedRun
    folder: RunFolder
    journal: Journal
    session: str
    pool: Pool
    watch: Reporter

    def decode(self, tables: Sequence[CorpusTable]) -> None:
        """Decode what is not decoded yet."""
        jobs = [DecodeJob(t.corpus.card.name, shard) for t in tables for shard in t.missing_shards()]
        rates = load_rates(self.prepared.cache)
        steps = [Step(j, rates.seconds("decode", j.clips)) for j in jobs]
        errors: list[str] = []
        if steps:
            run_steps(
                steps, self.pool, self.watch, "decoding audio", lambda job, out: self._note(job, out, errors)
            )
        if errors:
            raise DataError(errors[0])

    def compute(self, pending: Sequence[Group]) -> None:
        """Encode and fit what is pending."""
        if not pending:
            return
        for card in {g.system.name: g.system.card for g in pending if g.system.card.probe}.values():
            checked_probe(card)
        hearing = GroupInputs(self.prepared.cache / "audio")
        pending = self._condition(pending, hearing)
        encodes = missing_features(pending, self.prepared.cache, hearing)
        rates = load_rates(self.prepared.cache)
        steps = [Step(job, rates.seconds(f"encode {job.system.name}", job.clips)) for job, _ in encodes]
        matrix = self.prepared.matrix
        facts: dict[str, str] = {
            "matrix": matrix.name,
            "matrix_hash": matrix.hash,
            "code_version": code_version(),
        }
        for group in pending:
            needs = frozenset(i for i, (_, users) in enumerate(encodes) if group.key in users)
            identity = facts | {"card_hash": hash_json(group.system.card.model_dump(mode="json"))}
            job = self._fit_job(group, identity, hearing)
            steps.append(Step(job, fit_seconds(group, rates), needs))
        unserved: list[FitJob] = []

        def end(job: Job, outcome: JobOutcome) -> None:
            if outcome.needs_server and isinstance(job, FitJob) and serving(job) is not None:
                unserved.append(job)
            else:
                self._note(job, outcome, [])

        run_steps(steps, self.pool, self.watch, f"matrix {matrix.name}", end)
        self._serve(unserved, rates)

    def _serve(self, jobs: Sequence[FitJob], rates: Rates) -> None:
        """Start one server after the other, each for the jobs whose replies are missing, and stop it."""
        by_server: dict[str, tuple[Serving, list[FitJob]]] = {}
        for job in jobs:
            if (server_of := serving(job)) is not None:
                by_server.setdefault(server_of.key, (server_of, []))[1].append(job)
        for wanted, served in by_server.values():
            self.watch.note(f"starting a vLLM server for {wanted.served_name}")
            try:
                server = Server.start(
                    wanted, self.folder.root / "servers" / f"{_slug(wanted.served_name)}.log"
                )
            except CannotRun as error:
                for job in served:
                    self._note(job, JobOutcome(0.0, 0.0, time.time(), error=str(error)), [])
                continue
            with server:
                steps = [
                    Step(replace(job, server=server.address), fit_seconds(job.group, rates)) for job in served
                ]
                run_steps(
                    steps,
                    self.pool,
                    self.watch,
                    f"asking {wanted.served_name}",
                    lambda job, out: self._note(job, out, []),
                )

    def _fit_job(self, group: Group, identity: dict[str, str], hearing: GroupInputs) -> FitJob:
        cache = self.prepared.cache
        limit = self.prepared.settings.max_cost
        heard = hearing.heard(group)
        return FitJob(
            group, self.folder.tables, self.folder.work, cache, identity, max_cost=limit, heard=heard
        )

    def _condition(self, pending: Sequence[Group], hearing: GroupInputs) -> list[Group]:
        """Put test clips (and training clips, where asked for) through their conditions. Returns the groups that can go on."""
        shards = {
            s.target.samples_path: ConditionJob(g.task.name, s) for g in pending for s in hearing.shards(g)
        }
        jobs = [shards[s.target.samples_path] for s in hearing.missing(pending)]
        rates = load_rates(self.prepared.cache)
        steps = [Step(j, rates.seconds(f"condition {j.shard.condition}", j.clips)) for j in jobs]
        broken: dict[Path, str] = {}

        def end(job: Job, outcome: JobOutcome) -> None:
            self._note(job, outcome, [])
            if outcome.error is not None and isinstance(job, ConditionJob):
                broken[job.shard.target.samples_path] = outcome.error

        if steps:
            run_steps(steps, self.pool, self.watch, "conditions", end)
        able = []
        for group in pending:
            errors = [e for s in hearing.shards(group) if (e := broken.get(s.target.samples_path))]
            if errors:
                failed = JobOutcome(0.0, 0.0, time.time(), error=errors[0])
                self._note(self._fit_job(group, {}, hearing), failed, [])
            else:
                able.append(group)
        return able

    def _note(self, job: Job, outcome: JobOutcome, errors: list[str]) -> None:
        """Write an outcome into the journal, and its traceback into the log."""
        cells: list[CellRow] = []
        key = "decode"
        if isinstance(job, ConditionJob):
            key = f"condition {job.shard.condition}"
        elif isinstance(job, EncodeJob):
            key = f"encode {job.system.name}"
        elif isinstance(job, FitJob):
            key = f"fit {job.group.system.name}"
            cells = [_cell_row(o.cell, "done", o.table_hash, o.notes, None) for o in outcome.cells]
            if outcome.error is not None:
                cells = [_cell_row(c, "failed", None, None, outcome.error) for c in job.group.cells]
        row = JobRow(
            self.session,
            job.kind,
            job.name,
            key,
            outcome.clips,
            outcome.seconds,
            outcome.work_seconds,
            outcome.started,
            outcome.error,
        )
        self.journal.record(cells, row)
        if outcome.error is not None:
            errors.append(outcome.error)
            self.watch.note(f"failed: {job.name}: {outcome.error}")
        if outcome.trace is not None:
            with self.folder.log.open("a", encoding="utf-8") as log:
                log.write(f"\n{job.name}\n{outcome.trace}")


def serving(job: FitJob) -> Serving | None:
    """Return the server that the suite can start for a job."""
    system = job.group.system
    return serving_of(system.card, system.weights)


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in ".-_" else "-" for c in name)


def fit_seconds(group: Group, rates: Rates) -> float:
    """Estimate the core-seconds of a group: a trained system pays for every fit, a probe once for all."""
    return rates.seconds(f"fit {group.system.name}", len(group.material), family=group.system.card.family)


def _cell_row(
    cell: Cell, state: str, table_hash: str | None, notes: str | None, error: str | None
) -> CellRow:
    identity = (cell.key, cell.system, cell.task, cell.regime, cell.condition, cell.fold_name, cell.seed)
    return CellRow(*identity, state, table_hash, notes, error)
