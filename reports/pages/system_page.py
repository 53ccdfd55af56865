"""What a system's page shows beside its board and card, gathered for its template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bench.scoring.records import Record
from bench.scoring.subject import Subject
from reports.data.comparisons import TaskComparison
from reports.sections.layers import Layers, layer_figures
from reports.sections.prompting import PromptingSection, prompting_sections
from reports.sections.reliability import Reliability, reliabilities
from reports.sections.tables import CONFUSIONS, Confusion, confusion
from reports.sections.training_curves import Curve, training_curves


@dataclass(frozen=True)
class SystemSections:
    """One system, over all its records."""

    reliabilities: tuple[Reliability, ...]
    layers: tuple[Layers, ...]
    prompting: tuple[PromptingSection, ...]
    curves: tuple[Curve, ...]
    confusions: tuple[tuple[str, Confusion], ...]
    """Task and matrix."""


def system_sections(
    run: Path, records: Sequence[Record], comparisons: Sequence[TaskComparison]
) -> SystemSections:
    """Gather what a system's records have to show.

    Args:
        run: where its prediction tables lie.
        records: the system's records.
        comparisons: every comparison of the run, for the view that each task's page shows.

    Returns:
        What the sections of its page are filled with.
    """
    return SystemSections(
        reliabilities=tuple(reliabilities(records)),
        layers=tuple(layer_figures(records)),
        prompting=tuple(prompting_sections(run, records)),
        curves=tuple(training_curves(records)),
        confusions=tuple(islice(_confusions(records, comparisons), CONFUSIONS)),
    )


def _confusions(
    records: Sequence[Record], comparisons: Sequence[TaskComparison]
) -> Iterator[tuple[str, Confusion]]:
    """Confusion matrices in the view that each task's page shows, each read when it is asked for."""
    for comparison in comparisons:
        subject: Subject | None = next((s for s in comparison.subjects if s.metric != "ccc"), None)
        own = [r for r in comparison.records if any(r is mine for mine in records)]
        for r in own if subject is not None else ():
            if subject is not None and (b := subject.block(r)) is not None:
                yield r.task, confusion(r, b)
