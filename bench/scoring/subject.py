"""What systems are compared in and averaged over: one metric of one view, or of one dimension."""

from __future__ import annotations

from dataclasses import dataclass

from bench.scoring.record_schema import ScoreRow
from bench.scoring.records import Counts, Record


@dataclass(frozen=True)
class Subject:
    """A metric of a view under an outside rule (categories), or of one dimension."""

    view: str
    outside: str
    metric: str
    dimension: str | None = None

    @property
    def target(self) -> str:
        """The target of the statistics it is computed from."""
        return self.dimension or "category"

    def row(self, record: Record, *, rows: str = "all") -> ScoreRow | None:
        """Return the record's score row for this subject, or None when it has none such."""
        key = (self.view, self.outside, self.metric, self.dimension, rows)
        return next(
            (s for s in record.scores if (s.view, s.outside, s.metric, s.dimension, s.rows) == key), None
        )

    def counted(self, record: Record) -> bool:
        """Whether :meth:`block` has something, without reading it: what the record announces tells."""
        key = (self.view, self.outside, "all", self.target, "")
        return any((b.view, b.outside, b.rows, b.target, b.axis) == key for b in record.facts.blocks)

    def block(self, record: Record) -> Counts | None:
        """Return the statistics behind :meth:`row`, over all rows."""
        return record.block(self.view, self.outside, "all", self.target)
