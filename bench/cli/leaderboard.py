"""``serbench leaderboard``: publish a run, check what is published, take a record back, build the board."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.cli.printing import console, print_json, print_table
from bench.errors import DataError
from bench.leaderboard import Board, Validation, add_run, retract, validate
from bench.leaderboard.validation import BADGES
from bench.storage.run_folder import cache_folder


def add(
    run: Path, results: Path, name: str | None, *, tables: bool, data: tuple[Path, ...], as_json: bool
) -> None:
    """Publish a run.

    Args:
        run: folder of a run.
        results: folder of published records.
        name: folder among them; None: the run's own name.
        tables: publish the prediction tables, too.
        data: folders of prepared corpora, for records whose names have to be made anew.
        as_json: print JSON instead of tables.
    """
    added = add_run(run, Board(results), name, tables=tables, data=data)
    if as_json:
        print_json(
            {
                "publication": added.publication.name,
                "folder": str(added.publication.folder.root),
                "published": list(added.published),
                "left_out": added.left_out,
            }
        )
        return
    for stem, reason in sorted(added.left_out.items()):
        print(f"not published: {stem}: {reason}", file=sys.stderr)
    console().print(
        f"{len(added.published)} record(s) published in {added.publication.folder.root}; check them with: "
        f"serbench leaderboard validate --results {results}",
        soft_wrap=True,
    )


def check(results: Path, data: tuple[Path, ...], *, as_json: bool) -> int:
    """Validate published records and list them with their badges.

    Args:
        results: folder of published records.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        as_json: print JSON instead of tables.

    Returns:
        The exit code: 0 when nothing is refused, else 1.
    """
    found = validate(Board(results), data, cache=checked_folder())
    if as_json:
        print_json(
            {"records": [r.as_json() for r in found.records], "problems": [p.as_json() for p in found.problems]}
        )  # fmt: skip
    else:
        _print(found)
    return 1 if found.problems else 0


def checked_folder() -> Path:
    """Where it is remembered which records were checked."""
    return cache_folder() / "board" / "checked"


def _print(found: Validation) -> None:
    print_table(
        "",
        ("publication", "system", "task", "protocol", "condition", "checked", "remark"),
        [
            (r.publication, r.record.system, r.record.task, r.record.regime, r.record.facts.condition, r.badge, remark(r.imported, r.retracted))
            for r in found.records
        ],
    )  # fmt: skip
    shown = {r.badge for r in found.records}
    for badge, meaning in BADGES.items():
        if badge in shown:
            console().print(f"{badge}: {meaning}", soft_wrap=True)
    for problem in found.problems:
        print(f"refused: {problem.sentence}", file=sys.stderr)
    holding = f"{len(found.records)} record(s) hold"
    console().print(
        f"{holding}, {len(found.problems)} problem(s)" if found.problems else f"{holding}, nothing is refused"
    )


def remark(imported: bool, retracted: str) -> str:
    """What must stand beside a record."""
    words = ["imported"] if imported else []
    return ", ".join(words + ([f"retracted: {retracted}"] if retracted else []))


def take_back(record: str, results: Path, why: str, *, as_json: bool) -> None:
    """Retract a record.

    Args:
        record: publication and record, ``NAME/RECORD``, as validate lists them.
        results: folder of published records.
        why: the reason that stands beside it from now on.
        as_json: print JSON instead of tables.
    """
    publication = retract(Board(results), record, why)
    if as_json:
        print_json({"publication": publication.name, "retracted": publication.retractions()})
    else:
        console().print(
            f"marked in {publication.retractions_path}; the record itself is kept", soft_wrap=True
        )


def require_sound(found: Validation) -> None:
    """Raise :class:`DataError` with the first problem, if there is one."""
    if found.problems:
        more = (
            f" (and {len(found.problems) - 1} more: serbench leaderboard validate)"
            if len(found.problems) > 1
            else ""
        )
        raise DataError(found.problems[0].sentence + more)


def build(results: Path, out: Path, data: tuple[Path, ...], *, as_json: bool) -> None:
    """Build the site of a board, unless something in it is refused.

    Args:
        results: folder of published records.
        out: folder of the site.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        as_json: print JSON instead of tables.

    Raises:
        DataError: a record is refused; the sentence says which and why.
    """
    from bench.leaderboard.cache import ComparisonCache
    from reports.pages.board import write_board

    board = Board(results)
    found = validate(board, data, cache=checked_folder())
    require_sound(found)
    tests = ComparisonCache(cache_folder() / "board" / "comparisons")
    index = write_board(found, board, out, tests, cache_folder() / "board" / "pages")
    if as_json:
        print_json(
            {"index": str(index), "records": len(found.standing), "retracted": len(found.records) - len(found.standing),
             "families_tested": tests.tested, "families_remembered": tests.remembered}
        )  # fmt: skip
    else:
        console().print(str(index), soft_wrap=True)


def export(run: Path, out: Path) -> None:
    """Write a run's scores in every form."""
    from bench.scoring.rescoring import rescore
    from reports.data.comparisons import compare_systems
    from reports.exports import write_exports

    records = [c.record for c in rescore(run)]
    if not records:
        raise DataError(f"{run}: holds no record yet; let serbench run finish a system on a task first")
    for path in write_exports(records, compare_systems(records), out):
        console().print(str(path), soft_wrap=True)
