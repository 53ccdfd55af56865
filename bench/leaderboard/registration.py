"""Plans that were committed before the data were touched, and the records that may say so.

A registration is a file ``plans/NAME-HASH.json`` in the results folder. Nothing in the file proves a date; git does: the
badge is for records whose every cell was answered and scored by code of a commit that already holds exactly this file.
It is looked up whenever a board is checked or built, and stored nowhere.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from bench.cards.registry import match_systems
from bench.cards.typed_yaml import Name, Strict
from bench.errors import DataError
from bench.scoring.predictions import read_identity
from bench.scoring.published_tables import published_identities
from bench.scoring.record_schema import CodeVersion, Hash, RecordFacts
from bench.storage.atomic import write_json
from bench.storage.bounded_files import bounded_json
from bench.storage.hashing import hash_json
from bench.version import __version__

PLANS = "plans"
REGISTRATION_SCHEMA = 1
PRE_REGISTERED = "pre-registered"
MEANING = (
    "its plan was committed to this repository before the commits whose code answered and scored its cells"
)
_REVISION = re.compile(r"\+g([0-9a-f]{7,40})(?:\.dirty)?$")
_GIT_SECONDS = 30


class PlanRegistration(Strict):
    """A matrix as it was registered: expanded to the systems it means, with its hashes and the package that read it."""

    schema_version: Annotated[int, Field(alias="schema", ge=1, le=REGISTRATION_SCHEMA)]
    name: Name
    matrix_hash: Hash
    plan_hash: Hash
    package: CodeVersion
    systems: tuple[str, ...]
    """Systems that its entries mean; a card file by its path in the matrix."""
    matrix: dict[str, Any]

    @property
    def sound(self) -> bool:
        """Whether its hashes are those of the matrix in it."""
        plan = self.matrix.get("plan")
        return self.matrix_hash == hash_json(self.matrix) and self.plan_hash == hash_json(plan)


def plan_path(results: Path, name: str, matrix_hash: str) -> Path:
    """Where the registration of a matrix lies.

    Args:
        results: folder of published records.
        name: of the matrix.
        matrix_hash: its hash.
    """
    return results / PLANS / f"{name}-{matrix_hash}.json"


def register_plan(results: Path, matrix: Mapping[str, Any]) -> tuple[Path, bool]:
    """Write a matrix down, to be committed before the data are touched.

    Args:
        results: folder of published records.
        matrix: the matrix as JSON values, defaults written out.

    Returns:
        The file, and whether it is new: one that already holds this matrix is left as it is.

    Raises:
        UsageError: the matrix names a pattern that no system fits.
        DataError: the file is there and holds something else.
    """
    entries = matrix["entries"]
    systems = dict.fromkeys(s for e in entries for p in e["systems"] for s in match_systems(p))
    made = PlanRegistration.model_validate(
        {
            "schema": REGISTRATION_SCHEMA,
            "name": matrix["name"],
            "matrix_hash": hash_json(matrix),
            "plan_hash": hash_json(matrix["plan"]),
            "package": __version__,
            "systems": tuple(systems),
            "matrix": dict(matrix),
        }
    )
    path = plan_path(results, made.name, made.matrix_hash)
    if path.exists() or path.is_symlink():
        if read_registration(path).matrix != made.matrix:
            raise DataError(
                f"{path}: holds another matrix than {made.name!r}, though its name has this one's hash; restore it from git, or move it away"
            )
        return path, False
    write_json(path, made.model_dump(mode="json", by_alias=True))
    return path, True


def read_registration(path: Path) -> PlanRegistration:
    """Read a registered plan.

    Raises:
        DataError: it is no registration, or was edited.
    """
    try:
        found = PlanRegistration.model_validate(bounded_json(path))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "it"
        raise DataError(
            f"{path}: {where} is not as serbench plan register writes it; restore it from git, or remove it"
        ) from None
    if not found.sound or path.name != plan_path(Path(), found.name, found.matrix_hash).name:
        raise DataError(
            f"{path}: was edited: its matrix has another hash than it says; restore it from git, or remove it"
        )
    return found


@dataclass(frozen=True)
class RegistrationCheck:
    """Whether a record's plan is shown to have been registered first; ``words`` say why not, or nothing where nobody tried."""

    shown: bool = False
    words: str = ""


NOT_REGISTERED = RegistrationCheck()


class Registrations:
    """Looks for the registered plans of a results folder in its git history.

    Args:
        results: folder of published records.
    """

    def __init__(self, results: Path) -> None:
        self._results = results
        self._found: dict[tuple[Path, str], RegistrationCheck] = {}

    def of(self, facts: RecordFacts, tables: Path) -> RegistrationCheck:
        """Say whether a record's plan was registered before its cells were answered.

        Args:
            facts: what the record says.
            tables: folder of its prediction tables, which name the code that answered; need not exist.

        Returns:
            The answer, with a reason wherever a registration exists and does not count.
        """
        path = plan_path(self._results, facts.matrix, facts.matrix_hash)
        if not path.exists() and not path.is_symlink():
            return NOT_REGISTERED
        try:
            read_registration(path)
        except DataError as error:
            return RegistrationCheck(words=f"not {PRE_REGISTERED}: {error}")
        if facts.imported is not None:
            return RegistrationCheck(words=f"not {PRE_REGISTERED}: its predictions were made elsewhere")
        answered = {*facts.cells_code, *_answered_by(facts, tables)}
        if not answered:
            return _unknown("the record does not say which code answered its cells")
        for version in sorted({facts.code_version, *answered}):
            if (found := self._before(path, version)).words:
                return found
        return RegistrationCheck(shown=True)

    def _before(self, path: Path, version: str) -> RegistrationCheck:
        """Whether a version's commit holds exactly this file: then the commit that added it is the same or an ancestor."""
        revision = _REVISION.search(version)
        if revision is None:
            return _unknown(f"the code version {version} names no revision of git")
        key = (path, revision[1])
        if key not in self._found:
            self._found[key] = _held(*key)
        return self._found[key]


def _held(path: Path, revision: str) -> RegistrationCheck:
    folder = path.parent
    if _git(folder, "rev-parse", "--is-inside-work-tree") != "true":
        return _unknown(f"{folder} is in no git work tree, or git is not at hand")
    if _git(folder, "rev-parse", "--is-shallow-repository") != "false":
        return _unknown("the clone is shallow; fetch its history with: git fetch --unshallow")
    commit = _git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if not commit:
        return _unknown(f"the revision {revision} is not known in this repository")
    content = _git(folder, "hash-object", "--", path.name)
    if content and _git(folder, "rev-parse", "--verify", "--quiet", f"{commit}:./{path.name}") == content:
        return RegistrationCheck(shown=True)
    return RegistrationCheck(
        words=f"not {PRE_REGISTERED}: {path.name} was not yet committed, as it stands, when code {revision} was"
    )


def _unknown(why: str) -> RegistrationCheck:
    return RegistrationCheck(words=f"whether it was {PRE_REGISTERED} cannot be checked: {why}")


def _answered_by(facts: RecordFacts, tables: Path) -> set[str]:
    """Versions of the code that the prediction tables at hand were written by."""
    if facts.table is not None:
        path = tables / facts.table.file
        cells = published_identities(path) if path.is_file() else []
    else:
        paths = [tables / f"{cell}.parquet" for cell in facts.tables]
        cells = [read_identity(p) for p in paths if p.is_file()]
    return {str(cell.get("code_version")) for cell in cells}


def _git(folder: Path, *arguments: str) -> str:
    """What git says in a folder, whatever repository a hook or a shell has named; "" where it fails or is not there."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    command: Sequence[str] = ("git", "-C", str(folder), *arguments)
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
