"""Publications of earlier versions brought to the present schema, while the corpora they were made on are at hand.

Nothing is answered anew. The answers of the published tables are counted again with the corpus's labels, which must give the very
sums that the record holds; figures follow by the present code, names are made under the key of the audio, and the
tables of a record become one. Who answered, with which code and weights, under which matrix and plan, stays as it was. What an
older record does not say stays unsaid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.corpora.copies import CopyMarks
from bench.corpora.naming import read_marks, write_marks
from bench.corpora.prepared import find_corpora
from bench.corpora.synthetic import write_synthetic_corpus
from bench.errors import BenchError, DataError, UsageError
from bench.leaderboard.nameless import drop_names
from bench.leaderboard.publication import Publication
from bench.leaderboard.published_record import Publishable, renamed_fit, write_publishable
from bench.leaderboard.scrubbed_records import require_clean_json
from bench.leaderboard.superseding import superseded
from bench.scoring.counting import CountedParts
from bench.scoring.figures import Figures
from bench.scoring.record_schema import SCHEMA_VERSION, RecordFacts
from bench.scoring.recording import RecordStamp, figures_code, score_record
from bench.scoring.records import read_facts
from bench.scoring.rescoring import cells_with_clip_ids, from_tables, rebuilt, tables_by_seed
from bench.storage.atomic import write_json
from bench.storage.bounded_files import bounded_json
from bench.storage.run_folder import RunFolder, cache_folder
from bench.storage.scrubbing import Scrubber
from bench.tasks.rebuilding import RebuiltTasks, corpora_at_hand
from bench.tasks.task import Task
from bench.tasks.training_data import TrainingSource

State = Literal["converted", "as it was", "left", "nameless"]
FOLLOWS = (
    frozenset(CountedParts.__annotations__)
    | frozenset(Figures.__annotations__)
    | {
        "schema_version", "figures_code", "audio", "table", "tables", "inputs_hash", "blocks", "statistics", "notes",
        "corpus_card", "title", "clips", "speakers", "folds", "labels_offered", "publishable", "obstacles", "contamination",
        "warnings", "badges", "leaks", "variants", "layer_curve", "layer_curve_valence", "layer_curve_arousal",
        "layer_curve_dominance", "training_labels", "chance",
    }
)  # fmt: skip
"""Facts that follow from tables, labels and cards by the present code."""
TAKEN_OVER = frozenset(
    (
        "system", "task", "protocol", "training", "learnt_view", "track", "condition", "train_condition", "sources", "family", "corpus",
        "pool", "language", "synthetic", "limited", "seeds", "cluster", "matrix", "matrix_hash", "plan", "imported", "card",
        "system_identity", "weights_hash", "code_version", "folds_hash", "content_hash", "plan_seen", "cells_code", "changed_clips",
    )
)  # fmt: skip
"""Facts of who answered what under which plan: these stay as they are. Every fact is one or the other, which a test holds."""


@dataclass(frozen=True)
class Converted:
    """What became of one record, and why where it was left."""

    path: Path
    state: State
    reason: str = ""


def convert(results: Path, data: Sequence[Path] = ()) -> Iterator[Converted]:
    """Bring every publication below a folder to the present schema, record by record; what is converted already is left alone.

    Args:
        results: a folder that holds publications, at any depth.
        data: folders of prepared corpora; else SERBENCH_DATA.

    Yields:
        What became of each record.

    Raises:
        UsageError: no publication lies there.
    """
    if not results.is_dir():
        raise UsageError(f"{results}: no such folder; name the folder of published records with --results")
    roots = sorted({p.parent for p in results.rglob("records") if p.is_dir() and not p.is_symlink()})
    roots = [r for r in roots if not any(_inside(part) for part in r.relative_to(results).parts)]
    if not roots:
        raise UsageError(
            f"{results}: holds no published records; name the folder of publications with --results"
        )
    corpora = corpora_at_hand(results, data)
    if not any(c.card.synthetic for c in corpora) and any(map(_has_synthetic, roots)):
        made = cache_folder() / "corpora" / "synthetic"
        write_synthetic_corpus(made)
        corpora += find_corpora([made])[0]
    for root in roots:
        yield from _publication(Publication(RunFolder(root)), RebuiltTasks(corpora, None))


def _inside(part: str) -> bool:
    """Whether a folder belongs to a publication, or is one that is only being written."""
    return part == RunFolder(Path()).superseded.name or part.startswith(".")


def _has_synthetic(root: Path) -> bool:
    """Whether studies on the built-in corpus lie there: it is made on the spot, like its results once were."""
    return any(read_facts(p).synthetic for p in Publication(RunFolder(root)).record_paths())


def _publication(publication: Publication, tasks: RebuiltTasks) -> Iterator[Converted]:
    folder = publication.folder
    if folder.journal.exists():
        raise UsageError(
            f"{folder.root}: is a run; its records are made anew by serbench run, and published with serbench leaderboard add"
        )
    scrubber = Scrubber.of_this_machine()
    try:
        _scrub_beside(publication, scrubber)
    except DataError as error:
        yield Converted(folder.matrix, "left", str(error))
        return
    marks = read_marks(folder.copies) if folder.copies.is_file() else dict[str, CopyMarks]()
    for path in publication.record_paths():
        try:
            outcome, made = _record(path, folder, tasks, scrubber)
        except BenchError as error:
            outcome, made = Converted(path, "left", str(error)), None
        if made is not None:
            marks[made.corpus_language] = made.names.marks
        yield outcome
    yield from _earlier_versions(publication)
    if marks:
        write_marks(folder.copies, marks)
    _remove_tables(publication)
    if publication.seal_path.is_file():
        publication.seal()


def _earlier_versions(publication: Publication) -> Iterator[Converted]:
    """Take names on which guesses can be tried out of what was replaced earlier, and seal it again."""
    for earlier in superseded(publication):
        done = [_nameless(path) for path in earlier.record_paths()]
        if earlier.seal_path.is_file() and any(c.state == "nameless" for c in done):
            earlier.seal()
        yield from done
    yield from (_nameless(path) for path in sorted(publication.folder.superseded.glob("*.json")))


def _nameless(path: Path) -> Converted:
    try:
        return Converted(path, "nameless" if drop_names(path) else "as it was")
    except BenchError as error:
        return Converted(path, "left", str(error))


def _record(
    path: Path, folder: RunFolder, tasks: RebuiltTasks, scrubber: Scrubber
) -> tuple[Converted, Publishable | None]:
    facts = read_facts(path)
    if facts.schema_version == SCHEMA_VERSION and facts.figures_code == figures_code() and not facts.tables:
        return Converted(path, "as it was"), None
    made = rescored(path, folder.tables, tasks)
    write_publishable(made, folder, scrubber, tables=True)
    return Converted(path, "converted"), made


def rescored(path: Path, tables: Path, tasks: RebuiltTasks) -> Publishable:
    """Score a record of any schema again from its tables and labels, by the present code.

    Args:
        path: the record.
        tables: folder of its tables.
        tasks: the tasks whose labels are at hand.

    Returns:
        The record in the present schema, with the corpus's own names of clips and folds.

    Raises:
        DataError: its corpus or a table is not at hand, or they do not give what it says.
    """
    facts = read_facts(path)
    if not facts.tables and facts.table is None:
        raise DataError(
            f"{path}: was published without its prediction tables, and names cannot be made from statistics"
        )
    task = rebuilt(path, facts, tasks)
    from_tables(path, tables, tasks)
    cells = cells_with_clip_ids(path, facts, tables, task)
    scored, blocks = score_record(
        task, tables_by_seed(facts, cells), facts.plan, _stamp(facts), _own_folds(facts, task)
    )
    said = {k: getattr(facts, k) for k in facts.model_fields_set & TAKEN_OVER}
    whole = scored.model_copy(update=said)
    if facts.publishable and not whole.publishable:
        raise DataError(f"{path}: may not be published by today's rules: {whole.obstacles[0]}")
    return Publishable(path, whole, blocks, cells, task.names)


def _stamp(facts: RecordFacts) -> RecordStamp:
    """Who answered, as the record says it."""
    return RecordStamp(
        card=facts.card,
        system_identity=facts.system_identity,
        weights_hash=facts.weights_hash,
        protocol=facts.protocol,
        training=facts.training,
        condition=facts.condition,
        train_condition=facts.train_condition,
        sources=tuple(TrainingSource(**s.model_dump()) for s in facts.sources),
        matrix=facts.matrix,
        matrix_hash=facts.matrix_hash,
    )


def _own_folds(facts: RecordFacts, task: Task) -> Mapping[str, Any]:
    """What fits noted, by the corpus's own names of folds."""
    if facts.table is None:
        return facts.notes
    own = {published: name for name, published in task.names.folds([f.name for f in task.folds]).items()}
    return {renamed_fit(fit, own): noted for fit, noted in facts.notes.items()}


def _scrub_beside(publication: Publication, scrubber: Scrubber) -> None:
    """Clean what lies beside the records of what must not leave the machine it was made on."""
    folder = publication.folder
    if folder.matrix.is_file():
        described = publication.described()
        require_clean_json(folder.matrix, described["matrix"], "matrix", scrubber)
        beside = scrubber.json({k: v for k, v in described.items() if k not in ("matrix", "matrix_hash")})
        clean = {**described, **beside}
        if clean != described:
            write_json(folder.matrix, clean)
    if folder.sidecar.is_file():
        noted = bounded_json(folder.sidecar)
        if (clean := scrubber.json(noted)) != noted:
            write_json(folder.sidecar, clean)


def _remove_tables(publication: Publication) -> None:
    """Remove tables of cells that no record refers to any more."""
    folder = publication.folder
    needed: set[str] = set()
    for path in publication.record_paths():
        facts = read_facts(path)
        needed |= {f"{cell}.parquet" for cell in facts.tables}
        if facts.table is not None:
            needed.add(facts.table.file)
    for table in sorted(folder.tables.glob("*.parquet")):
        cell = table.name.split(".")[0]
        if table.name not in needed and f"{cell}.parquet" not in needed:
            table.unlink()
