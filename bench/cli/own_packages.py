"""Whether Python finds this suite's packages where this suite is: their names belong to unrelated packages of the index too."""

from __future__ import annotations

import base64
import hashlib
import importlib.machinery
import importlib.metadata
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import bench

DISTRIBUTION = "ser-bench"
TOP_LEVEL = ("adapters", "bench", "reports", "tasks")
"""Import packages of the distribution. Other projects use such names too: PyPI has an unrelated ``adapters``."""
FORMS = ("{}/__init__.py", "{}.py")
OWN_ENVIRONMENT = f"python -m venv .venv && .venv/bin/pip install {DISTRIBUTION}"


@dataclass(frozen=True)
class NameClash:
    """A package of somebody else under one of our names."""

    name: str
    place: Path
    hides_ours: bool
    """Whether Python finds it in the place of ours."""
    owners: tuple[str, ...] = ()
    """Distributions that it belongs to, where that is known."""

    @property
    def sentence(self) -> str:
        """What was found, where, and what to do."""
        of = f" (of the distribution {', '.join(self.owners)})" if self.owners else ""
        if not self.hides_ours:
            return (
                f"another package {self.name!r} lies in {self.place}{of}: here this suite's own is found first, elsewhere the other may be; "
                f"give {DISTRIBUTION} an environment of its own: {OWN_ENVIRONMENT}"
            )
        mend = f"pip uninstall -y {' '.join(self.owners)}, then " if self.owners else ""
        return (
            f"Python finds the package {self.name!r} in {self.place}{of} and not this suite's own in {_home() / self.name}; {mend}pip install "
            f"--force-reinstall --no-deps {DISTRIBUTION}, or take that folder off PYTHONPATH, or give {DISTRIBUTION} an environment of its "
            f"own: {OWN_ENVIRONMENT}"
        )


def find_clashes(path: Sequence[str] | None = None) -> list[NameClash]:
    """Look for packages of other people under our names; a few dozen looks at the disk.

    Args:
        path: folders to look into; those of ``sys.path`` unless given.
    """
    clashes: dict[tuple[str, Path], bool] = {}
    for name in TOP_LEVEL:
        found = _found_by_python(name)
        if found is not None and not _is_ours(found, name):
            clashes[name, found] = True
        for place in _others(name, sys.path if path is None else path):
            clashes.setdefault((name, place), False)
    for name in _overwritten():
        clashes[name, _home() / name] = True
    if not clashes:
        return []
    owners = importlib.metadata.packages_distributions()
    return [
        NameClash(name, place, hides, foreign_owners(owners.get(name, [])))
        for (name, place), hides in clashes.items()
    ]


def _home() -> Path:
    return Path(bench.__file__).resolve().parent.parent


def foreign_owners(owners: Sequence[str]) -> tuple[str, ...]:
    """Those of some distributions that are not this one, sorted."""
    return tuple(sorted({o for o in owners if o.lower().replace("_", "-") != DISTRIBUTION}))


def _found_by_python(name: str) -> Path | None:
    """Where an import would find a package now, whatever was imported before."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = find(name, None) if find is not None else None
        if spec is not None:
            return Path(spec.origin).resolve() if spec.origin and spec.has_location else None
    return None


def _is_ours(file: Path, name: str) -> bool:
    return file == _home() / name / "__init__.py"


def _others(name: str, path: Sequence[str]) -> Iterator[Path]:
    """Files of other people's packages of that name, in any folder where Python looks."""
    for folder in dict.fromkeys(Path(entry or ".").resolve() for entry in path):
        if folder == _home() or _another_copy(folder):
            continue
        for form in FORMS:
            file = folder / form.format(name)
            if file.is_file():
                yield file


def _another_copy(folder: Path) -> bool:
    """Whether a folder holds all of this suite: a checkout beside an installed one is no stranger."""
    return (
        all((folder / name / "__init__.py").is_file() for name in TOP_LEVEL)
        and (folder / "bench" / "version.py").is_file()
    )


def _overwritten() -> Iterator[str]:
    """Our packages whose first file is not the one that was installed: another distribution was unpacked over it."""
    try:
        files = importlib.metadata.distribution(DISTRIBUTION).files or ()
    except importlib.metadata.PackageNotFoundError:
        return
    for file in files:
        name, _, rest = str(file).partition("/")
        if (
            name in TOP_LEVEL
            and rest == "__init__.py"
            and file.hash is not None
            and file.hash.mode == "sha256"
        ):
            try:
                found = hashlib.sha256(Path(str(file.locate())).read_bytes()).digest()
            except OSError:
                continue
            if base64.urlsafe_b64encode(found).rstrip(b"=").decode() != file.hash.value:
                yield name
