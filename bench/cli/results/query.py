"""Which records a command reads, and what they are computed from."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.scoring.records import Record
from bench.scoring.rescoring import RescoringSource, rescore


@dataclass(frozen=True)
class ResultsQuery:
    """Where results are to come from: records or tables, the folders of prepared corpora, clips as units or not."""

    run: Path
    source: RescoringSource = "records"
    data: tuple[Path, ...] = ()
    item_level: bool = False

    def records(self) -> list[Record]:
        """Compute all records again; what an earlier version had computed otherwise goes to standard error."""
        checked = rescore(self.run, self.source, self.data, by_clip=self.item_level)
        for note in (c.note for c in checked if c.note):
            print(note, file=sys.stderr)
        return [c.record for c in checked]
