"""Names that only holders of a corpus can make: hashes under a key that follows from the audio itself.

The key is a hash over the hashes of the samples of *all* clips of one corpus in one language, before folds, limits and
exclusions. Whoever holds the very samples makes the same names; nobody else can try a list of speakers against them. What
is published beside the names (:mod:`bench.corpora.copies`, the hashes of a record) is made from other inputs or under other purposes, and
none of it gives the key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.corpora.copies import CopyMarks
from bench.errors import DataError
from bench.storage.atomic import write_json
from bench.storage.bounded_files import bounded_json
from bench.storage.hashing import digest, keyed_digest
from bench.storage.run_folder import RunFolder

Purpose = Literal["cluster names", "clip names", "speaker names", "sentence names", "fold names"]
"""What is named. The same text has unrelated names for different purposes."""
CLIP_NAME_BYTES = 8
"""Of a corpus of 100,000 clips two have the same name with a probability of 3e-10; a table has one per row."""
_KEY = "serbench: key of names, version 1"
_COMMITMENT = "copy of the corpus"
NAMES_SCHEMA = 1


@dataclass(frozen=True)
class CorpusNames:
    """Names under the key of one corpus in one language, and what tells its copies apart. Private: it holds the key."""

    key: bytes = field(repr=False)
    marks: CopyMarks = field(repr=False)

    @classmethod
    def of_audio(cls, pcm_hashes: Sequence[str]) -> CorpusNames:
        """Derive the key from the audio.

        Args:
            pcm_hashes: of every clip of the corpus in this language, in any order; "" for one that cannot be decoded.
        """
        key = bytes.fromhex(digest(_KEY, *sorted(pcm_hashes), length=32))
        return cls(key, CopyMarks.of_audio(pcm_hashes))

    @property
    def commitment(self) -> str:
        """What a record says of the copy: equal for sample-identical ones, and of no use for anything else."""
        return keyed_digest(self.key, _COMMITMENT, str(self.marks.clips))

    def name(self, purpose: Purpose, value: str, length: int = 16) -> str:
        """Name something of the corpus.

        Args:
            purpose: what it is.
            value: what the corpus calls it.
            length: bytes of the name.

        Returns:
            Hexadecimal text.
        """
        return keyed_digest(self.key, purpose, value, length=length)

    def cluster(self, value: str) -> str:
        """Name a cluster (``pool/speaker``, a session, a dialogue)."""
        return self.name("cluster names", value)

    def speaker(self, value: str) -> str:
        """Name a speaker where speakers are not the clusters."""
        return self.name("speaker names", value)

    def sentence(self, value: str) -> str:
        """Name what several speakers say."""
        return self.name("sentence names", value)

    def clip(self, value: str) -> str:
        """Name a clip by its id."""
        return self.name("clip names", value, CLIP_NAME_BYTES)

    def folds(self, names: Sequence[str]) -> dict[str, str]:
        """Return what each fold is called where it is published: the same names, dealt out anew under the key.

        Folds are numbered by the clips in them, so that with one speaker left out at a time the number of a fold would be the
        place of the speaker in the alphabet.
        """
        shuffled = sorted(names, key=lambda n: self.name("fold names", n))
        return dict(zip(shuffled, sorted(names), strict=True))

    def write(self, path: Path) -> None:
        """Keep the key in a run folder, so that its tables can be published without the corpus."""
        write_json(
            path,
            {
                "schema": NAMES_SCHEMA,
                "private": "whoever has the key can tell who is behind published names; not for publication",
                "key": self.key.hex(),
                **self.marks.as_json(),
            },
        )

    @classmethod
    def read(cls, path: Path) -> CorpusNames:
        """Read what :meth:`write` wrote.

        Raises:
            DataError: missing, or no such file.
        """
        noted = bounded_json(path)
        try:
            if noted["schema"] != NAMES_SCHEMA or len(key := bytes.fromhex(noted["key"])) != 32:
                raise ValueError("another schema or a key of another length")
            return cls(key, CopyMarks.from_json(noted))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: is not the key of a corpus's names ({error}); remove it and score the run again"
            ) from None


def names_of_run(folder: RunFolder, corpus_language: str) -> CorpusNames | None:
    """Return the names that a run keeps for one of its corpora in one language; None where it keeps none.

    Raises:
        DataError: what it keeps is damaged.
    """
    path = folder.names / f"{corpus_language}.json"
    return CorpusNames.read(path) if path.is_file() else None


def known_marks(folder: RunFolder, corpus_language: str) -> CopyMarks | None:
    """Return the marks of the copy that a run or a publication was made with; None where nothing is noted.

    Raises:
        DataError: what is noted is damaged.
    """
    if folder.copies.is_file():
        return read_marks(folder.copies).get(corpus_language)
    names = names_of_run(folder, corpus_language)
    return names.marks if names else None


def read_marks(path: Path) -> dict[str, CopyMarks]:
    """Read a publication's ``copies.json``: marks by corpus and language.

    Raises:
        DataError: it is none.
    """
    noted = bounded_json(path)
    try:
        if noted["schema"] != NAMES_SCHEMA:
            raise ValueError(f"schema {noted['schema']!r}")
        return {str(name): CopyMarks.from_json(marks) for name, marks in noted["copies"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: holds no marks of copies ({error}); publish the run again") from None


def write_marks(path: Path, marks: Mapping[str, CopyMarks]) -> None:
    """Write a publication's ``copies.json``."""
    write_json(path, {"schema": NAMES_SCHEMA, "copies": {n: m.as_json() for n, m in sorted(marks.items())}})


def other_copy(name: str, scored: CopyMarks | None, here: CopyMarks | Sequence[str]) -> str:
    """Say that a copy of a corpus is another one, and in how many clips where that can be told.

    Args:
        name: the corpus and language.
        scored: marks of the copy that was scored; None where none were kept.
        here: the copy it is compared with: its marks, or the hashes of its clips' samples.
    """
    if scored is None:
        return f"another copy of {name}: its samples differ, and no marks were kept that would tell in how many clips"
    differ = scored.differing(here) if isinstance(here, CopyMarks) else scored.differing_audio(here)
    if not differ:
        return f"another copy of {name}: the same sounds, but not the same number of clips"
    size = here.clips if isinstance(here, CopyMarks) else len(set(here) - {""})
    return f"another copy of {name}: {differ} of {max(scored.clips, size)} clips differ"


@dataclass(frozen=True)
class HashedNames:
    """Names as records had them before they were keyed: a hash with something that is published, which guesses can be tried on."""

    salt: str

    def cluster(self, value: str) -> str:
        """Name a cluster."""
        return digest(self.salt, value)

    def speaker(self, value: str) -> str:
        """Name a speaker where speakers are not the clusters."""
        return digest(self.salt, value)

    def sentence(self, value: str) -> str:
        """Name what several speakers say."""
        return digest(self.salt, value)


Naming = CorpusNames | HashedNames
