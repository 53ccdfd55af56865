"""How the ways of asking an Audio-LLM fared, each for itself: from the tables that lie beside a cell's own."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import ConfigDict

from bench.cards.typed_yaml import Strict, read_typed
from bench.errors import CannotSeparate, DataError
from bench.features.probes import LAYER_VARIANT
from bench.metrics import unweighted_accuracy
from bench.scoring.counting import whole_table
from bench.scoring.predictions import PredictionTable, read_table, variant_path
from bench.scoring.record_schema import VariantScore
from bench.storage.hashing import hash_file
from bench.tasks.segments import scored
from bench.tasks.task import Task

TablesBySeed = Mapping[int, Sequence[PredictionTable]]
"""The tables of a record: by seed, those of all folds."""
VariantFacts = Mapping[str, object]
"""``variants``, and ``ua_by_<part>`` with ``ua_range_over_<part>s`` for every part that takes several values."""
PARTS = ("prompt", "language", "order", "repeat")
"""What the ways of asking differ in."""


def variant_facts(task: Task, protocol: str, tables: TablesBySeed) -> VariantFacts:
    """Return UA and coverage of every variant, and what prompts, their language, orders of options and repeats do to UA; {} without variants.

    UA is that of the corpus's own classes, with answers other than ok counted as wrong. The spread over prompts is the
    lowest and highest mean over a prompt's variants; likewise over the languages of prompts and over orders.

    Args:
        task: what was answered, before segments are put together.
        protocol: of the record.
        tables: by seed, the tables of all folds.

    Returns:
        The fields of a record's facts that variants decide.

    Raises:
        DataError: a variant's table is missing, or is not the one that the cell was made with.
    """
    names = [n for n in variant_names(tables) if not n.startswith(LAYER_VARIANT)]
    if not names or not task.labels:
        return {}
    rows = [_row(task, protocol, name, tables) for name in names]
    facts: dict[str, object] = {"variants": tuple(rows)}
    for part in PARTS:
        means = _means(rows, part)
        if len(means) > 1:
            facts[f"ua_by_{part}"] = means
            facts[f"ua_range_over_{part}s"] = (min(means.values()), max(means.values()))
    return facts


def variant_names(tables: TablesBySeed) -> list[str]:
    """Return the names of the variants that lie beside a record's tables."""
    return list(next(iter(tables.values()))[0].identity.get("variants") or {})


def _row(task: Task, protocol: str, name: str, tables: TablesBySeed) -> VariantScore:
    seed, fold_tables = next(iter(tables.items()))
    whole = whole_table(task, protocol, seed, [variant_table(table, name) for table in fold_tables])
    task = scored(task)
    labelled = [i for i, e in enumerate(task.emotions) if e is not None]
    try:
        ua: float | None = unweighted_accuracy(
            [task.emotions[i] for i in labelled],
            [whole.answers[i] if whole.statuses[i] == "ok" else None for i in labelled],
            labels=task.labels,
        )
    except CannotSeparate:
        ua = None
    prompt, order, repeat = [*name.split("/"), "", ""][:3]
    coverage = sum(s == "ok" for s in whole.statuses) / len(whole.statuses)
    return VariantScore(
        name=name,
        prompt=prompt,
        language=prompt_languages().get(prompt, ""),
        order=order,
        repeat=repeat,
        ua=ua,
        coverage=coverage,
    )


class PromptNames(Strict):
    """Of a prompt file, what scoring needs: the names of its prompts and their language."""

    model_config = ConfigDict(extra="ignore")

    language: str
    prompts: dict[str, Any]


@functools.cache
def prompt_languages() -> Mapping[str, str]:
    """Return the language of every prompt in ``tasks/prompts``, by the prompt's name.

    >>> prompt_languages()["paper"], prompt_languages()["ta-1"]
    ('en', 'ta')
    """
    languages: dict[str, str] = {}
    for path in sorted(Path(str(files("tasks").joinpath("prompts"))).glob("*.yaml")):
        named = read_typed(path, PromptNames)
        languages |= dict.fromkeys(named.prompts, named.language)
    return languages


def variant_table(table: PredictionTable, name: str) -> PredictionTable:
    """Return the table of a variant beside a cell's own.

    Raises:
        DataError: it is missing, or is not the one that the cell was made with.
    """
    if name in table.beside:
        return table.beside[name]
    path = variant_path(Path(table.origin), name)
    expected = table.identity["variants"].get(name)
    if not path.is_file() or hash_file(path) != expected:
        raise DataError(
            f"{path}: the table of variant {name!r} is missing or was changed since its cell was made; remove {table.origin} "
            "and run the matrix again: stored replies are read again, nothing is asked twice"
        )
    return read_table(path)


def _means(rows: Sequence[VariantScore], part: str) -> dict[str, float]:
    scores_of: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.ua is not None and (name := getattr(row, part)):
            scores_of[name].append(row.ua)
    return {value: fmean(scores) for value, scores in scores_of.items()}
