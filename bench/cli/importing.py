"""``serbench import``: predictions made elsewhere."""

from __future__ import annotations

from pathlib import Path

from bench.cards.corpus import Protocol
from bench.cli.printing import console, figure, print_json
from bench.execution.imports import import_table


def import_predictions(
    run: Path,
    table: Path,
    system: Path,
    task: str | None,
    protocol: Protocol | None,
    data: tuple[Path, ...],
    *,
    as_json: bool,
) -> None:
    """Import a table into a run and say what it scored.

    Args:
        run: folder of a run.
        table: predictions, ``.csv``, ``.jsonl`` or ``.parquet``.
        system: the card of the system that made them.
        task: its name; None: the task that has these clips.
        protocol: None: zero-shot for a released system, else within.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        as_json: print JSON instead of tables.

    Raises:
        UsageError: no run, no such task, or a card that cannot be read.
        DataError: a row that cannot be scored; file and line are named.
    """
    made = import_table(run, table, system, task_name=task, protocol=protocol, data=data)
    facts = made.record.facts
    if as_json:
        print_json(
            {
                "record": str(made.path),
                "rows": made.rows,
                "obstacles": list(facts.obstacles),
                "scores": [s.as_json() for s in made.record.scores],
            }
        )
        return
    first = made.record.scores[0]
    interval = f" ({figure(first.low)} to {figure(first.high)})" if first.low is not None else ""
    console().print(
        f"{made.rows} row(s) of {facts.system} on {facts.task} ({facts.protocol}): {first.metric} {figure(first.estimate)}"
        f"{interval}, coverage {facts.coverage:.3f}; marked as imported in {made.path}",
        soft_wrap=True,
    )
    for obstacle in facts.obstacles:
        console().print(f"cannot be published: {obstacle}", soft_wrap=True)
