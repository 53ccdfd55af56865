"""What figures are drawn from, compared once for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.audio.conditions import CLEAN
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from bench.storage.scrubbing import Scrubber
from reports.data.comparisons import TaskComparison, compare_systems, overview_comparisons
from reports.data.private_words import without_private_words
from reports.data.run_data import WorkDone


@dataclass(frozen=True)
class Material:
    """Records with every planned test of them, and the seconds of work of a run (nothing for published records)."""

    records: tuple[Record, ...]
    comparisons: tuple[TaskComparison, ...]
    work: Mapping[str, WorkDone]

    @classmethod
    def of(cls, records: Sequence[Record], work: Mapping[str, WorkDone] | None = None) -> Material:
        """Compare records, without what must not leave this machine."""
        kept = tuple(without_private_words(records, Scrubber.of_this_machine()))
        return cls(kept, tuple(compare_systems(kept)), work or {})

    @cached_property
    def overview(self) -> list[TaskComparison]:
        """Comparisons on clean audio; of what was run in other conditions alone, those."""
        return overview_comparisons(self.comparisons)

    @cached_property
    def shown(self) -> list[tuple[TaskComparison, Subject]]:
        """Comparisons on clean audio, each with what it is compared in first."""
        return [(c, c.subjects[0]) for c in self.overview if c.subjects]

    @cached_property
    def clean(self) -> list[Record]:
        """Records of clean audio."""
        return [r for r in self.records if r.facts.condition == CLEAN]

    @cached_property
    def mark(self) -> str:
        """What no figure may be taken without: that audio was synthetic, or that a part of the clips was run; else blank."""
        synthetic = any(r.facts.synthetic for r in self.records)
        limited = any(r.facts.limited for r in self.records)
        return " ".join(word for word, on in (("SYNTHETIC", synthetic), ("LIMITED", limited)) if on)
