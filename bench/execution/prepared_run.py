"""A run before its first job: what was asked for, which corpora are at hand, which plan follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from bench.cards.caution import Caution
from bench.cards.corpus import Protocol
from bench.cards.registry import PATTERN, system_faults
from bench.corpora.decoded import CorpusTable, open_table
from bench.corpora.duplicates import DecodedCorpus, duplicate_warnings, find_duplicates
from bench.corpora.prepared import PreparedCorpus, data_folders, find_corpora
from bench.corpora.synthetic import write_synthetic_corpus
from bench.errors import BenchError, DataError, UsageError
from bench.execution.executors.interface import WorkerLimits
from bench.execution.fitting import check_buildable
from bench.execution.planning.cells import make_plan
from bench.execution.planning.expansion import (
    MatrixRow,
    TasksAtHand,
    dead_patterns,
    expand,
    filter_rows,
)
from bench.execution.planning.matrix import load_matrix
from bench.execution.planning.plan import RunPlan
from bench.execution.planning.shards import Shard
from bench.storage.journal import CellRow
from bench.storage.run_folder import RunFolder, cache_folder
from bench.tasks import Task, build_task
from bench.tasks.transfer import Candidate

ExecutorName = Literal["local", "ray"]


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
    executor: ExecutorName = "local"
    ray_address: str | None = None
    """Of a Ray cluster; None: the one that this machine belongs to, else a cluster of this machine alone."""
    shared_files: bool = True
    """Whether the nodes of the Ray cluster see the run's folder, the cache and the weights under the driver's paths."""
    exchange: str | None = None
    """Address that fsspec knows, by which files travel where the nodes do not see them; None: Ray's object store."""
    limits: WorkerLimits = field(default_factory=WorkerLimits)
    """Beyond which a worker is stopped."""
    shard: Shard | None = None
    """Of the matrix, the part that is computed here; the rest is computed elsewhere and merged."""
    retry_failed: bool = False
    """Try cells again whose failure another time will not mend, as far as anybody can tell."""
    cards_from: Path | None = None
    """Where the matrix's relative card paths start, when it is not the matrix file's own folder."""

    def __post_init__(self) -> None:
        """Refuse what would have no effect, or could not be: before anything is planned."""
        for_ray = {
            f"--ray-address {self.ray_address}": self.ray_address is not None,
            f"--exchange {self.exchange}": self.exchange is not None,
            "--no-shared-files": not self.shared_files,
        }
        if self.executor == "local" and (
            given := [option for option, is_given in for_ray.items() if is_given]
        ):
            raise UsageError(
                f"{' and '.join(given)} is for --executor ray, whose nodes are other machines: add that, or leave it out"
            )
        if self.out is not None and self.out.is_file():
            raise UsageError(f"{self.out}: is a file; name a folder with --out")


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


class PreparedRun:
    """A matrix with the corpora it will run on, before any audio is decoded."""

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        self.matrix, folder = load_matrix(settings.matrix)
        self.base = settings.cards_from or folder
        self.cache = cache_folder().absolute()
        corpora, self.notes = self._corpora()
        self.tables = self._open(corpora)
        self.shared: dict[str, list[str]] = {}
        suffix = f"-limit{settings.limit}" if settings.limit is not None else ""
        suffix += f"-shard{settings.shard.number}of{settings.shard.of}" if settings.shard else ""
        self.folder = RunFolder(settings.out or Path("runs") / (self.matrix.name + suffix))

    def _corpora(self) -> tuple[list[PreparedCorpus], list[str]]:
        # Jobs name their files to workers that may have another working folder.
        folders = [folder.absolute() for folder in data_folders(self.settings.data)]
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

    def _open(self, corpora: Sequence[PreparedCorpus]) -> dict[str, CorpusTable]:
        """The tables of the corpora; one that cannot be read is left out, and said so, where others are left."""
        tables: dict[str, CorpusTable] = {}
        faults: list[BenchError] = []
        for corpus in corpora:
            try:
                tables[corpus.card.name] = open_table(corpus, self.cache)
            except (DataError, UsageError) as error:
                faults.append(error)
        if faults and not any(not t.corpus.card.synthetic for t in tables.values()):
            raise faults[0]
        self.notes += [f"left out: {error}" for error in faults]
        return tables

    def matrix_rows(self, *, fetch: bool) -> tuple[list[MatrixRow], list[MatrixRow]]:
        """Expand the matrix: everything it means here, and the part that ``--only`` keeps."""
        offered = [(t.corpus.card.synthetic, name) for t in self.tables.values() for name in t.task_names]
        tasks = TasksAtHand(
            recorded=tuple(name for synthetic, name in offered if not synthetic),
            synthetic=tuple(name for synthetic, name in offered if synthetic),
        )
        everything = expand(self.matrix, tasks, base=self.base, settings=self.settings.settings, fetch=fetch)
        unsaid = {row.system.name: row.system.card.unsaid_weights for row in everything}
        said = [*dead_patterns(self.matrix, tasks), *filter(None, unsaid.values())]
        self.notes += [n for n in said if n not in self.notes]
        if any(set(name) & PATTERN for entry in self.matrix.entries for name in entry.systems):
            self.notes += [f"no pattern means what cannot be read: {fault}" for fault in system_faults()]
        for system in {row.system.name: row.system for row in everything}.values():
            if (
                system.name in self.settings.settings
            ):  # a card's own parameters are checked where they are built
                check_buildable(system)
        if not everything:
            raise UsageError(
                f"the matrix {self.matrix.name!r} names no task that the corpora at hand offer: {', '.join(tasks.names)}"
            )
        return everything, filter_rows(everything, self.settings.only)

    def plan(self, rows: Iterable[MatrixRow], *, forecast: bool = False) -> RunPlan:
        """Build the tasks (their audio must be decoded, but for a forecast) and lay out the cells."""
        built: dict[tuple[str, Protocol], Task] = {}

        def task_of(name: str, protocol: Protocol) -> Task:
            if (name, protocol) not in built:
                corpus = name.partition("@")[0].rpartition(".")[0]
                task = build_task(
                    self.tables[corpus], name, protocol, limit=self.settings.limit, forecast=forecast
                )
                shared = [
                    Caution(text=text, badge="shared recordings") for text in self.shared.get(corpus, ())
                ]
                built[name, protocol] = replace(task, warnings=(*task.warnings, *shared))
            return built[name, protocol]

        candidates = [Candidate(name, t.corpus.card) for t in self.tables.values() for name in t.task_names]
        return make_plan(self.matrix, rows, task_of, candidates)

    def compare_corpora(self, tables: Sequence[CorpusTable]) -> list[str]:
        """Look for recordings that stand in several of the decoded corpora: warned about on their tasks, and returned."""
        corpora = [DecodedCorpus.of(t) for t in tables if not t.corpus.card.synthetic]
        if len(corpora) < 2:
            return []
        across = [d for d in find_duplicates(corpora, self.cache) if len(set(d.corpora)) == 2]
        self.shared = duplicate_warnings(corpora, across)
        return list(dict.fromkeys(w for warnings in self.shared.values() for w in warnings))

    def corpora_of(self, rows: Sequence[MatrixRow]) -> list[CorpusTable]:
        """Return the corpora that some row reads; a transfer may read all of them."""
        names = {w.task.partition("@")[0].rpartition(".")[0] for w in rows}
        if any(w.training for w in rows):
            names = set(self.tables)
        return [t for name, t in self.tables.items() if name in names]
