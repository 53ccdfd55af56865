"""Tasks with their labels, built again for records that were scored earlier: the very clips and folds, or an error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.cards.corpus import Protocol
from bench.cards.labels import View
from bench.corpora.decoded import decode_missing, open_table
from bench.corpora.naming import known_marks, other_copy
from bench.corpora.prepared import PreparedCorpus, data_folders, find_corpora
from bench.errors import DataError
from bench.storage.run_folder import RunFolder, cache_folder
from bench.tasks.building import build_task
from bench.tasks.task import Task


class RebuiltTasks:
    """The tasks of records, each built once.

    Args:
        corpora: prepared corpora that are at hand.
        limit: at most so many clips per task; None for all.
        decode: whether audio is decoded where the cache lacks it.
    """

    def __init__(self, corpora: Sequence[PreparedCorpus], limit: int | None, *, decode: bool = True) -> None:
        self._corpora, self._limit, self._decode = {c.card.name: c for c in corpora}, limit, decode
        self._built: dict[tuple[str, str], Task] = {}
        self._heard: dict[tuple[str, str], list[str]] = {}

    @classmethod
    def of_run(cls, path: Path, data: Sequence[Path] = (), *, decode: bool = True) -> RebuiltTasks:
        """Find the corpora of a run: in ``data``, else SERBENCH_DATA, else where the run found them.

        Args:
            path: the run.
            data: folders of prepared corpora; blank for SERBENCH_DATA, else where the run found them.
            decode: whether audio is decoded where the cache lacks it.

        Returns:
            Their tasks, none built yet, with the limit that the run was made with.
        """
        return cls(corpora_at_hand(path, data), limit_of(path), decode=decode)

    def folder(self, corpus: str) -> Path | None:
        """Where a corpus lies, None when it is not at hand."""
        return self._corpora[corpus].folder if corpus in self._corpora else None

    def of(
        self,
        path: Path,
        name: str,
        protocol: Protocol,
        *,
        corpus: str,
        content_hash: str,
        folds_hash: str,
        learnt: tuple[View, tuple[str, ...]] | None = None,
        commitment: str | None = None,
    ) -> Task:
        """Return the task of the record at ``path``; it must be the very one that was scored.

        Args:
            path: the record, for the sentences.
            name: the task's id.
            protocol: under which it was run.
            corpus: the name of its corpus.
            content_hash: hash of the clips, labels and speakers that were scored.
            folds_hash: hash of the folds.
            learnt: the view that was learnt in with the labels on offer; None for the corpus's own classes.
            commitment: to the samples of the whole corpus, from schema 4 on.

        Returns:
            The task with its labels.

        Raises:
            DataError: its corpus is not at hand, or is not what was scored.
        """
        if corpus not in self._corpora:
            raise DataError(
                f"{path}: the labels of {corpus!r} are needed to score from tables, and no prepared folder of it is at hand; "
                "name it with --data or SERBENCH_DATA, or use --from records"
            )
        if (name, protocol) not in self._built:
            table = open_table(self._corpora[corpus], cache_folder())
            if self._decode:
                decode_missing(table)
            self._built[name, protocol] = build_task(table, name, protocol, limit=self._limit)
            self._heard[name, protocol] = [
                clip.pcm_hash
                for language, clip in zip(table.metadata.languages, table.decoded(), strict=True)
                if language == self._built[name, protocol].language
            ]
        task = self._built[name, protocol]
        if learnt is not None:
            task = replace(task, view=learnt[0], offered=learnt[1])
        if commitment is not None and task.names.commitment != commitment:
            marks = known_marks(RunFolder(path.parent.parent), task.corpus_language)
            heard = self._heard[name, protocol]
            raise DataError(
                f"{path}: was scored on other clips, labels or speakers of {name} than those in {self._corpora[corpus].folder} now, "
                f"{other_copy(task.corpus_language, marks, heard)}; use the copy it was scored on, or --from records"
            )
        for what, current, scored in (
            ("clips, labels or speakers", task.content_hash, content_hash),
            ("folds", task.folds_hash, folds_hash),
        ):
            if current != scored:
                raise DataError(
                    f"{path}: was scored on other {what} of {name} than those in {self._corpora[corpus].folder} now; "
                    "use the corpus and the version it was scored with, or --from records"
                )
        return task


def corpora_at_hand(path: Path, data: Sequence[Path]) -> list[PreparedCorpus]:
    """Prepared corpora: of ``data``, else SERBENCH_DATA, else where the run found them."""
    if folders := data_folders(data):
        return find_corpora(folders)[0]
    try:
        folder_of = json.loads(RunFolder(path).data.read_text(encoding="utf-8"))
        folders = [Path(p) for p in folder_of.values() if Path(p).is_dir()]
    except (OSError, ValueError, AttributeError, TypeError):
        folders = []
    return find_corpora(folders)[0] if folders else []


def limit_of(path: Path) -> int | None:
    """At most how many clips per task a run was made with; None for all."""
    try:
        limit = json.loads(RunFolder(path).matrix.read_text(encoding="utf-8"))["limit"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return int(limit) if limit is not None else None
