"""Running a matrix: find, decode, plan, encode, fit, score. Every stage keeps what is finished and skips it next time."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.cards.corpus import Protocol
from bench.corpora.decoded import CorpusTable, open_table
from bench.corpora.duplicates import HeardCorpus, duplicate_warnings, find_duplicates
from bench.corpora.prepared import PreparedCorpus, data_folders, find_corpora
from bench.corpora.synthetic import write_synthetic_corpus
from bench.corpora.verification import remember_hashes
from bench.devices import worker_devices
from bench.errors import CannotRun, DataError, UsageError
from bench.estimates import Rates, load_rates, save_rates
from bench.execution.hearing import Hearing, missing_features
from bench.execution.jobs import ConditionJob, DecodeJob, EncodeJob, FitJob, Job, JobOutcome
from bench.execution.pool import Pool
from bench.execution.probing import checked_probe
from bench.execution.progress import Reporter
from bench.execution.schedule import Step, run_steps
from bench.execution.scoring_stage import score_plan
from bench.layout import make_plan
from bench.matrix import load_matrix
from bench.plan import Cell, Group, RunPlan, Wanted, expand, filter_wanted
from bench.serving import Server, Serving, serving_of
from bench.storage.atomic import write_json
from bench.storage.hashing import hash_file, hash_json
from bench.storage.journal import CellRow, JobRow, Journal
from bench.storage.provenance import code_version, machine_facts, sidecar
from bench.storage.run_folder import RunFolder, cache_folder
from bench.tasks import Task, build_task
from bench.tasks.transfer import Candidate


@dataclass(frozen=True)
class RunSettings:
    """What ``serbench run`` was asked to do."""

    matrix: str
    data: tuple[Path, ...] = ()
    out: Path | None = None
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    device: str = "auto"
    workers: int | None = None
    batch_seconds: float | None = None
    """Seconds of audio an encoder gets at a time; None: by the device's free memory."""
    limit: int | None = None
    max_cost: float | None = None
    """What the replies of paid models may cost, per system and task, in the currency of their cards' prices."""
    cards_from: Path | None = None
    """Where the matrix's relative card paths start, when it is not the matrix file's own folder."""


@dataclass(frozen=True)
class RunSummary:
    """How a run ended."""

    folder: RunFolder
    computed: int
    kept: int
    failed: tuple[CellRow, ...]
    blocked: Mapping[str, str]
    refused: Mapping[str, str]
    """Records whose task cannot be built, with the reason."""
    notes: tuple[str, ...]
    wall_seconds: float


class Prepared:
    """A matrix with the corpora it will run on, before any audio is decoded."""

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        self.matrix, folder = load_matrix(settings.matrix)
        self.base = settings.cards_from or folder
        self.cache = cache_folder()
        corpora, self.notes = self._corpora()
        self.tables = {c.card.name: open_table(c, self.cache) for c in corpora}
        self.shared: dict[str, list[str]] = {}
        suffix = f"-limit{settings.limit}" if settings.limit is not None else ""
        self.folder = RunFolder(settings.out or Path("runs") / (self.matrix.name + suffix))

    def _corpora(self) -> tuple[list[PreparedCorpus], list[str]]:
        folders = data_folders(self.settings.data)
        corpora, notes = find_corpora(folders) if folders else ([], [])
        if self.matrix.synthetic == "always" or (self.matrix.synthetic == "when_alone" and not corpora):
            folder = self.cache / "corpora" / "synthetic"
            write_synthetic_corpus(folder)
            # A generated corpus of one's own, of that name, is the one that was asked for.
            own = {c.card.name for c in corpora}
            corpora += [c for c in find_corpora([folder])[0] if c.card.name not in own]
            if not folders:
                notes.append(
                    "no prepared corpus named (--data, SERBENCH_DATA): running on the built-in synthetic corpus; its results say nothing about speech"
                )
        if not corpora:
            raise DataError("no prepared corpus at hand: name folders with --data or SERBENCH_DATA")
        return corpora, notes

    def wanted(self, *, fetch: bool) -> tuple[list[Wanted], list[Wanted]]:
        """Expand the matrix: everything it means here, and the part that ``--only`` keeps."""
        names: dict[bool, list[str]] = {True: [], False: []}
        for table in self.tables.values():
            names[table.corpus.card.synthetic] += table.task_names
        everything = expand(
            self.matrix, self.base, names[False], names[True], self.settings.settings, fetch=fetch
        )
        if not everything:
            raise UsageError(
                f"the matrix {self.matrix.name!r} names no task that the corpora at hand offer: {', '.join(names[False] + names[True])}"
            )
        return everything, filter_wanted(everything, self.settings.only)

    def plan(self, wanted: Iterable[Wanted], *, forecast: bool = False) -> RunPlan:
        """Build the tasks (their audio must be decoded, but for a forecast) and lay out the cells."""
        built: dict[tuple[str, Protocol], Task] = {}

        def task_of(name: str, protocol: Protocol) -> Task:
            if (name, protocol) not in built:
                corpus = name.partition("@")[0].rpartition(".")[0]
                task = build_task(
                    self.tables[corpus], name, protocol, limit=self.settings.limit, forecast=forecast
                )
                shared = tuple(self.shared.get(corpus, ()))
                built[name, protocol] = replace(task, warnings=(*task.warnings, *shared))
            return built[name, protocol]

        candidates = [Candidate(name, t.corpus.card) for t in self.tables.values() for name in t.task_names]
        return make_plan(self.matrix, wanted, task_of, candidates)

    def compare_corpora(self, tables: Sequence[CorpusTable]) -> list[str]:
        """Look for recordings that stand in several of the decoded corpora: warned about on their tasks, and returned."""
        heard = [HeardCorpus.of(t) for t in tables if not t.corpus.card.synthetic]
        if len(heard) < 2:
            return []
        across = [d for d in find_duplicates(heard, self.cache) if len(set(d.corpora)) == 2]
        self.shared = duplicate_warnings(heard, across)
        return list(dict.fromkeys(w for warnings in self.shared.values() for w in warnings))

    def corpora_of(self, wanted: Sequence[Wanted]) -> list[CorpusTable]:
        """Return the corpora that some wanted task reads; a transfer may read all of them."""
        names = {w.task.partition("@")[0].rpartition(".")[0] for w in wanted}
        if any(w.training for w in wanted):
            names = set(self.tables)
        return [t for name, t in self.tables.items() if name in names]


def run_matrix(settings: RunSettings, watch: Reporter) -> RunSummary:
    """Run a matrix to the end, or go on with it, and score what is complete."""
    started = time.perf_counter()
    prepared = Prepared(settings)
    devices = worker_devices(settings.device, settings.workers)
    everything, chosen = prepared.wanted(fetch=True)
    folder = prepared.folder
    for note in prepared.notes:
        watch.note(note)
    with folder.locked(), Journal(folder.journal) as journal:
        session = uuid.uuid4().hex
        facts = machine_facts(devices) | {"batch_seconds": settings.batch_seconds or "automatic"}
        journal.begin(session, len(devices), json.dumps(facts))
        with Pool(devices, folder.log, settings.batch_seconds) as pool:
            work = Work(prepared, folder, journal, session, pool, watch)
            work.decode(prepared.corpora_of(everything))
            for table in prepared.corpora_of(everything):
                remember_hashes(table, prepared.cache)
            for note in prepared.compare_corpora(prepared.corpora_of(everything)):
                watch.note(note)
            plan = prepared.plan(everything)
            _remember_matrix(folder, prepared, plan)
            done = finished_cells(journal, folder, plan)
            keep = {(*w.identity, condition) for w in chosen for condition in w.conditions}
            kept = {c.key for g in plan.groups for c in g.cells if (*c.identity, c.condition) in keep}
            pending = [g for g in (group.only(kept - set(done)) for group in plan.groups) if g.cells]
            work.compute(pending)
        done = finished_cells(journal, folder, plan)
        score_plan(plan, folder, done, watch.note)
        wall = time.perf_counter() - started
        journal.end(session, wall)
        write_json(folder.sidecar, sidecar(journal.sessions(), journal.jobs()))
        save_rates(prepared.cache, (j for j in journal.jobs() if j.session == session))
        asked = {c.key for r in plan.records for c in r.cells} & kept
        failed = tuple(row for row in journal.cells().values() if row.state == "failed" and row.cell in asked)
    blocked = {w.system.name: w.system.blocked for w in chosen if w.system.blocked is not None}
    computed = sum(len(g.cells) for g in pending) - len(failed)
    return RunSummary(
        folder,
        max(computed, 0),
        len(done) - max(computed, 0),
        failed,
        blocked,
        plan.refused,
        tuple(prepared.notes),
        wall,
    )


@dataclass
class Work:
    """The stages that need workers, and how their outcomes are written down."""

    prepared: Prepared
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
        hearing = Hearing(self.prepared.cache / "audio")
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

    def _fit_job(self, group: Group, identity: dict[str, str], hearing: Hearing) -> FitJob:
        cache = self.prepared.cache
        limit = self.prepared.settings.max_cost
        heard = hearing.heard(group)
        return FitJob(
            group, self.folder.tables, self.folder.work, cache, identity, max_cost=limit, heard=heard
        )

    def _condition(self, pending: Sequence[Group], hearing: Hearing) -> list[Group]:
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


def finished_cells(journal: Journal, folder: RunFolder, plan: RunPlan) -> dict[str, CellRow]:
    """Return the planned cells that are done: in the journal, with a table whose bytes are the ones it notes."""
    planned = {c.key for r in plan.records for c in r.cells}
    done = {}
    for key, row in journal.cells().items():
        if key in planned and row.state == "done":
            path = folder.tables / f"{key}.parquet"
            if path.is_file() and hash_file(path) == row.table_hash:
                done[key] = row
    return done


def _remember_matrix(folder: RunFolder, prepared: Prepared, plan: RunPlan) -> None:
    described: dict[str, Any] = {
        "matrix": prepared.matrix.model_dump(mode="json"),
        "matrix_hash": prepared.matrix.hash,
        "limit": prepared.settings.limit,
        "corpora": sorted(prepared.tables),
        "records": sorted({r.stem for r in plan.records} | set(plan.refused)),
        "refused": dict(plan.refused),
        "blocked": {r.system.name: r.system.blocked for r in plan.records if r.system.blocked},
    }
    write_json(folder.matrix, described)
    places = {name: str(t.corpus.folder.resolve()) for name, t in prepared.tables.items()}
    write_json(folder.data, places)
    settings = prepared.settings
    asked = {
        "cards_from": str(prepared.base.resolve()),
        "data": [str(path.resolve()) for path in data_folders(settings.data)],
        "limit": settings.limit,
        "settings": {
            name: {key: value for key, value in given.items() if key != "server"}
            for name, given in settings.settings.items()
        },
    }
    write_json(folder.asked, asked)


def _cell_row(
    cell: Cell, state: str, table_hash: str | None, notes: str | None, error: str | None
) -> CellRow:
    identity = (cell.key, cell.system, cell.task, cell.regime, cell.condition, cell.fold_name, cell.seed)
    return CellRow(*identity, state, table_hash, notes, error)
