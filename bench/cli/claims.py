"""``serbench claims`` and ``serbench leaderboard history``: what the records prove, and what was published before."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.cli.printing import console, figure, print_json, print_table
from bench.errors import DataError
from bench.leaderboard.claims.ledger import Claim, ClaimLedger, derive_ledger
from bench.leaderboard.claims.pages import page_faults, write_pages
from bench.leaderboard.claims.sentences import claim_sentence, summary
from bench.leaderboard.evidence import publications, read_evidence
from bench.leaderboard.history import CellHistory, history_of


def claims(results: Path, *, check: bool, write: bool, as_json: bool) -> int:
    """Derive every headline sentence from everything published; write the pages, or hold them against it.

    Args:
        results: folder of published records, with its ``claims.yaml``.
        check: name every block and sentence of the pages that the records do not bear out.
        write: write the blocks of the pages first.
        as_json: print JSON instead of sentences.

    Returns:
        The exit code: 1 where a page says what no record bears out, else 0.

    Raises:
        UsageError: no ``claims.yaml``, or nothing is published.
        DataError: a record or a publication was changed by hand.
    """
    from reports.pages.markdown_blocks import MarkdownBlocks

    require_sealed(results)
    ledger = derive_ledger(results)
    derive = MarkdownBlocks(ledger)
    changed = write_pages(ledger, derive) if write else []
    faults = page_faults(ledger, derive) if check or write else []
    if as_json:
        print_json(
            {
                "claims": [c.as_json() | {"sentence": claim_sentence(c)} for c in ledger.claims],
                "questions": {q.id: summary(ledger.of(q.id)) for q in ledger.rules.questions},
                "written": [str(p) for p in changed],
                "faults": [f.as_json() for f in faults],
            }
        )
    else:
        if not check:
            _print_claims(ledger)
        for path in changed:
            console().print(f"written: {path}", soft_wrap=True)
        for fault in faults:
            print(f"{fault.page}:{fault.line}: {fault.sentence}", file=sys.stderr)
        if check:
            console().print(_verdict(ledger, len(faults)), soft_wrap=True)
    return 1 if faults else 0


def require_sealed(results: Path) -> None:
    """Raise :class:`DataError` where a publication is not as it was sealed; studies need no seal, and are held to theirs."""
    for publication, standing in publications(results):
        sealed = standing == "board" or publication.seal_path.is_file()
        if sealed and (fault := publication.broken_seal()):
            raise DataError(fault)


def _verdict(ledger: ClaimLedger, faults: int) -> str:
    sources = len({e.publication for e in ledger.evidence})
    of = f"{len(ledger.claims)} claims from {len(ledger.evidence)} records of {sources} publications"
    return f"{of}: {f'{faults} fault(s) on the pages' if faults else 'the pages say nothing else'}"


def _print_claims(ledger: ClaimLedger) -> None:
    for question in ledger.rules.questions:
        asked = ledger.of(question.id)
        console().print(
            f"{question.id}: {summary(asked) or 'no record speaks to this question.'}", soft_wrap=True
        )
        for claim in asked:
            console().print(f"  {_mark(claim)} {claim.id}: {claim_sentence(claim)}", soft_wrap=True)
        console().print()


def _mark(claim: Claim) -> str:
    """A sign before a claim: whether it leads, and whether the test bears it out."""
    if claim.rival is None:
        return "·"
    sign = {"ahead": "+", "behind": "−", "level": "="}[claim.side]
    return sign * 2 if claim.confirmed else sign


def history(system: str, task: str, results: Path, *, as_json: bool) -> None:
    """Print every value that was published for a system on a task.

    Args:
        system: its name.
        task: its name.
        results: folder of published records.
        as_json: print JSON instead of tables.

    Raises:
        UsageError: no published record of the two.
    """
    found = history_of(read_evidence(results), system, task)
    if as_json:
        print_json([h.as_json() for h in found])
        return
    print_table(
        f"{system} on {task}",
        ("protocol", "condition", "published in", "standing", "code", "seeds", "metric", "estimate", "interval", "remark"),
        [
            (h.regime, h.condition, v.publication, v.standing, v.code_version, len(v.seeds), f"{v.metric} {v.view}",
             figure(v.estimate), "no interval" if v.low is None else f"{figure(v.low)} – {figure(v.high)}", "; ".join(v.remarks))
            for h in found
            for v in h.versions
        ],
        right=("seeds", "estimate"),
    )  # fmt: skip
    for h in found:
        if len(h.versions) > 1:
            console().print(_counted(h), soft_wrap=True)


def _counted(h: CellHistory) -> str:
    """Say how many values a cell had."""
    values = "one value" if h.values == 1 else f"{h.values} values"
    return f"{h.regime}, {h.condition}: {len(h.versions)} versions, {values}"
