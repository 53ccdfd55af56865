"""``serbench import``: predictions made elsewhere, and the table to fill with them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.cards.corpus import Protocol
from bench.cli.printing import console, figure, print_json
from bench.errors import UsageError
from bench.execution.imports import Imported, ReadingRules, import_table


@dataclass(frozen=True)
class ImportRequest:
    """What is asked for: the run, the table, the card of the system that made it, and how they are meant."""

    run: Path | None
    table: Path | None
    system: Path | None
    task: str | None
    protocol: Protocol | None
    data: tuple[Path, ...]


def import_predictions(request: ImportRequest, rules: ReadingRules, *, as_json: bool) -> None:
    """Import a table into a run and say what it scored, and what was remarkable about it.

    Args:
        request: what is asked for.
        rules: what the user says of the table.
        as_json: print JSON instead of sentences.

    Raises:
        UsageError: no run, no such task, or a card that cannot be read.
        DataError: a row that cannot be scored; file and line are named.
    """
    run, table, system = request.run, request.table, request.system
    if run is None or table is None or system is None:
        raise UsageError(
            "import needs a run, a table and the card of the system that made it: serbench import RUN TABLE --system CARD; "
            "the table to fill is written by: serbench import --template TASK"
        )
    made = import_table(
        run, table, system, task_name=request.task, protocol=request.protocol, data=request.data, rules=rules
    )
    facts = made.record.facts
    if as_json:
        print_json(
            {
                "record": str(made.path),
                "rows": made.rows,
                "notes": list(made.notes),
                "warnings": list(made.warnings),
                "obstacles": list(facts.obstacles),
                "scores": [s.as_json() for s in made.record.scores],
            }
        )
        return
    out = console()
    out.print(_told(made), soft_wrap=True, markup=False)
    for sentences, kind in (
        (made.notes, "note"),
        (made.warnings, "warning"),
        (facts.obstacles, "cannot be published"),
    ):
        for sentence in sentences:
            out.print(f"{kind}: {sentence}", soft_wrap=True, markup=False)


def _told(made: Imported) -> str:
    """What was imported, in one sentence with its first score."""
    facts = made.record.facts
    scored = "no score"
    if made.record.scores:
        first = made.record.scores[0]
        interval = f" ({figure(first.low)} to {figure(first.high)})" if first.low is not None else ""
        of = f"{first.metric} of {first.dimension}" if first.dimension else first.metric
        scored = f"{of} {figure(first.estimate)}{interval}"
    return (
        f"{made.rows} row(s) of {facts.system} on {facts.task} ({facts.protocol}): {scored}, coverage {facts.coverage:.3f}; "
        f"marked as imported in {made.path}"
    )


def write_import_template(
    task: str, out: Path | None, protocol: Protocol | None, data: tuple[Path, ...], *, as_json: bool
) -> None:
    """Write the table to fill for a task, and say how.

    Args:
        task: its name.
        out: the file, ``-`` for standard output; None: named after the task, in this folder.
        protocol: ``within`` adds the folds that clips must be tested in; None: zero-shot.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        as_json: print JSON instead of sentences.

    Raises:
        UsageError, DataError: no such task, or a file that is there already.
    """
    from bench.execution.imports.template import table_template, write_template

    template = table_template(task, protocol=protocol or "zero-shot", data=data)
    if out == Path("-"):
        sys.stdout.write(template.text)
        return
    path = out or Path(f"{task}.csv")
    write_template(template, path)
    if as_json:
        print_json(
            {
                "table": str(path),
                "clips": template.clips,
                "labels": list(template.labels),
                "dimensions": list(template.dimensions),
                "folds": template.folds,
            }
        )
        return
    out_ = console()
    out_.print(
        f"{path}: a row for each of the {template.clips} test clips of {task}", soft_wrap=True, markup=False
    )
    for sentence in _how_to_fill(template.labels, template.dimensions, folds=template.folds):
        out_.print(sentence, soft_wrap=True, markup=False)


def _how_to_fill(labels: tuple[str, ...], dimensions: tuple[str, ...], *, folds: bool) -> list[str]:
    said = []
    if labels:
        said += [
            f"label: {', '.join(labels)}; or leave it blank and give the probabilities p_… of each (they sum to one)"
        ]
    if dimensions:
        said += [f"{', '.join(dimensions)}: 0 to 1"]
    said += ["status: blank; where there is no answer: unparsed, refused, truncated, undecodable or failed"]
    if folds:
        said += ["fold: leave it; each clip must be answered by a system that was not trained on that fold"]
    return [*said, "columns that stay blank can go; then: serbench import RUN TABLE --system CARD"]
