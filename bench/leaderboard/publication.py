"""How published records lie in a folder: one sub-folder per publication, sealed, and what was taken back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.cards.analysis_plan import AnalysisPlan
from bench.cards.typed_yaml import Strict, read_typed
from bench.errors import DataError, UsageError
from bench.leaderboard.attestations import ATTESTER, FOLDER
from bench.storage.atomic import write_json
from bench.storage.bounded_files import bounded_json
from bench.storage.hashing import hash_file
from bench.storage.run_folder import RunFolder

SEAL_SCHEMA = 1
NAME = re.compile(r"[a-z0-9][a-z0-9._+-]{0,79}")


class BoardRules(Strict):
    """``board.yaml`` of a results folder: its title, and the plan that every published record must have followed."""

    title: str = "ser-bench leaderboard"
    address: str = ""
    """Where the repository is, for the links by which others publish; blank leaves them out."""
    competing: Literal["statistics", "tables", "labels"] = "labels"
    """What must have been checked of a record that is ranked and tested: its labels, unless somebody wants less. Others stand below the line."""
    attesters: tuple[Annotated[str, Field(pattern=ATTESTER)], ...] = ()
    """People whose attestations count: a record that one of them vouches for had its labels checked."""
    plan: AnalysisPlan = AnalysisPlan()
    """Its ``across_tracks`` is not asked for: pairs across tracks are those that the publications' own plans name."""


class Submission(BaseModel):
    """``submitted.json``: who sent a publication, and where more is told of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)
    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    by: Annotated[str, Field(pattern=ATTESTER)]
    link: Annotated[str, Field(max_length=500, pattern=r"^(https://[^\s\"'<>\\]+)?$")] = ""


@dataclass(frozen=True)
class Publication:
    """One published run: ``records/``, ``tables/``, ``matrix.json`` with its plan log and outcomes, the seal, retractions."""

    folder: RunFolder

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.root.name

    @property
    def seal_path(self) -> Path:
        """``published.json``: the hash of every file as it was published."""
        return self.folder.root / "published.json"

    @property
    def retractions_path(self) -> Path:
        """``retracted.json``: why records no longer stand, by file stem."""
        return self.folder.root / "retracted.json"

    @property
    def outcomes_path(self) -> Path:
        """``outcomes.json``: what became of every record that was planned."""
        return self.folder.root / "outcomes.json"

    def require_own_files(self) -> None:
        """Raise :class:`DataError` unless it has the name of a publication and nothing in it is a link to elsewhere."""
        root = self.folder.root
        if not NAME.fullmatch(self.name):
            raise DataError(
                f"{root}: cannot name a publication: small letters, digits and . _ + - only, starting with a letter or digit"
            )
        for folder in (root, self.folder.records, self.folder.tables, root / FOLDER):
            inside = sorted(folder.iterdir()) if folder.is_dir() else []
            if link := next((p for p in inside if p.is_symlink()), None):
                raise DataError(f"{link}: is a link; a publication holds its own files, put the file there")
            if strange := next(
                (p for p in inside if not p.is_file() and (folder != root or not p.is_dir())), None
            ):
                raise DataError(f"{strange}: expected a file, found another kind of thing; remove it")

    def record_paths(self) -> list[Path]:
        """Its records, sorted."""
        return sorted(self.folder.records.glob("*.json"))

    def files(self) -> dict[str, str]:
        """Hash every file that the seal covers, by path within the publication."""
        root = self.folder.root
        paths = [self.folder.matrix, self.folder.sidecar, self.folder.plan_log, self.outcomes_path]
        for part in (self.folder.records, self.folder.tables):
            paths += sorted(part.glob("*")) if part.is_dir() else []
        # What was superseded has seals of its own: that one of them is gone shows here.
        paths += sorted(self.folder.superseded.glob(f"*/{self.seal_path.name}"))
        return {p.relative_to(root).as_posix(): hash_file(p) for p in paths if p.is_file()}

    def seal(self) -> None:
        """Write down the hash of every file."""
        write_json(self.seal_path, {"schema": SEAL_SCHEMA, "files": self.files()})

    def broken_seal(self) -> str | None:
        """Say what differs from the seal, or return None when nothing does."""
        again = f"serbench leaderboard add RUN --name {self.name}"
        if not self.seal_path.is_file():
            return f"{self.seal_path}: missing; records are published with: {again}"
        sealed = bounded_json(self.seal_path)
        noted = sealed.get("files") if isinstance(sealed, dict) else None
        if not isinstance(noted, dict) or sealed.get("schema") != SEAL_SCHEMA:
            return f"{self.seal_path}: is no seal of this version; publish again with: {again}"
        found = self.files()
        for what, names in (
            ("was changed by hand after it was published", [n for n in noted if found.get(n, noted[n]) != noted[n]]),
            ("was published and is gone; a record is taken back with serbench leaderboard retract", [n for n in noted if n not in found]),
            ("was put here by hand", [n for n in found if n not in noted]),
        ):  # fmt: skip
            if names:
                more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
                return f"{self.folder.root / sorted(names)[0]}: {what}{more}; publish with: {again}"
        return None

    @property
    def submission_path(self) -> Path:
        """``submitted.json``: who sent it."""
        return self.folder.root / "submitted.json"

    def submission(self) -> Submission | None:
        """Who sent it; None where nobody says so.

        Raises:
            DataError: the file is no such note.
        """
        path = self.submission_path
        if not path.exists():
            return None
        try:
            return Submission.model_validate(bounded_json(path, 1 << 16))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise DataError(
                f"{path}: {where}: {first['msg']}; serbench submit writes what belongs here"
            ) from None

    def retractions(self) -> dict[str, str]:
        """Why records were retracted, by file stem.

        Raises:
            DataError: the file is damaged, or names a record that is not there.
        """
        if not self.retractions_path.exists():
            return {}
        noted = bounded_json(self.retractions_path, 1 << 20)
        stems = {p.stem for p in self.record_paths()}
        if not isinstance(noted, dict) or not all(isinstance(v, str) and v.strip() for v in noted.values()):
            raise DataError(f"{self.retractions_path}: expected the reason of every retracted record by name")
        if strange := sorted(set(noted) - stems):
            raise DataError(f"{self.retractions_path}: names {strange[0]!r}, which is no record beside it")
        return noted

    def described(self) -> Mapping[str, Any]:
        """The matrix with its analysis plan, as it was run.

        Raises:
            DataError: missing or damaged.
        """
        found = bounded_json(self.folder.matrix)
        if not (isinstance(found, dict) and isinstance(found.get("matrix"), dict) and "matrix_hash" in found):
            raise DataError(f"{self.folder.matrix}: holds no matrix with its hash; publish the run again")
        return found


@dataclass(frozen=True)
class Board:
    """A folder of publications."""

    root: Path

    @property
    def rules(self) -> BoardRules:
        """Its ``board.yaml``, or the usual rules."""
        path = self.root / "board.yaml"
        return read_typed(path, BoardRules) if path.exists() else BoardRules()

    def publications(self, *, empty: bool = False) -> list[Publication]:
        """Everything published here, by name: sub-folders that hold records.

        Args:
            empty: a folder in which nothing is published yet is no error.

        Raises:
            UsageError: the folder does not exist or holds nothing that was published.
        """
        if not self.root.is_dir():
            raise UsageError(
                f"{self.root}: no such folder; name the folder of published records with --results"
            )
        found = [
            Publication(RunFolder(p)) for p in sorted(self.root.iterdir()) if (p / "records").is_dir() and not p.is_symlink()
        ]  # fmt: skip
        if not found and not empty:
            raise UsageError(
                f"{self.root}: nothing is published here; add a finished run with: serbench leaderboard add RUN"
            )
        return found

    def publication(self, name: str) -> Publication:
        """The publication of that name, whether it exists or not.

        Raises:
            UsageError: no name for a folder.
        """
        if not NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot name a publication: small letters, digits and . _ + - only, starting with a letter or digit"
            )
        return Publication(RunFolder(self.root / name))


def plan_of(described: Mapping[str, Any], path: Path) -> AnalysisPlan:
    """The analysis plan of a publication's matrix.

    Raises:
        DataError: it has none that this version knows.
    """
    try:
        return AnalysisPlan.model_validate(described["matrix"]["plan"])
    except (KeyError, ValidationError):
        raise DataError(
            f"{path}: its matrix has no analysis plan that this version knows; update ser-bench"
        ) from None
