"""Whether records of one task name the same clips and clusters alike, so that their sums pair up on one board."""

from __future__ import annotations

from pathlib import Path

from bench.corpora.naming import known_marks, other_copy
from bench.scoring.record_schema import KEYED_SINCE, RecordFacts
from bench.storage.run_folder import RunFolder


def naming_fault(path: Path, facts: RecordFacts, first_path: Path, first: RecordFacts) -> str | None:
    """Say why two records of one task cannot stand on one board: other samples, or clusters by other names.

    Args:
        path: a record.
        facts: what it says.
        first_path: the record that stands there already.
        first: what that one says.

    Returns:
        One sentence, or None where they agree as far as names go.
    """
    if facts.audio and first.audio and facts.audio.commitment != first.audio.commitment:
        name = f"{facts.corpus}.{facts.language}"
        scored, here = (known_marks(RunFolder(p.parent.parent), name) for p in (first_path, path))
        words = other_copy(name, scored if here else None, here or ())
        return f"{path}: was scored on other clips than {first_path}, {words}; one board has one copy of a corpus"
    if facts.content_hash != first.content_hash or facts.folds_hash != first.folds_hash:
        return None
    keyed = [f.schema_version >= KEYED_SINCE for f in (facts, first)]
    if keyed[0] != keyed[1]:
        old = first_path if keyed[0] else path
        return (
            f"{path}: names its clusters otherwise than {first_path}: {old} is of schema {first.schema_version if keyed[0] else facts.schema_version}, "
            f"before names were keyed; bring it to the present schema, with the corpus at hand: serbench leaderboard convert"
        )
    return None
