"""What must not leave this machine stays out of pages and exports, wherever in a record or a run it was written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from bench.errors import DataError
from bench.leaderboard.scrubbed_records import scrubbed_facts
from bench.scoring.records import Record
from bench.storage.scrubbing import Scrubber


def without_private_words(records: Iterable[Record], words: Scrubber) -> list[Record]:
    """Return records whose free text holds nothing private. Names are left: pages take out what is private in them."""
    return [_clean(r, words) for r in records]


def _clean(record: Record, words: Scrubber) -> Record:
    try:
        return replace(record, facts=scrubbed_facts(Path(record.facts.statistics.file), record.facts, words))
    except DataError:
        return record
