"""Sentences crossed with speakers: which cells a record's clips fall into, and its statistics cell by cell.

An acted corpus has everybody say the same few sentences. How a system does on *other* sentences can then be seen from how much
these differ, if counts are kept per speaker and sentence. Where what is said is not known clip by clip, or hardly anything is said by
two, there is nothing crossed, and a record says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.corpora.metadata import why_unknown
from bench.corpora.naming import Naming
from bench.errors import DataError
from bench.protocols import Array
from bench.scoring.record_schema import CountedFacts
from bench.scoring.records import SENTENCE, Counts, Record
from bench.statistics.two_way import CrossedTable
from bench.tasks import Task

CROSSED_SHARE = 0.5
"""Share of the clips whose sentence at least two clusters must say."""


@dataclass(frozen=True)
class SentenceCells:
    """Which sentence each clip says, and who says it.

    ``cells`` are (cluster, sentence) as places in the record's clusters and in ``names`` (those that are published), sorted; ``codes`` (clips,) are
    places in ``cells``. Without cells, ``absent`` says why.
    """

    names: tuple[str, ...] = ()
    cells: tuple[tuple[int, int], ...] = ()
    codes: NDArray[np.intp] | None = None
    absent: str = ""


def sentence_cells(task: Task, cluster_of: NDArray[np.intp], names: Naming) -> SentenceCells:
    """Cross a task's clusters with what they say.

    Args:
        task: what was answered, segments put together.
        cluster_of: each clip's cluster, (clips,).
        names: what sentences are called where they are published.

    Returns:
        The cells, or why there are none.
    """
    blank = sum(not s for s in task.scripts)
    if blank == len(task.scripts):
        return SentenceCells(absent=why_unknown("sentences", "script", task.carried))
    if blank:
        return SentenceCells(absent=f"{blank} of {len(task)} clips name no sentence")
    named = {s: names.sentence(s) for s in set(task.scripts)}
    hashed = [named[s] for s in task.scripts]
    known = tuple(sorted(named.values()))
    if len(known) < 2:
        return SentenceCells(absent="all clips speak one sentence")
    place = {name: i for i, name in enumerate(known)}
    pairs = np.stack([cluster_of, [place[h] for h in hashed]], axis=1)
    cells, codes = np.unique(pairs, axis=0, return_inverse=True)
    speakers = np.bincount(cells[:, 1], minlength=len(known))
    shared = float((speakers[pairs[:, 1]] > 1).mean())
    if shared < CROSSED_SHARE or len(set(cluster_of.tolist())) < 2:
        return SentenceCells(
            absent=f"{100 * shared:.0f} % of the clips speak a sentence that others speak too: too few to tell sentences from speakers"
        )
    return SentenceCells(known, tuple((int(c), int(s)) for c, s in cells), codes.reshape(-1).astype(np.intp))


def cells_of(block: Counts, sliced: Sequence[Counts]) -> Counts | None:
    """Find a block's statistics cell by cell, or None where the record has none such (answers masked, old records)."""
    return next((b for b in sliced if b.axis == SENTENCE and b.key == block.key), None)


def crossed_tables(a: tuple[Record, Counts], b: tuple[Record, Counts]) -> list[CrossedTable]:
    """Make two systems' statistics ready for the error of their difference: over cells where both records have the same.

    Args:
        a: a record and its block.
        b: another on the same clips, and the same block.

    Returns:
        Two tables.

    Raises:
        DataError: the cells of a record do not add up to the whole.
    """
    # The slices of a record without cells are not even read.
    cells = [cells_of(block, r.slices if r.facts.sentence_cells else ()) for r, block in (a, b)]
    same = a[0].facts.sentence_cells == b[0].facts.sentence_cells and None not in cells
    return [
        crossed_table(record.facts, block, own if same else None)
        for (record, block), own in zip((a, b), cells, strict=True)
    ]


def crossed_table(facts: CountedFacts, block: Counts, cells: Counts | None) -> CrossedTable:
    """Make a block's statistics ready for errors over wider populations.

    Args:
        facts: the record's own: clusters with their folds, cells, card.
        block: statistics of the whole, (seeds, clusters, …).
        cells: the same by cell, (seeds, cells, …); None where it is not known.

    Returns:
        The table, with sentences where they are known and fits where folds were trained.

    Raises:
        DataError: the cells do not add up to the whole.
    """
    shared: dict[str, Any] = {
        "fit": _fits(facts),
        "seeded": facts.card.seeds is not False,
        "released": facts.card.track == "released",
    }
    if cells is None:
        why = facts.sentences_absent or (
            "counts by sentence are kept in the views of the plan and the task alone"
            if facts.sentence_cells
            else "the record was made before counts were kept by sentence"
        )
        return CrossedTable(block.values, np.arange(block.values.shape[1]), no_sentences=why, **shared)
    places = np.array(facts.sentence_cells, dtype=np.intp).reshape(-1, 2)
    table = CrossedTable(cells.values, places[:, 0], places[:, 1], **shared)
    _require_sum(facts, block.values, table)
    return table


def _fits(facts: CountedFacts) -> NDArray[np.intp] | None:
    """The fit that answered each cluster, numbered; None where nothing was trained on folds."""
    if facts.protocol != "within" or facts.card.track not in {"probed", "adapted"}:
        return None
    names = {name: i for i, name in enumerate(sorted({c.fold for c in facts.clusters}))}
    return np.array([names[c.fold] for c in facts.clusters], dtype=np.intp)


def _require_sum(facts: CountedFacts, whole: Array, table: CrossedTable) -> None:
    summed = table.by(table.speaker)
    if summed.shape != whole.shape or not np.allclose(summed, whole, rtol=1e-9, atol=1e-9):
        raise DataError(
            f"the counts of {facts.system} on {facts.task} by sentence do not add up to those of its clusters; score the run again"
        )
