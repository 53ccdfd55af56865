"""``serbench merge``: the shards of a matrix become the run that one machine would have made."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench.errors import DataError, UsageError
from bench.execution.driver import run_matrix
from bench.execution.planning.matrix import Matrix, read_matrix
from bench.execution.planning.plan import Cell, RunPlan
from bench.execution.planning.shards import Shard, cells_of_shard, parse_shard
from bench.execution.prepared_run import PreparedRun, RunSettings, RunSummary
from bench.execution.progress import Reporter
from bench.execution.requests import RunRequest, read_request
from bench.scoring.plan_log import joined_plan_logs, read_plan_log, write_plan_log
from bench.storage.atomic import replacing
from bench.storage.hashing import hash_file
from bench.storage.journal import CellRow, Journal
from bench.storage.run_folder import RunFolder, open_run


@dataclass(frozen=True)
class ShardRun:
    """A finished part of a matrix."""

    folder: RunFolder
    shard: Shard
    matrix: Matrix
    request: RunRequest

    @property
    def name(self) -> str:
        """As sentences name it."""
        return f"{self.folder.root} (shard {self.shard})"


def merge_shards(
    runs: Sequence[Path], out: Path, reporter: Reporter, *, data: Sequence[Path] = ()
) -> RunSummary:
    """Put the shards of a matrix together, and score what they make up.

    Nothing is computed: what a shard lacks is named, with the command that brings it. Merging again changes nothing.

    Args:
        runs: the folders of all shards, in any order.
        out: folder of the run they become.
        reporter: told of stages and of whatever a user should know.
        data: folders of prepared corpora; those that the first shard was started with unless given.

    Returns:
        The run, as :func:`bench.execution.driver.run_matrix` has it; its cells count as kept.

    Raises:
        UsageError: a folder is no shard, or the target is one.
        DataError: the shards overlap, differ, are incomplete, or belong to different matrices.
        BenchError: somebody is still working on one of them.
    """
    shards = _opened(runs, out)
    first = shards[0]
    with ExitStack() as held, tempfile.TemporaryDirectory() as temporary:
        for shard in shards:
            held.enter_context(shard.folder.locked())
        path = Path(temporary) / f"{first.matrix.name}.yaml"
        path.write_text(first.matrix.model_dump_json(), encoding="utf-8")
        settings = RunSettings(
            matrix=str(path),
            data=tuple(data) or first.request.data,
            out=out,
            settings=first.request.settings,
            limit=first.request.limit,
            cards_from=first.request.cards_from,
        )

        def adopt(prepared: PreparedRun, plan: RunPlan, journal: Journal) -> None:
            _adopt(shards, prepared, plan, journal)

        return run_matrix(settings, reporter, adopt=adopt)


def _opened(runs: Sequence[Path], out: Path) -> list[ShardRun]:
    """The shards, by number, once they are known to be all the parts of one matrix."""
    opened = sorted((_open(path) for path in runs), key=lambda s: s.shard)
    if any(out.resolve() == s.folder.root.resolve() for s in opened):
        raise UsageError(f"--out {out} is one of the shards; merge into a folder of its own")
    first = opened[0]
    for before, shard in pairwise(opened):
        if shard.shard == before.shard:
            raise DataError(
                f"{before.folder.root} and {shard.folder.root} overlap: both are shard {shard.shard}; name one of them"
            )
    for shard in opened[1:]:
        if (what := _difference(first, shard)) is not None:
            raise DataError(
                f"{first.name} and {shard.name} are no parts of one whole: {what}; run the one that is wrong anew, and merge again"
            )
    missing = sorted(set(range(1, first.shard.of + 1)) - {s.shard.number for s in opened})
    if missing:
        listed = ", ".join(f"{n}/{first.shard.of}" for n in missing[:5]) + (", …" if len(missing) > 5 else "")
        raise DataError(
            f"{len(missing)} of {first.shard.of} shards are not named: {listed}; name their folders too, or compute them with: "
            f"serbench run {first.matrix.name} --shard {missing[0]}/{first.shard.of}"
        )
    return opened


def _open(path: Path) -> ShardRun:
    folder = open_run(path)
    request = read_request(folder)
    if request.shard is None:
        raise UsageError(
            f"{path}: is no shard but a whole run, so it cannot be merged; shards are made with: serbench run MATRIX --shard i/n --out RUN"
        )
    return ShardRun(folder, parse_shard(request.shard), read_matrix(folder), request)


def _difference(one: ShardRun, other: ShardRun) -> str | None:
    """What keeps two shards from being parts of one whole."""
    if one.matrix.hash != other.matrix.hash:
        names = f"{one.matrix.name!r} and {other.matrix.name!r}"
        return (
            f"their matrices are {names}"
            if one.matrix.name != other.matrix.name
            else (
                f"the matrix {one.matrix.name!r} was changed between them ({one.matrix.hash} and {other.matrix.hash})"
            )
        )
    if one.shard.of != other.shard.of:
        return f"the matrix was cut into {one.shard.of} for one and into {other.shard.of} for the other"
    if one.request.limit != other.request.limit:
        return f"their limits are {one.request.limit} and {other.request.limit}"
    if one.request.settings != other.request.settings:
        return "their parameters (--set) are not the same"
    return None


def _adopt(shards: Sequence[ShardRun], prepared: PreparedRun, plan: RunPlan, journal: Journal) -> None:
    """Copy every shard's tables and rows into the run, once they are known to make up the whole."""
    folder = prepared.folder
    cells = {c.key: c for r in plan.records for c in r.cells}
    can_run = {c.key for g in plan.groups for c in g.cells}
    found: dict[str, tuple[ShardRun, CellRow]] = {}
    for shard in shards:
        with Journal(shard.folder.journal) as theirs:
            rows = theirs.cells()
            own = cells_of_shard(plan.records, shard.shard)
            _require_complete(shard, own & can_run, rows, cells)
            for key, row in rows.items():
                before = found.setdefault(key, (shard, row))
                if before[1].state == row.state == "done" and before[1].table_hash != row.table_hash:
                    raise DataError(
                        f"{before[0].name} and {shard.name} overlap: both hold {_words(row)}, and their answers differ; remove one of "
                        "the two folders and compute that shard anew"
                    )
    log = joined_plan_logs({s.name: read_plan_log(s.folder.plan_log) for s in shards})
    write_plan_log(folder, log)
    for shard in shards:
        with Journal(shard.folder.journal) as theirs:
            rows = theirs.cells()
            mine = [r for k, r in rows.items() if found[k][0] is shard and (r.state == "done" or k in cells)]
            for row in mine:
                if row.state == "done":
                    _copy_table(shard.folder, folder, row)
            journal.adopt(mine, theirs.jobs(), theirs.sessions())
        for path in sorted(shard.folder.names.glob("*.json")):
            _copy(path, folder.names / path.name)


def _require_complete(
    shard: ShardRun, own: set[str], rows: Mapping[str, CellRow], cells: Mapping[str, Cell]
) -> None:
    """Raise :class:`DataError` unless a shard holds all of its cells, as this machine's plan has them."""
    lacking = sorted(
        k for k in own if k not in rows or (rows[k].state == "failed" and rows[k].transient is not False)
    )
    if not lacking:
        return
    again = f"serbench run {shard.matrix.name} --shard {shard.shard} --out {shard.folder.root}"
    line = {
        (c.system, c.task, c.regime, c.condition, c.fold_name, c.seed)
        for c in map(cells.__getitem__, lacking)
    }
    elsewhere = [
        r
        for r in rows.values()
        if r.state == "done" and (r.system, r.task, r.protocol, r.condition, r.fold, r.seed) in line
    ]
    if elsewhere:
        raise DataError(
            f"{shard.name}: {len(elsewhere)} of its cells, first {_words(elsewhere[0])}, were computed by other code, packages, weights "
            f"or data than are here; merge where all of it is the same, or compute them again with: {again}"
        )
    failed = [rows[k] for k in lacking if k in rows]
    why = f" (first failure: {failed[0].error})" if failed else ""
    raise DataError(
        f"{shard.name}: is not complete, {len(lacking)} of its cells are missing{why}; go on with: {again}"
    )


def _words(row: CellRow) -> str:
    return f"{row.system} on {row.task}, {row.protocol}, {row.condition}, fold {row.fold}, seed {row.seed}"


def _copy_table(source: RunFolder, target: RunFolder, row: CellRow) -> None:
    """Copy a cell's table with its variants, whose bytes must be those that the journal noted."""
    for part in _parts(source.tables, row.cell):
        if part.stem == row.cell and hash_file(part) != row.table_hash:
            raise DataError(
                f"{part}: is not the table that was written (its hash is another); remove it and run its shard again"
            )
        _copy(part, target.tables / part.name)


def _parts(tables: Path, cell: str) -> Iterator[Path]:
    whole = tables / f"{cell}.parquet"
    if not whole.is_file():
        raise DataError(f"{whole}: is missing, though its cell was computed; run its shard again")
    yield from sorted(tables.glob(f"{cell}.*.parquet"))  # variants
    yield whole


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
