"""``serbench check``: the adapter contract test, as a table of demands."""

from __future__ import annotations

import contextlib
import sys
import warnings

from bench.cards.labels import label_table
from bench.cards.registry import load_system
from bench.cli.printing import console, print_json, print_table
from bench.execution.contract import ContractReport, check_system, sent_with_one_clip
from bench.execution.worker import quiet_single_thread


def check(system: str, *, as_json: bool) -> int:
    """Run the contract test on a system; returns the exit code."""
    card = load_system(system)
    quiet_single_thread()
    if (sent := sent_with_one_clip(card, label_table().views["seven"])) and not as_json:
        console().print(f"sent with one clip: {sent}", soft_wrap=True, markup=False)
    # An adapter and the libraries under it may print: standard output is the report's.
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = check_system(card)
    if as_json:
        print_json(report.as_json())
    else:
        _print_report(report)
        if card.unsaid_weights:
            console().print(
                f"before anything of it is published: {card.unsaid_weights}", soft_wrap=True, markup=False
            )
    return 0 if report.passed else 1


def _print_report(report: ContractReport) -> None:
    print_table(
        report.system,
        ("", "check", "what is asked", "what was seen"),
        [("ok" if c.passed else "FAILED", c.name, c.demand, c.seen) for c in report.checks],
    )
    failed = [c.name for c in report.checks if not c.passed]
    verdict = f"{len(failed)} failed: {', '.join(failed)}" if failed else "all hold"
    console().print(f"{len(report.checks)} checks, {verdict}", soft_wrap=True)
