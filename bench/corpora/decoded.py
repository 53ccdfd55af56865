"""A prepared corpus, opened: its metadata, and its decoded audio shard by shard."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.audio.store import AudioShard, DecodedClip, decode_shard, plan_shards, read_shard
from bench.corpora.metadata import Metadata, read_metadata
from bench.corpora.naming import CorpusNames
from bench.corpora.prepared import PreparedCorpus
from bench.errors import DataError

NOT_YET = "not decoded yet"
"""Why a forecast's stand-in for a clip has no samples."""


@dataclass(frozen=True)
class CorpusTable:
    """A prepared corpus, read: metadata and the shards its decoded audio lies in."""

    corpus: PreparedCorpus
    metadata: Metadata
    shards: tuple[AudioShard, ...]

    @property
    def task_names(self) -> list[str]:
        """One task per language of the corpus."""
        return [f"{self.corpus.card.name}.{language}" for language in sorted(set(self.metadata.languages))]

    def missing_shards(self, *, examined: bool = False) -> list[AudioShard]:
        """Shards that are yet to be decoded; with ``examined``, those of older versions too, which examined nothing."""
        return [
            s
            for s in self.shards
            if (clips := read_shard(s)) is None
            or (examined and any(c.message is None and c.examined is None for c in clips))
        ]

    def decoded(self, *, forecast: bool = False) -> list[DecodedClip]:
        """Return the decoded clips in row order; every shard must be there (they are read once).

        With ``forecast``, clips that are yet to be decoded are stood in for by silent ones.
        """
        if not forecast:
            return self._whole
        clips: list[DecodedClip] = []
        for shard in self.shards:
            clips += read_shard(shard) or [
                DecodedClip(i, "", 0, 0, shard.samples_path, NOT_YET) for i in shard.clip_ids
            ]
        return clips

    @functools.cached_property
    def names(self) -> dict[str, CorpusNames]:
        """Names under the key of all clips in one language, by language; every shard must be decoded."""
        heard: dict[str, list[str]] = defaultdict(list)
        for language, clip in zip(self.metadata.languages, self._whole, strict=True):
            heard[language].append(clip.pcm_hash)
        return {language: CorpusNames.of_audio(hashes) for language, hashes in heard.items()}

    @functools.cached_property
    def _whole(self) -> list[DecodedClip]:
        clips: list[DecodedClip] = []
        for shard in self.shards:
            if (read := read_shard(shard)) is None:
                raise DataError(
                    f"{self.corpus.folder}: its audio is not decoded yet, or the cache was removed meanwhile; run again"
                )
            clips += read
        return clips


def open_table(corpus: PreparedCorpus, cache: Path) -> CorpusTable:
    """Read a corpus's metadata and plan where its decoded audio lies under the cache."""
    metadata = read_metadata(corpus)
    return CorpusTable(
        corpus, metadata, tuple(plan_shards(corpus.folder, metadata.clip_ids, cache / "audio"))
    )


def decode_missing(
    table: CorpusTable, progress: Callable[[int], object] = int, *, examined: bool = False
) -> int:
    """Decode what is missing, in this process.

    Args:
        table: the corpus.
        progress: told of every number of clips that was decoded.
        examined: decode anew what an older version stored without examining it.

    Returns:
        How many files were read.
    """
    total = 0
    for shard in table.missing_shards(examined=examined):
        total += (done := decode_shard(shard))
        progress(done)
    return total
