"""A record: the tables of its cells counted, figured and described; and whether it may be published."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.cards.analysis_plan import AnalysisPlan
from bench.cards.contamination import contamination
from bench.cards.corpus import CorpusCard, Protocol
from bench.cards.system import SystemCard
from bench.errors import DataError
from bench.scoring.counting import Counted, count_all, whole_table
from bench.scoring.figures import figures
from bench.scoring.layer_curves import layer_facts
from bench.scoring.prompt_variants import TablesBySeed, variant_facts
from bench.scoring.record_schema import (
    SCHEMA_VERSION,
    AudioCopy,
    CountedFacts,
    LeakDescription,
    PlanSeen,
    ScoredFacts,
    SourceDescription,
    written_out,
)
from bench.scoring.records import LISTENER, Counts, said_by
from bench.scoring.reference_levels import training_labels
from bench.storage.hashing import hash_json
from bench.storage.provenance import code_version
from bench.storage.source_code import package_hash
from bench.tasks import Task, split_speakers, split_task_name
from bench.tasks.segments import scored
from bench.tasks.training_data import TrainingSource

FIGURE_PACKAGES = ("bench.statistics", "bench.scoring")
"""Code that turns statistics into figures and verdicts."""


@functools.cache
def figures_code() -> str:
    """Hash of the code that turns statistics into figures and verdicts."""
    return hash_json([package_hash(p) for p in FIGURE_PACKAGES])


@dataclass(frozen=True)
class RecordStamp:
    """Who answered, after which training and under which matrix: what a record says beside what was counted."""

    card: SystemCard
    system_identity: str
    weights_hash: str | None
    protocol: Protocol
    training: str
    """What was learnt from, in one word; blank for the clean audio of the task itself."""
    condition: str
    train_condition: str
    sources: tuple[TrainingSource, ...]
    matrix: str
    matrix_hash: str
    changed_clips: int | None = None
    """Clips whose samples the condition changed; None where that is not known."""
    plan_seen: PlanSeen | None = None
    cells_code: tuple[str, ...] = ()
    """Versions of the code that answered the cells."""

    def known(self) -> dict[str, Any]:
        """What is said of the plan's origin, the cells' and the condition's, where anything is known."""
        origin = {"plan_seen": self.plan_seen, "cells_code": self.cells_code or None}
        return {k: v for k, v in (origin | {"changed_clips": self.changed_clips}).items() if v is not None}


def _require_something(system: str, task: Task, counted: Counted) -> None:
    """Refuse a record without any score: a system of dimensions alone on a task without them, or the other way round."""
    if any(block.axis != LISTENER for block in counted.blocks):
        return
    has = " and ".join(
        [*(["categories"] if task.labels else []), *(["dimensions"] if task.has_dimensions else [])]
    )
    raise DataError(
        f"{system} answers nothing that {task.name} has ({has or 'no labels'}); leave it out of the entry"
    )


def score_record(
    task: Task,
    tables: TablesBySeed,
    plan: AnalysisPlan,
    stamp: RecordStamp,
    notes: Mapping[str, Any],
) -> tuple[ScoredFacts, list[Counts]]:
    """Score one record from its cells' tables.

    Args:
        task: what was answered, before segments are put together.
        tables: by seed, the tables of all folds.
        plan: how it is judged.
        stamp: who answered, and under which matrix.
        notes: what fits noted, by fit.

    Returns:
        The record's facts (with all figures) and its statistics.

    Raises:
        DataError: tables that do not cover the task, variants that are not those the cells were made with, or answers to
            nothing that the task has.
    """
    whole, task = task, scored(task)
    answers = [whole_table(whole, stamp.protocol, seed, parts) for seed, parts in tables.items()]
    counted = count_all(whole, answers, plan)
    _require_something(stamp.card.name, whole, counted)
    obstacles = publish_obstacles(task.card, task.limited, counted.coverage, plan)
    if split_speakers(task.speakers, task.clusters):
        obstacles.append(
            "speakers are cut into several clusters, so intervals and tests are too sure of themselves"
        )
    facts = CountedFacts(
        schema_version=SCHEMA_VERSION,
        system=stamp.card.name,
        task=task.name,
        protocol=stamp.protocol,
        training=stamp.training,
        learnt_view=task.view,
        track=stamp.card.track,
        condition=stamp.condition,
        train_condition=stamp.train_condition,
        sources=tuple(_described(s) for s in stamp.sources),
        title=stamp.card.title or stamp.card.name,
        family=stamp.card.family,
        corpus=task.card.name,
        pool=task.card.pool_name,
        language=task.language,
        synthetic=task.card.synthetic,
        limited=task.limited,
        seeds=tuple(tables),
        folds=len(task.folds),
        clips=len(task),
        speakers=len(set(task.speakers) - {""}),
        cluster=task.card.cluster,
        labels_offered=task.offered_labels,
        publishable=not obstacles,
        obstacles=tuple(obstacles),
        contamination=contamination(stamp.card, task.card, split_task_name(task.name)[2]),
        warnings=task.warnings,
        training_labels=training_labels(whole, stamp.sources),
        badges=task.badges,
        leaks=tuple(
            LeakDescription(kind=x.kind, fold=x.fold, count=x.count, sides=x.sides) for x in task.leaks
        ),
        matrix=stamp.matrix,
        matrix_hash=stamp.matrix_hash,
        plan=written_out(plan),
        card=written_out(stamp.card),
        corpus_card=written_out(task.card),
        system_identity=stamp.system_identity,
        weights_hash=stamp.weights_hash,
        code_version=code_version(),
        folds_hash=task.folds_hash,
        content_hash=task.content_hash,
        figures_code=figures_code(),
        notes=dict(notes),
        audio=AudioCopy(clips=whole.names.marks.clips, commitment=whole.names.commitment),
        **stamp.known(),
        **counted.described(),
    )
    asked = variant_facts(whole, stamp.protocol, tables)
    layers = layer_facts(whole, stamp.protocol, tables, plan)
    facts = facts.model_copy(update={**asked, **layers})
    found = figures(facts, counted.blocks, counted.slices)
    return ScoredFacts(**said_by(facts), **vars(found)), [*counted.blocks, *counted.slices]


def _described(source: TrainingSource) -> SourceDescription:
    return SourceDescription(
        task=source.task, clips=source.clips, speakers=source.speakers, left_out=source.left_out
    )


def publish_obstacles(corpus: CorpusCard, limited: bool, coverage: float, plan: AnalysisPlan) -> list[str]:
    """Say why a record must not be published; empty when it may.

    Args:
        corpus: the corpus that was tested on.
        limited: whether only a part of it was run.
        coverage: share of ok answers, 0..1.
        plan: gives the floor of coverage.

    Returns:
        Reasons, as sentences without a full stop.
    """
    found = []
    if corpus.synthetic:
        found.append("the corpus is synthetic")
    if limited:
        found.append("only a part of the corpus was run (--limit)")
    if coverage < plan.coverage_floor:
        found.append(f"coverage {coverage:.3f} is under the floor of {plan.coverage_floor}")
    return found
