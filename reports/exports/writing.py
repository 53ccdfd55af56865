"""All forms of one set of records, into one folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bench.scoring.records import Record
from bench.storage.atomic import write_text
from bench.storage.hashing import digest
from bench.storage.scrubbing import Scrubber
from reports.data.comparisons import TaskComparison
from reports.data.private_words import without_private_words
from reports.exports.citations import bibtex
from reports.exports.latex import latex_pairs, latex_tables
from reports.exports.model_cards import model_index
from reports.exports.tables import write_scores, write_tests


def write_exports(
    records: Sequence[Record], comparisons: Sequence[TaskComparison], out: Path, address: str = ""
) -> list[Path]:
    """Write every form into ``out``; on one machine the same records give the same bytes.

    ``scores.csv``, ``scores.json``, ``scores.parquet`` (one row per score of every record); ``pairs.csv``, ``pairs.parquet`` (one row
    per tested pair, with the simultaneous interval that decides); ``ranks.csv``, ``ranks.parquet`` (one row per system of a track);
    ``tables.tex`` (one table per comparison and subject, with rank intervals and the difference from the first), ``pairs.tex`` (every
    pair); ``corpora.bib``; ``model-index/<system>.yaml``.

    Args:
        records: what is written out.
        comparisons: the same records, compared: what the tables show.
        out: a folder, made where it is missing.
        address: where the results stand, for model cards; blank: this project's repository.

    Returns:
        The files, the folder's first.

    Raises:
        BenchError: ``out`` cannot be written.
    """
    words = Scrubber.of_this_machine()
    records = without_private_words(records, words)
    paths = [*write_scores(records, out, words), *write_tests(comparisons, out, words)]
    for name, text in (
        ("tables.tex", latex_tables(comparisons)),
        ("pairs.tex", latex_pairs(comparisons)),
        ("corpora.bib", bibtex(records)),
    ):
        write_text(out / name, words.page(text))
        paths.append(out / name)
    for system in sorted({r.system for r in records}):
        plain = re.sub(r"[^A-Za-z0-9._+-]", "_", system)[:100]
        if plain != system:
            plain += f"-{digest(system, length=4)}"
        own = [r for r in records if r.system == system]
        path = out / "model-index" / f"{plain}.yaml"
        if text := model_index(system, own, address):
            write_text(path, words.page(text))
            paths.append(path)
    return paths
