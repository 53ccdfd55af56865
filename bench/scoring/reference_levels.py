"""What a score is held against: rules that hear nothing, by what was offered and what was learnt from.

A uniform guesser draws from the labels that were on offer, whatever classes are true; what it answers outside a view counts
as wrong there, as it does for a system. The prior guesser draws from, and the majority always answers the commonest of, the labels
of the clips that fits learnt from or chose on: other speakers within a corpus, the sources in transfer. Of the three, the
uniform guesser needs no training side, so every record with labels on offer has it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from bench.cards.labels import label_table
from bench.errors import CannotSeparate, UsageError
from bench.protocols import Array
from bench.scoring.record_schema import CountedFacts, GuessLevel, TrainingLabels
from bench.scoring.records import Counts, Record
from bench.statistics.guessing import blind_scores
from bench.tasks.names import split_task_name
from bench.tasks.task import Task
from bench.tasks.training_data import TrainingSource

Rule = Literal["uniform", "prior", "majority"]
RULES: Mapping[Rule, str] = {
    "uniform": "a uniform guess over the labels on offer",
    "prior": "a guess by how often each label was learnt from",
    "majority": "always the label most often learnt from",
}
"""Each rule in words."""
WHOLE_SPLITS = ("", "loso")
"""Split variants whose fits learn from, or choose on, every clip that the fold does not test."""


def reference_levels(facts: CountedFacts, blocks: Sequence[Counts]) -> list[GuessLevel]:
    """Compute the levels of a record in every view.

    Args:
        facts: the record's own: labels on offer, clusters with their folds, what was learnt from.
        blocks: its statistics.

    Returns:
        A level per view, outside rule and rule of guessing; none where nothing was on offer.
    """
    learnt = learnt_labels(facts, blocks)
    found = []
    for block in blocks:
        if block.categorical and block.rows == "all" and block.clips and not block.axis:
            found += list(_levels(facts, block, learnt))
    return found


def level_of(record: Record, view: str, outside: str, rule: Rule) -> GuessLevel | None:
    """Return one level of a record, computed now where the record is older than levels are.

    Args:
        record: of any schema.
        view: ``native``, ``seven`` or ``four``.
        outside: what becomes of answers outside the view, ``wrong`` or ``masked``.
        rule: how is guessed.

    Returns:
        The level; None where the record does not hold what it follows from.
    """
    facts = record.facts
    known: Sequence[GuessLevel] = facts.reference_levels
    if "reference_levels" not in facts.model_fields_set:
        key = (facts.statistics.hash, facts.scores_hash, facts.labels_offered, facts.task, facts.protocol)
        known = _levels_of(_OldRecord(key, record))
    return next((x for x in known if (x.view, x.outside, x.rule) == (view, outside, rule)), None)


@dataclass(frozen=True)
class _OldRecord:
    """A record by what its levels follow from: a page asks for them again and again, and each takes some milliseconds."""

    key: tuple[object, ...]
    record: Record = field(compare=False)


@functools.lru_cache(maxsize=512)
def _levels_of(old: _OldRecord) -> tuple[GuessLevel, ...]:
    return tuple(reference_levels(old.record.facts, old.record.blocks))


def learnt_labels(facts: CountedFacts, blocks: Sequence[Counts]) -> Mapping[str, Mapping[str, int]]:
    """How many clips of each label stand on the training side of each fold: to learn from, or to choose on.

    Records before schema 3 do not say it. Within a corpus it follows from their counts, where each fold learns from
    all that it does not test and every clip could be decoded; after a transfer it does not follow from anything they hold.
    """
    if facts.training_labels:
        return {t.fold: t.clips for t in facts.training_labels}
    whole = split_task_name(facts.task)[2] in WHOLE_SPLITS and not facts.statuses.get("undecodable")
    native = next((b for b in blocks if (b.view, b.rows, b.target) == ("native", "all", "category")), None)
    if facts.protocol != "within" or facts.leaks or not whole or native is None:
        return {}
    folds, true = _true_clips(facts, native)
    rest = true.sum(axis=0) - true
    return {
        fold: {label: round(float(n)) for label, n in zip(native.labels, row, strict=True)}
        for fold, row in zip(folds, rest, strict=True)
    }


def training_labels(task: Task, sources: Sequence[TrainingSource]) -> tuple[TrainingLabels, ...]:
    """Count the labels on the training side of each fold, to learn from or to choose on: rows with audio, labels on offer.

    Args:
        task: before segments are put together.
        sources: the tasks learnt from in transfer, each of which counted its labels.

    Returns:
        One entry per fold; none where nothing is learnt here.
    """
    offered = task.offered_labels
    if sources:
        counts = {label: sum(dict(s.labels).get(label, 0) for s in sources) for label in offered}
        return tuple(TrainingLabels(fold=f.name, clips=dict(counts)) for f in task.folds)
    audible, found = task.audible, []
    for fold in task.folds:
        rows = [i for i in np.concatenate([fold.train, fold.dev]).tolist() if audible[i]]
        if rows:
            labels = [task.emotions[i] for i in rows]
            found.append(
                TrainingLabels(fold=fold.name, clips={label: labels.count(label) for label in offered})
            )
    return tuple(found)


def _levels(
    facts: CountedFacts, block: Counts, learnt: Mapping[str, Mapping[str, int]]
) -> Iterator[GuessLevel]:
    folds, true = _true_clips(facts, block)
    if not facts.labels_offered or not true.any():
        return
    uniform = dict.fromkeys(facts.labels_offered, 1)
    rules: dict[Rule, Array | None] = {
        "uniform": _answers([uniform] * len(folds), facts.labels_offered, block),
        "prior": None,
        "majority": None,
    }
    if all(any(learnt.get(fold, {}).values()) for fold in folds):
        own = [learnt[fold] for fold in folds]
        rules["prior"] = _answers(own, facts.labels_offered, block)
        rules["majority"] = _commonest(own, facts.labels_offered, block)
    for rule, answered in rules.items():
        if answered is not None:
            try:
                ua, wa = blind_scores(true, answered)
            except CannotSeparate:
                continue
            yield GuessLevel(rule=rule, view=block.view, outside=block.outside, ua=ua, wa=wa)  # type: ignore[arg-type]  # what blocks are counted under


def _true_clips(facts: CountedFacts, block: Counts) -> tuple[list[str], Array]:
    """Names of the folds and true clips by fold and class, (folds, classes)."""
    fold_of = np.array([c.fold for c in facts.clusters])
    folds = sorted(set(fold_of.tolist()))
    true = block.averaged.sum(axis=2)
    return folds, np.stack([true[fold_of == f].sum(axis=0) for f in folds])


def _places(offered: Sequence[str], block: Counts) -> list[int]:
    """Column of each label on offer among the classes of a block, −1 outside them."""
    code = {label: i for i, label in enumerate(block.labels)}
    return [code.get(_place(block.view, label) or "", -1) for label in offered]


def _place(view: str, label: str) -> str | None:
    try:
        return label_table().place(view, label)
    except UsageError:  # a record from elsewhere may offer a name that this version does not know
        return None


def _answers(counts: Sequence[Mapping[str, int]], offered: Sequence[str], block: Counts) -> Array:
    """Probability of each answer where labels are drawn in proportion to counts, (folds, classes)."""
    weights = np.zeros((len(counts), len(block.labels)))
    places = _places(offered, block)
    total = np.zeros((len(counts), 1))
    for i, of_label in enumerate(counts):
        for label, place in zip(offered, places, strict=True):
            n = of_label.get(label, 0)
            if place >= 0:
                weights[i, place] += n
            if place >= 0 or block.outside == "wrong":
                total[i] += n
    return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)


def _commonest(counts: Sequence[Mapping[str, int]], offered: Sequence[str], block: Counts) -> Array:
    """One-hot answers: of the commonest label (the first of equals) or, masked, of the class with most clips."""
    if block.outside == "masked":
        shares = _answers(counts, offered, block)
        return np.where(
            shares.sum(axis=1, keepdims=True) > 0, np.eye(len(block.labels))[shares.argmax(axis=1)], 0.0
        )
    answers = np.zeros((len(counts), len(block.labels)))
    places = _places(offered, block)
    for i, of_label in enumerate(counts):
        place = places[int(np.argmax([of_label.get(label, 0) for label in offered]))]
        if place >= 0:
            answers[i, place] = 1.0
    return answers
