"""Comparison families that were tested before: kept by what decides them, so that a board is rebuilt without testing again."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from bench.scoring.comparisons import run_family
from bench.scoring.figures import COMPARED_METRICS
from bench.scoring.pair_results import PairResult, sentence
from bench.scoring.recording import figures_code
from bench.scoring.records import CountsKey, Record
from bench.statistics.populations import SPEAKERS
from bench.storage.atomic import write_text
from bench.storage.hashing import hash_file, hash_json

DECISIVE = {
    "system", "task", "protocol", "training", "condition", "track", "plan", "cluster", "leaks", "content_hash",
    "seeds", "blocks",
}  # fmt: skip
"""Facts of a record that a comparison depends on, beside the sums of its statistics."""


class ComparisonCache:
    """:func:`bench.scoring.comparisons.run_family` with a memory in a folder of the cache.

    The key is the content: code, plan, statistics of every member (by the hash of their file), pairs, metrics. ``tested``
    and ``remembered`` count families.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.tested = 0
        self.remembered = 0

    def __call__(
        self,
        name: str,
        records: Sequence[Record],
        pairs: Sequence[tuple[str, str]],
        metrics: Sequence[str] = COMPARED_METRICS,
        keys: Collection[CountsKey] | None = None,
    ) -> list[PairResult]:
        """Test a family, or give back what came of it.

        Args:
            name: of the family.
            records: its members, one per system, on the same clips and folds.
            pairs: names of the two systems of each comparison.
            metrics: which to test.
            keys: the statistics to test on; None for all.

        Returns:
            What :func:`run_family` returns.

        Raises:
            DataError: the members were scored on different clips or folds.
        """
        path = self._folder / f"{self._key(name, records, pairs, metrics, keys)}.json"
        try:
            columns = json.loads(path.read_text(encoding="utf-8"))
            results = [_pairing(dict(zip(columns["names"], row, strict=True))) for row in columns["rows"]]
        except (OSError, ValueError, KeyError, TypeError):
            results = run_family(name, records, pairs, metrics, keys)
            self.tested += 1
            self._write(path, results)
        else:
            self.remembered += 1
        return results

    def _key(
        self,
        name: str,
        records: Sequence[Record],
        pairs: Sequence[tuple[str, str]],
        metrics: Sequence[str],
        keys: Collection[CountsKey] | None,
    ) -> str:
        return hash_json(
            {
                "code": figures_code(),
                "family": name,
                "members": [
                    [
                        r.facts.statistics.hash,
                        r.clusters,
                        r.has_one_seed_of_many,
                        r.facts.model_dump(mode="json", include=DECISIVE | _decisive_beyond(r)),
                    ]
                    for r in records
                ],
                "pairs": [list(p) for p in pairs],
                "metrics": list(metrics),
                "keys": None if keys is None else sorted(keys),
            }
        )

    def _write(self, path: Path, found: Sequence[PairResult]) -> None:
        # Sentences are made again: they are a third of the bytes.
        names = [n for n in (vars(found[0]) if found else ()) if n != "sentence"]
        rows = [[_plain(getattr(p, n)) for n in names] for p in found]
        write_text(path, json.dumps({"names": names, "rows": rows}, separators=(",", ":")))


class RememberedPages:
    """Pages of a board that were made before, by what decides them: code, the records they show and meet, the board's plan.

    Args:
        folder: where they lie in the cache.
        code: hash of the code that makes pages.
        shared: whatever else all pages show, JSON values.
    """

    def __init__(self, folder: Path, code: str, shared: Any) -> None:
        self._folder, self._shared = folder, hash_json([code, shared])

    def __call__(self, key: str, records: Sequence[Record], make: Callable[[str], str], name: str) -> str:
        """Return the page ``make(name)``, from the cache where its records are the same.

        Args:
            key: which page.
            records: those that it shows.
            make: makes the page of a name.
            name: what it is made for.

        Returns:
            The page, HTML.
        """
        path = self._path(key, records)
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            page = make(name)
            write_text(path, page)
            return page

    def holds(self, key: str, records: Sequence[Record]) -> bool:
        """Whether a page is in the cache."""
        return self._path(key, records).is_file()

    def _path(self, key: str, records: Sequence[Record]) -> Path:
        # A record's facts decide as well as its statistics: its title, its card, its notes.
        return self._folder / f"{hash_json([self._shared, key, [r.file_hash for r in records]])}.html"


class RememberedFiles:
    """Files beside the pages, by the same reasons: where they lie as they were written, they are not written again.

    Args:
        folder: where their hashes lie in the cache.
        code: hash of the code that writes them.
        shared: whatever else they depend on, JSON values.
    """

    def __init__(self, folder: Path, code: str, shared: Any) -> None:
        self._folder, self._shared = folder, hash_json([code, shared])

    def __call__(
        self, records: Sequence[Record], out: Path, write: Callable[[], Sequence[Path]]
    ) -> list[Path]:
        """Return what ``write()`` writes into ``out``, by the hashes noted the last time or by writing.

        Args:
            records: those that the files hold.
            out: folder of the files.
            write: writes them and returns their paths.

        Returns:
            Paths of the files.
        """
        content = [r.file_hash for r in records]
        path = self._folder / f"{hash_json([self._shared, content])}.json"
        try:
            hashes = json.loads(path.read_text(encoding="utf-8"))
            if hashes and all(hash_file(out / name) == file_hash for name, file_hash in hashes.items()):
                return [out / name for name in hashes]
        except (OSError, ValueError, AttributeError, TypeError):
            pass  # no hashes noted, or a file is gone: write
        written = list(write())
        write_text(path, json.dumps({p.relative_to(out).as_posix(): hash_file(p) for p in written}))
        return written


def _decisive_beyond(record: Record) -> set[str]:
    """Facts that decide as well where the plan asks for more than speakers: sentences, whether seeds matter, folds."""
    wider = {"sentence_cells", "sentences_absent", "card", "clusters", "schema_version"}
    return set() if record.facts.plan.population == SPEAKERS else wider


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _pairing(row: dict[str, Any]) -> PairResult:
    listed = {name: tuple(row[name]) for name in ("notes", "one_seed", "population_lacking")}
    result = PairResult(**row | listed | {"sentence": ""})
    object.__setattr__(result, "sentence", sentence(result))
    return result
