"""The requirements file of a card: pins alone, and a hash of all that they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from bench.cards.system import SystemCard
from bench.errors import CannotRun, UsageError
from bench.storage.hashing import digest

ELSEWHERE = ("-r", "--requirement", "-c", "--constraint", "-e", "--editable")
"""Options of pip whose meaning lies in other files, which no key would see."""


@dataclass(frozen=True)
class Requirements:
    """What an environment must hold."""

    path: Path
    content_hash: str
    """Of the file, and of the packages beside it that it names."""
    pins: Mapping[str, str]
    """Specifiers by canonical name of the distribution; "" for one that comes from a file or an address."""


def read_requirements(card: SystemCard) -> Requirements:
    """Read the requirements file that a card names, and hold it to pins.

    Raises:
        CannotRun: the file does not lie beside the card.
        UsageError: a line that is no pin, or that leads to another file.
    """
    assert card.requirements is not None
    if card.file is None:
        raise CannotRun(
            f"{card.name} asks for an environment ({card.requirements}), and where its card lies is not known here; name the card's file"
        )
    path = card.file.parent / card.requirements
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotRun(
            f"{card.name}: its requirements {path} cannot be read ({error}); put that file beside the card"
        ) from None
    pins: dict[str, str] = {}
    parts: list[bytes | str] = [text]
    for number, line in _lines(text):
        where = f"{path}, line {number}"
        if line.startswith("-"):
            if line.replace("=", " ").split()[0] in ELSEWHERE or line[:2] in ELSEWHERE:
                raise UsageError(f"{where}: {line!r} leads to another file; write what it says into this one")
        elif line.startswith((".", "/", "file:")):
            parts += _content(path.parent, line, where)
        else:
            name, pin = _pin(line, where)
            pins[name] = pin
    return Requirements(path, digest(*parts), pins)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines that say something, with their numbers; those that end in a backslash go on."""
    begun, first = "", 0
    for number, raw in enumerate(text.splitlines(), start=1):
        line = "" if raw.lstrip().startswith("#") else raw.partition(" #")[0].strip()
        begun, first = f"{begun} {line}".strip(), first or number
        if begun.endswith("\\"):
            begun = begun[:-1].rstrip()
            continue
        if begun:
            yield first, begun
        begun, first = "", 0
    if begun:
        yield first, begun


def _pin(line: str, where: str) -> tuple[str, str]:
    try:
        wanted = Requirement(line.partition(" --hash")[0].strip())
    except InvalidRequirement as error:
        message = str(error).splitlines()[0]
        raise UsageError(f"{where}: {line!r} is no requirement ({message}); write name==version") from None
    exact = [s for s in wanted.specifier if s.operator in ("==", "===") and "*" not in s.version]
    if wanted.url is None and not exact:
        raise UsageError(
            f"{where}: {line!r} may mean many versions, and the environment would be another one tomorrow; pin it: {wanted.name}==VERSION"
        )
    return canonicalize_name(wanted.name), "" if wanted.url else str(wanted.specifier)


def _content(folder: Path, line: str, where: str) -> list[bytes | str]:
    """Names and bytes of a package that lies beside the card, so that editing it changes the key."""
    place = PurePosixPath(line)
    if not line.startswith(".") or ".." in place.parts:
        raise UsageError(f"{where}: {line!r} leaves the card's folder; put the package inside it: ./package")
    found = folder / place
    if not found.exists():
        raise UsageError(f"{where}: there is no {line} beside the card")
    files = [found] if found.is_file() else sorted(p for p in found.rglob("*") if _counts(p, found))
    return [part for f in files for part in (f.relative_to(folder).as_posix(), f.read_bytes())]


def _counts(path: Path, root: Path) -> bool:
    """Whether a file is source, and not left behind by Python or a build."""
    parts = path.relative_to(root).parts
    return path.is_file() and not any(
        p in ("__pycache__", "build") or p.startswith(".") or p.endswith(".egg-info") for p in parts
    )
