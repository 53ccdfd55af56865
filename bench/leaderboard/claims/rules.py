"""``claims.yaml`` of a folder of results: what is asked of the records, and on which pages the answers stand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bench.cards.corpus import Protocol
from bench.cards.typed_yaml import Name, Strict, read_typed
from bench.errors import UsageError

FILE = "claims.yaml"
Rivals = Literal["same encoder", "own variants", "each track"]
RIVAL_WORDS: dict[Rivals, str] = {
    "same encoder": "on the same encoder",
    "own variants": "among its own variants",
    "each track": "in the track",
}


class ClaimQuestion(Strict):
    """How the proposed systems stand to the strongest of some rivals, task by task."""

    id: Name
    rivals: Rivals
    """Systems on the same pretrained weights but of another kind; of the same weights and the same adapter or probe; every
    other system, the strongest of each track."""
    protocol: Protocol = "within"
    training: str = ""
    """What was learnt from, in transfer."""
    condition: str = "clean"
    outside: Literal["wrong", "masked"] = "wrong"
    tasks: tuple[str, ...] = ("*",)
    """Patterns of task names."""


class SpokenNames(Strict):
    """What people call systems in prose, beside their names."""

    proposed: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()

    @property
    def of_proposed(self) -> tuple[str, ...]:
        """Its own words and those that anybody would use."""
        return (
            *self.proposed,
            *(
                f"{of} {what}"
                for of in ("proposed", "our")
                for what in ("model", "system", "method", "approach")
            ),
        )

    @property
    def of_rivals(self) -> tuple[str, ...]:
        """Its own words and those that anybody would use."""
        return (
            *self.rivals,
            "frozen probe",
            "baseline",
            "baselines",
            "frozen encoder",
            "frozen encoders",
            "audio-llm",
            "audio-llms",
            "speech encoders",
        )


class ScoresTable(Strict):
    """A row per system and what it learnt from, a column per task."""

    kind: Literal["scores"]
    study: str


class SeedsTable(Strict):
    """A row per task: each system's mean over seeds, its least and its most."""

    kind: Literal["seeds"]
    study: str
    head: str
    systems: tuple[str, ...]


class ChangedSystem(Strict):
    """A row of a table of changes; ``against`` is what it is read against, where that is not the table's base."""

    system: str
    words: str
    against: str = ""


class ChangesTable(Strict):
    """A row per system in which one thing was changed, with the paired difference to what it is read against."""

    kind: Literal["changes"]
    study: str
    base: str
    rows: tuple[ChangedSystem, ...]


class SourcesTable(Strict):
    """A row per training set of one system, in transfer."""

    kind: Literal["training sets"]
    study: str
    system: str
    caption: str = ""


class DimensionsTable(Strict):
    """A row per system and task: CCC and Pearson's r of each dimension, and UA."""

    kind: Literal["dimensions"]
    study: str
    rows: tuple[ChangedSystem, ...]
    caption: str = ""


PageTable = Annotated[ScoresTable | SeedsTable | ChangesTable | SourcesTable | DimensionsTable, Field(discriminator="kind")]  # fmt: skip


class ClaimRules(Strict):
    """What is asked, which systems are proposed, and on which pages no sentence may say more than the ledger."""

    proposed: Annotated[tuple[str, ...], Field(min_length=1)]
    """Patterns of the names of the systems that the project proposes."""
    questions: Annotated[tuple[ClaimQuestion, ...], Field(min_length=1)]
    pages: tuple[str, ...] = ("README.md", "docs/*.md")
    """Markdown files, relative to the folder that holds the results."""
    spoken: SpokenNames = SpokenNames()
    pairs: dict[str, tuple[tuple[str, str], ...]] = {}
    """Pairs of the block ``verdicts:NAME``; without any, those that the publication's plan names across tracks."""
    tables: dict[str, PageTable] = {}
    """Tables of blocks ``results:NAME``; a publication without one has a row per system and a column per task."""

    @model_validator(mode="after")
    def _names_are_told_apart(self) -> ClaimRules:
        ids = [q.id for q in self.questions]
        if twice := next((i for i in ids if ids.count(i) > 1), None):
            raise ValueError(f"two questions are called {twice!r}")
        return self


def read_rules(root: Path) -> ClaimRules:
    """Read the questions of a folder of results.

    Raises:
        UsageError: none there, or not valid: file, line and key.
    """
    path = root / FILE
    if not path.is_file():
        raise UsageError(
            f"{path}: missing; it says which systems are proposed and what is asked of the records (docs/leaderboard.md, Claims)"
        )
    return read_typed(path, ClaimRules)
