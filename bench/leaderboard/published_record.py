"""From a record of a run to the one that is published: names in place of clip ids and folds, one table, nothing private."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.corpora.naming import CorpusNames
from bench.leaderboard.scrubbed_records import part_as_json, part_from_json, require_clean, scrubbed_facts
from bench.scoring.published_tables import CellTable, cells_of_run, clip_namer, write_published
from bench.scoring.record_schema import ClusterFold, PublishedTable, ScoredFacts
from bench.scoring.records import Counts, read_record, said_by, write_record
from bench.storage.hashing import hash_file
from bench.storage.run_folder import RunFolder
from bench.storage.scrubbing import Scrubber

_NOTED = re.compile(r"fold (.*) seed (-?\d+)")
_WORD = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|[^\s'\",;()]+")
_KEPT_IN_RUN = {"tables", "inputs_hash", "blocks", "statistics"}
"""Facts that only the run needs. Hashes of tables with clip ids are what guesses could be tried on."""


@dataclass(frozen=True)
class Publishable:
    """A record of the present schema with its statistics and tables, clips by the corpus's own ids, and the key of its names."""

    path: Path
    facts: ScoredFacts
    blocks: Sequence[Counts]
    cells: Sequence[CellTable]
    names: CorpusNames

    @property
    def corpus_language(self) -> str:
        """What the key belongs to."""
        return f"{self.facts.corpus}.{self.facts.language}"


def publishable(path: Path, tables: Path, names: CorpusNames) -> Publishable:
    """Read a record of the present schema from a run.

    Args:
        path: the record.
        tables: folder of the run's prediction tables.
        names: under the key that the run keeps.

    Raises:
        DataError: a table is missing or changed.
    """
    record = read_record(path)
    blocks = [*record.blocks, *record.slices]
    return Publishable(path, record.facts, blocks, cells_of_run(path, record.facts, tables), names)


def write_publishable(made: Publishable, target: RunFolder, scrubber: Scrubber, *, tables: bool) -> Path:
    """Write a record as it is published: its table first, then its statistics, its JSON last.

    Args:
        made: the record.
        target: the publication.
        scrubber: knows what must not leave this machine.
        tables: whether its prediction table is published, too.

    Returns:
        Where the JSON lies.

    Raises:
        DataError: something that must not leave this machine stands where it cannot be taken out.
    """
    facts = made.facts
    name = clip_namer(facts.corpus_card, made.names)
    folds = made.names.folds(sorted({c.fold for c in made.cells} | {c.fold for c in facts.clusters}))
    kept = {k: v for k, v in said_by(facts).items() if k not in _KEPT_IN_RUN and k != "table"}
    clip_name = {c: name(c) for cell in made.cells for c in cell.table.clip_ids}
    said = ScoredFacts(**kept | _renamed(facts, folds, clip_name))
    said = scrubbed_facts(made.path, said, scrubber)
    require_clean(made.path, said, scrubber)
    if tables:
        place = target.tables / f"{made.path.stem}.parquet"
        write_published(place, [_clean(c, scrubber) for c in made.cells], facts.condition, name, folds)
        said = said.model_copy(update={"table": PublishedTable(file=place.name, hash=hash_file(place))})
    path = target.records / made.path.name
    write_record(path, said, made.blocks)
    return path


def _renamed(facts: ScoredFacts, folds: Mapping[str, str], clip_name: Mapping[str, str]) -> dict[str, Any]:
    """What names folds or clips, with their published names."""

    def word(found: re.Match[str]) -> str:
        bare = found[0].strip("'\"")
        return found[0].replace(bare, clip_name[bare]) if bare in clip_name else found[0]

    def text(value: str) -> str:
        return _WORD.sub(word, value)

    renamed: dict[str, Any] = {
        "clusters": tuple(ClusterFold(name=c.name, fold=folds[c.fold]) for c in facts.clusters),
        "notes": {renamed_fit(k, folds): _each(v, text) for k, v in facts.notes.items()},
        "leaks": tuple(x.model_copy(update={"fold": folds.get(x.fold, x.fold)}) for x in facts.leaks),
        "training_labels": tuple(
            t.model_copy(update={"fold": folds.get(t.fold, t.fold)}) for t in facts.training_labels
        ),
        "warnings": part_from_json(facts, "warnings", _each(part_as_json(facts, "warnings"), text)),
        "obstacles": tuple(text(o) for o in facts.obstacles),
    }
    return {k: v for k, v in renamed.items() if k in facts.model_fields_set}


def renamed_fit(fit: str, folds: Mapping[str, str]) -> str:
    """A fit (``fold 0 seed 1``) by another name of its fold."""
    found = _NOTED.fullmatch(fit)
    return f"fold {folds.get(found[1], found[1])} seed {found[2]}" if found else fit


def _each(value: Any, text: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return [_each(v, text) for v in value]
    if isinstance(value, dict):
        return {text(k): _each(v, text) for k, v in value.items()}
    return value


def _clean(cell: CellTable, scrubber: Scrubber) -> CellTable:
    replies = tuple(None if r is None else scrubber.text(r) for r in cell.table.replies)
    identity = scrubber.json(dict(cell.table.identity))
    return replace(cell, table=replace(cell.table, replies=replies, identity=identity))
