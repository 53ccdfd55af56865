"""A matrix: systems × tasks × protocols × seeds × conditions, and the analysis plan, written before anything is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from bench.audio.conditions import CLEAN, parse_condition
from bench.cards.analysis_plan import AnalysisPlan
from bench.cards.corpus import Protocol
from bench.cards.registry import matrix_files
from bench.cards.typed_yaml import Name, Strict, path_hint, read_typed
from bench.errors import DataError, UsageError, nearest
from bench.storage.hashing import hash_json
from bench.storage.run_folder import RunFolder


class Entry(Strict):
    """Some systems on some tasks."""

    systems: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names, patterns over the known systems (``*-superb``), or paths of card files relative to the matrix file."""
    tasks: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    """Task ids or patterns, over the corpora that are found: ``*``, ``emodb-*``, ``indowave.id@loso``."""
    synthetic: bool = True
    """Whether the patterns also match the built-in synthetic corpus."""
    stands_in_for: str | None = None
    """Run these only where the named system cannot run: its weights or its server are missing."""
    protocol: Protocol = "within"
    training: tuple[str, ...] = ()
    """For ``transfer``, what is learnt from: ``other-pools``, ``other-languages``, task ids or patterns; a record each."""
    view: Literal["seven", "four"] = "seven"
    """For ``transfer``: the label space that is learnt and scored in."""
    train_condition: str = CLEAN
    """What is done to the audio that is learnt from."""
    conditions: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """What is done to test audio; the matrix's conditions unless given."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)

    @field_validator("systems", "tasks", "seeds", "training", "conditions", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return value if isinstance(value, list | tuple) or value is None else [value]

    @field_validator("train_condition")
    @classmethod
    def _known_condition(cls, value: str) -> str:
        return parse_condition(value).name

    @field_validator("conditions")
    @classmethod
    def _known_conditions(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return value if value is None else _distinct_conditions(value)

    @model_validator(mode="after")
    def _fits_the_protocol(self) -> Entry:
        if self.protocol == "transfer" and not self.training:
            raise ValueError(
                "protocol: transfer needs training: other-pools, other-languages, or the tasks to learn from"
            )
        if self.protocol != "transfer" and self.training:
            raise ValueError(f"training belongs to protocol: transfer; this entry's is {self.protocol}")
        if self.protocol == "zero-shot" and self.train_condition != CLEAN:
            raise ValueError("train_condition: nothing is trained with protocol: zero-shot")
        return self

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"seeds must differ, found {', '.join(map(str, value))}")
        return value


class Matrix(Strict):
    """What to run, and how it will be judged."""

    name: Name
    description: str = ""
    entries: Annotated[tuple[Entry, ...], Field(min_length=1)]
    conditions: Annotated[tuple[str, ...], Field(min_length=1)] = (CLEAN,)
    """What is done to test audio, in entries that do not say so themselves: a cell and a record for each."""
    synthetic: Literal["when_alone", "always", "never"] = "when_alone"
    """When the built-in synthetic corpus takes part: when no prepared corpus is found, always, or never."""
    plan: AnalysisPlan = AnalysisPlan()

    @field_validator("conditions")
    @classmethod
    def _known_conditions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct_conditions(value)

    def as_json(self) -> dict[str, Any]:
        """JSON values of everything above, as runs, logs, registrations and publications keep them and hash them."""
        return self.model_dump(mode="json")

    @property
    def hash(self) -> str:
        """Hash of what :meth:`as_json` gives."""
        return hash_json(self.as_json())


def _distinct_conditions(value: tuple[str, ...]) -> tuple[str, ...]:
    names = [parse_condition(text).name for text in value]
    if len(set(names)) < len(names):
        raise ValueError(f"conditions must differ, found {', '.join(names)}")
    return tuple(names)


def load_matrix(name_or_path: str) -> tuple[Matrix, Path]:
    """Load a shipped matrix by name, or one from a path. Returns it with the folder that relative card paths start from."""
    if name_or_path.endswith((".yaml", ".yml")):
        path = Path(name_or_path)
    else:
        shipped = matrix_files()
        if name_or_path not in shipped:
            raise UsageError(
                f"unknown matrix {name_or_path!r}; {nearest(name_or_path, shipped)}; {path_hint(name_or_path, 'matrix')}"
            )
        path = shipped[name_or_path]
    return read_typed(path, Matrix), path.parent


def read_matrix(folder: RunFolder) -> Matrix:
    """Return the matrix that a run was made with.

    Raises:
        DataError: the run's ``matrix.json`` cannot be read.
    """
    try:
        return Matrix.model_validate(json.loads(folder.matrix.read_text(encoding="utf-8"))["matrix"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder.matrix}: cannot be read ({error}); run its matrix again") from None
