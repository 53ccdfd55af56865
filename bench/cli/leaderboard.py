"""``serbench leaderboard``: publish a run, check what is published, take a record back, build the board."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.cli.printing import console, print_json, print_table
from bench.errors import DataError
from bench.leaderboard import Added, Board, Validation, add_run, attest, retract, submit, validate
from bench.leaderboard.attesting import require_name
from bench.leaderboard.plan_evidence import published_plan_words
from bench.leaderboard.registration import MEANING, PRE_REGISTERED
from bench.leaderboard.studies import check_studies
from bench.leaderboard.validation import BADGES, BoardRecord
from bench.scoring.outcomes import RecordOutcome, count_outcomes, outcome_words
from bench.storage.run_folder import cache_folder


def add(
    run: Path,
    results: Path,
    name: str | None,
    *,
    tables: bool,
    only: str,
    owner: str | None,
    attest_as: str | None,
    data: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Publish a run.

    Args:
        run: folder of a run.
        results: folder of published records.
        name: folder among them; None: the run's own name.
        tables: publish the prediction tables, too.
        only: which records, ``system=…,task=…``; blank for all.
        owner: put before the names of systems that are not the suite's own.
        attest_as: who vouches for the labels, where the corpora are at hand; None: nobody.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        as_json: print JSON instead of tables.
    """
    if owner is not None:
        require_name(owner)
    from bench.cli.running import parse_only  # with all of the engine behind it

    added = add_run(
        run,
        Board(results),
        name,
        tables=tables,
        only=parse_only([only] if only else []),
        owner=owner or "",
        data=data,
    )
    attested: tuple[str, ...] = ()
    if attest_as is not None:
        made = attest(Board(results), attest_as, [added.publication.name], data)
        attested = made.records[added.publication.name]
    if as_json:
        print_json(
            {
                "publication": added.publication.name,
                "folder": str(added.publication.folder.root),
                "published": list(added.published),
                "left_out": added.left_out,
                "skipped": added.skipped,
                "attested": list(attested),
                "outcomes": [vars(o) for o in added.outcomes],
                "superseded": list(added.superseded),
            }
        )
        return
    _print_kept_back(added)
    if added.superseded:
        console().print(
            f"{len(added.superseded)} earlier record(s) kept in {added.publication.folder.superseded}",
            soft_wrap=True,
        )
    console().print(
        f"{len(added.published)} record(s) published in {added.publication.folder.root}; check them with: "
        f"serbench leaderboard validate --results {results}",
        soft_wrap=True,
    )
    _print_outcomes(added.outcomes)


def _print_outcomes(outcomes: Sequence[RecordOutcome]) -> None:
    """Say how much of what was planned is published, and why the rest is not."""
    console().print(f"of the records planned, {outcome_words(outcomes, 'published')}", soft_wrap=True)
    for c in count_outcomes(outcomes):
        if c.reason:
            console().print(f"  {c.records} {c.state}: {', '.join(c.systems)}: {c.reason}", soft_wrap=True)


def _print_kept_back(added: Added) -> None:
    for stem, reason in sorted(added.skipped.items()):
        print(f"skipped: {stem}: {reason}", file=sys.stderr)
    for stem, reason in sorted(added.left_out.items()):
        print(f"not published: {stem}: {reason}", file=sys.stderr)


def vouch(records: tuple[str, ...], results: Path, by: str, data: tuple[Path, ...], *, as_json: bool) -> None:
    """Count published records again and vouch for those that hold.

    Args:
        records: ``NAME/RECORD`` or names of publications; all whose corpus is at hand without any.
        results: folder of published records.
        by: who vouches.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        as_json: print JSON instead of tables.
    """
    made = attest(Board(results), by, records, data)
    if as_json:
        print_json(
            {"by": by, "attested": made.records, "files": list(map(str, made.paths)), "left_out": made.left_out}
        )  # fmt: skip
        return
    for place, reason in sorted(made.left_out.items()):
        print(f"not attested: {place}: {reason}", file=sys.stderr)
    listed = Board(results).rules.attesters
    console().print(
        f"{sum(map(len, made.records.values()))} record(s) attested by {by} in {', '.join(map(str, made.paths))}"
        + ("" if by in listed else f"; they count once board.yaml lists {by} under attesters"),
        soft_wrap=True,
    )


def send(
    run: Path,
    results: Path,
    by: str,
    *,
    name: str | None,
    only: str,
    link: str,
    data: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Put a run's own records on the board of a checkout and print what is left to do.

    Args:
        run: folder of a run.
        results: folder of published records, in the checkout.
        by: who sends them.
        name: of the publication; None: the sender's and the matrix's.
        only: which records, ``system=…,task=…``; blank for all.
        link: where more is told, https.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        as_json: print JSON instead of tables.
    """
    from bench.cli.running import parse_only

    sent = submit(
        run,
        Board(results),
        by,
        name=name,
        only=parse_only([only] if only else []),
        link=link,
        data=data,
        cache=checked_folder(),
    )
    if as_json:
        print_json(
            {
                "publication": sent.added.publication.name,
                "published": list(sent.added.published),
                "skipped": sent.added.skipped,
                "left_out": sent.added.left_out,
                "records": [r.as_json() for r in sent.records],
                "attested": list(sent.attested),
                "steps": list(sent.steps),
            }
        )
        return
    _print_kept_back(sent.added)
    out = console()
    for r in sent.records:
        stands = (
            "competes" if r.competes else "stands below the line until somebody the board accepts attests it"
        )
        out.print(
            f"{r.record.system} on {r.record.task} ({r.record.regime}): {r.badge}, {stands}", soft_wrap=True
        )
    if sent.attested:
        out.print(
            f"you vouch for {len(sent.attested)} record(s): their labels were counted again here",
            soft_wrap=True,
        )
    out.print("What is left to do:")
    for step in sent.steps:
        out.print(f"  {step}", soft_wrap=True)


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
    studied = check_studies(results, checked_folder())
    found = replace(found, problems=(*found.problems, *studied.problems))
    if as_json:
        print_json(
            {
                "records": [r.as_json() for r in found.records],
                "studies": {s.name: len(s.records) for s in studied.studies},
                "problems": [p.as_json() for p in found.problems],
                "outcomes": [vars(o) for o in found.outcomes],
            }
        )
    else:
        _print(found, sum(len(s.records) for s in studied.studies))
    return 1 if found.problems else 0


def checked_folder() -> Path:
    """Where it is remembered which records were checked."""
    return cache_folder() / "board" / "checked"


def _print(found: Validation, studied: int) -> None:
    print_table(
        "",
        ("publication", "system", "task", "protocol", "condition", "checked", "remark"),
        [
            (r.publication, r.record.system, r.record.task, r.record.regime, r.record.facts.condition, r.badge, remark(r))
            for r in found.records
        ],
    )  # fmt: skip
    shown = {r.badge for r in found.records}
    for badge, meaning in BADGES.items():
        if badge in shown:
            console().print(f"{badge}: {meaning}", soft_wrap=True)
    _print_plans(found)
    for problem in found.problems:
        print(f"refused: {problem.sentence}", file=sys.stderr)
    beside = f", and {studied} of studies" if studied else ""
    holding = f"{len(found.records)} record(s) hold{beside}"
    console().print(
        f"{holding}, {len(found.problems)} problem(s)" if found.problems else f"{holding}, nothing is refused"
    )
    _print_outcomes(found.outcomes)


def remark(record: BoardRecord) -> str:
    """What must stand beside a record."""
    said = {
        "below the line": not record.competes and not record.retracted,
        "imported": record.imported,
        PRE_REGISTERED: record.registration.shown,
        record.registration.words: record.registration.words,
        f"attested by {', '.join(record.attested)}": record.attested,
        f"sent by {record.submitted}": record.submitted,
        f"code {record.record.facts.code_version}: {record.code}": record.code,
        f"retracted: {record.retracted}": record.retracted,
    }
    return ", ".join(words for words, applies in said.items() if applies)


def _print_plans(found: Validation) -> None:
    """Say when the plans of records were made, as far as anything shows it."""
    for words, number in Counter(published_plan_words(r.record.facts) for r in found.records).most_common():
        console().print(f"plan of {number} record(s): {words}", soft_wrap=True)
    if any(r.registration.shown for r in found.records):
        console().print(f"{PRE_REGISTERED}: {MEANING}", soft_wrap=True)


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
    studied = check_studies(results, checked_folder())
    require_sound(Validation(found.records, (*found.problems, *studied.problems)))
    tests = ComparisonCache(cache_folder() / "board" / "comparisons")
    index = write_board(found, board, out, tests, cache_folder() / "board" / "pages", studied.studies)
    if as_json:
        print_json(
            {"index": str(index), "records": len(found.standing), "competing": len(found.competing), "below": len(found.below),
             "retracted": len(found.records) - len(found.standing),
             "families_tested": tests.tested, "families_remembered": tests.remembered,
             "outcomes": [vars(o) for o in found.outcomes]}
        )  # fmt: skip
    else:
        _print_outcomes(found.outcomes)
        console().print(str(index), soft_wrap=True)


def export(run: Path, out: Path) -> None:
    """Write a run's scores in every form."""
    from bench.scoring.rescoring import rescore
    from reports.data.comparisons import compare_systems
    from reports.exports.writing import write_exports

    records = [c.record for c in rescore(run)]
    if not records:
        raise DataError(f"{run}: holds no record yet; let serbench run finish a system on a task first")
    for path in write_exports(records, compare_systems(records), out):
        console().print(str(path), soft_wrap=True)
