"""``serbench run``: the matrix, its progress, and the summary at the end."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.cards.registry import load_system
from bench.cli.printing import console, figure, print_json, print_table, span
from bench.errors import UsageError, printable
from bench.execution.driver import run_matrix
from bench.execution.planning.estimates import human_time
from bench.execution.planning.matrix import read_matrix
from bench.execution.prepared_run import RunSettings, RunSummary
from bench.execution.progress import Reporter, watcher
from bench.execution.requests import read_request
from bench.protocols import STORED
from bench.storage.journal import CellRow
from bench.storage.run_folder import open_run


def parse_only(texts: Sequence[str]) -> dict[str, list[str]]:
    """Parse ``system=a,system=b,task=c``, given once or several times; values of one key are alternatives.

    >>> parse_only(["system=majority,task=emodb-*", "system=chance"])
    {'system': ['majority', 'chance'], 'task': ['emodb-*']}
    """
    parsed: dict[str, list[str]] = defaultdict(list)
    if any(not text.strip() for text in texts):
        raise UsageError("--only '': expected key=value, like system=majority; without --only all is taken")
    for part in filter(None, (p.strip() for text in texts for p in text.split(","))):
        key, equals, value = part.partition("=")
        if not (equals and value):
            raise UsageError(f"--only {part!r}: expected key=value, like system=majority")
        parsed[key.strip()].append(value.strip())
    return dict(parsed)


def parse_settings(items: list[str]) -> dict[str, dict[str, str]]:
    """Parse ``SYSTEM:key=value`` items.

    >>> parse_settings(["meralion-ser-small:epochs=3"])
    {'meralion-ser-small': {'epochs': '3'}}
    """
    parsed: dict[str, dict[str, str]] = defaultdict(dict)
    for item in items:
        system, colon, rest = item.partition(":")
        key, equals, value = rest.partition("=")
        if not (colon and equals and system and key):
            raise UsageError(f"--set {item!r}: expected SYSTEM:key=value")
        if parsed[system].setdefault(key, value) != value:
            raise UsageError(
                f"--set {system}:{key} is given twice, as {parsed[system][key]!r} and {value!r}; keep one"
            )
    return dict(parsed)


def run(settings: RunSettings, *, as_json: bool) -> int:
    """Run a matrix; returns the exit code."""
    if as_json:
        summary = run_matrix(settings, Reporter())
        print_json(_as_json(summary))
    else:
        out = console()
        with watcher(out) as watch:
            summary = run_matrix(settings, watch)
        _print_summary(summary)
    return 1 if summary.failed or summary.refused else 0


def merge(runs: Sequence[Path], out: Path, data: tuple[Path, ...], *, as_json: bool) -> int:
    """Put shards together; returns the exit code.

    Args:
        runs: folders of all shards of a matrix.
        out: folder of the run that they become.
        data: folders of prepared corpora; without any, those the shards were started with.
        as_json: print JSON instead of tables.
    """
    from bench.execution.merging import merge_shards

    if as_json:
        summary = merge_shards(runs, out, Reporter(), data=data)
        print_json(_as_json(summary))
    else:
        with watcher(console()) as watch:
            summary = merge_shards(runs, out, watch, data=data)
        _print_summary(summary)
    return 1 if summary.failed or summary.refused else 0


def reparse(run_folder: Path, data: tuple[Path, ...], *, as_json: bool) -> int:
    """Answer the Audio-LLM cells of a run from stored replies, as the run was started.

    Args:
        run_folder: folder of a run.
        data: folders of prepared corpora; without any, those the run was started with.
        as_json: print JSON instead of tables.

    Returns:
        The exit code: 1 when a cell failed or a record was refused, else 0.

    Raises:
        UsageError: no run, or none with an Audio-LLM.
    """
    run_ = open_run(run_folder)
    described, request = read_matrix(run_), read_request(run_)
    cards = [load_system(s, base=request.cards_from) for e in described.entries for s in e.systems]
    names = sorted({card.name for card in cards if card.family == "audio-llm"})
    if not names:
        raise UsageError(f"{run_folder}: its matrix has no Audio-LLM, so there are no replies to read again")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{described.name}.yaml"
        path.write_text(described.model_dump_json(), encoding="utf-8")
        settings = RunSettings(
            matrix=str(path),
            data=data or request.data,
            out=run_folder,
            only={"system": names},
            settings={
                **request.settings,
                **{n: {**request.settings.get(n, {}), "server": STORED} for n in names},
            },
            limit=request.limit,
            cards_from=request.cards_from,
        )
        return run(settings, as_json=as_json)


def _as_json(summary: RunSummary) -> dict[str, Any]:
    return {
        "run": str(summary.folder.root),
        "computed": summary.computed,
        "kept": summary.kept,
        "failed": [
            {"system": f.system, "task": f.task, "fold": f.fold, "seed": f.seed, "error": f.error}
            for f in summary.failed
        ],
        "blocked": dict(summary.blocked),
        "refused": dict(summary.refused),
        "notes": list(summary.notes),
        "seconds": round(summary.wall_seconds, 2),
    }


def _print_summary(summary: RunSummary) -> None:
    from bench.cli.results.headlines import headlines
    from bench.cli.results.words import setting_words
    from bench.scoring.records import read_facts

    out = console()
    records = [read_facts(p) for p in sorted(summary.folder.records.glob("*.json"))]
    if records:
        metric = records[0].plan.primary_metric.upper().replace("_", "-")
        shown = [(row, setting_words(row.facts)) for row in headlines(records)]
        several = len({words for _, words in shown}) > 1
        plan = records[0].plan
        views = list(dict.fromkeys(str(row.facts.main_view) for row, _ in shown if row.estimate is not None))
        print_table(
            f"{metric}, view {' or '.join(views) or plan.primary_view}, {100 * plan.level:.4g} % interval by cluster; CCC where dimensions exist",
            (
                "task",
                *(["setting"] if several else []),
                "system",
                "track",
                metric,
                "interval",
                "CCC v / a / d",
                "speakers",
                "seeds",
            ),
            [
                (
                    row.facts.task,
                    *([words] if several else []),
                    row.facts.system,
                    row.facts.track,
                    figure(row.estimate),
                    span(row.low, row.high),
                    " / ".join(figure(c, 2) for c in row.ccc),
                    row.facts.speakers,
                    len(row.facts.seeds),
                )
                for row, words in shown
            ],
            right=(metric, "speakers", "seeds"),
        )
    for reason in dict.fromkeys(summary.refused.values()):
        out.print(f"not run: {printable(reason)}", soft_wrap=True)
    for name, reason in summary.blocked.items():
        out.print(f"skipped: {name}: {printable(reason)}", soft_wrap=True)
    for line in failures(summary.failed):
        out.print(printable(line), soft_wrap=True)
    out.print(
        f"{summary.computed} cells computed, {summary.kept} kept, {len(summary.failed)} failed, "
        f"in {human_time(summary.wall_seconds)}; run: {summary.folder.root}",
        soft_wrap=True,
    )


def failures(rows: Sequence[CellRow]) -> list[str]:
    """One line per cell that failed; one for all cells of a system on a task that failed for the same reason."""
    alike: dict[tuple[str, str, str | None], list[CellRow]] = defaultdict(list)
    for row in rows:
        alike[row.system, row.task, row.error].append(row)
    return [
        f"failed: {system} on {task}, "
        + (f"{len(cells)} cells" if len(cells) > 1 else f"fold {cells[0].fold}, seed {cells[0].seed}")
        + f": {error}"
        for (system, task, error), cells in alike.items()
    ]
