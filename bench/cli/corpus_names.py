"""``serbench corpus names``: what a holder of a corpus needs to read published tables."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.cli.printing import print_json
from bench.corpora.decoded import CorpusTable, decode_missing, open_table
from bench.corpora.prepared import data_folders, open_corpus
from bench.scoring.published_tables import clip_namer
from bench.storage.run_folder import cache_folder

COLUMNS = ("task", "file_name", "clip", "emotion", "speaker")


def print_names(corpus: str, data: Sequence[Path], *, as_json: bool) -> None:
    """Print the published name of every clip, with its label, as CSV.

    Args:
        corpus: its name, or its folder.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        as_json: print JSON instead of CSV.
    """
    folders = [] if Path(corpus).is_dir() else data_folders(data)
    table = open_table(open_corpus(corpus, folders), cache_folder())
    decode_missing(table)
    rows = list(_rows(table))
    if as_json:
        print_json([dict(zip(COLUMNS, row, strict=True)) for row in rows])
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)


def _rows(table: CorpusTable) -> Iterator[tuple[str, ...]]:
    """Task, clip id, published name, canonical label ("" without one) and the speaker's name as a cluster."""
    card, metadata = table.corpus.card, table.metadata
    namers = {language: clip_namer(card, names) for language, names in table.names.items()}
    columns = zip(metadata.clip_ids, metadata.languages, metadata.emotions, metadata.speakers, strict=True)
    for clip, language, emotion, speaker in columns:
        named = table.names[language].cluster(speaker) if speaker else ""
        yield (f"{card.name}.{language}", clip, namers[language](clip), emotion or "", named)
