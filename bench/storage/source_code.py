"""Hashes of source code: which version of it made a number.

A hash covers a module and the closure of its imports inside its own top-level package, lazy ones too: an adapter that
changes in a sibling file is another adapter. Nothing is imported to find out; files are read and parsed.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.errors import UsageError
from bench.storage.hashing import digest


def split_dotted(path: str) -> tuple[str, str]:
    """Split ``package.module:Name`` into its two halves."""
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise UsageError(f"{path!r} does not name code: expected 'package.module:Name'")
    return module, name


@functools.cache
def package_hash(module: str) -> str:
    """Hash the source of a module, or of everything in a package's folder, without importing it."""
    origin = _origin(module)
    files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    return digest(
        *(part for f in files for part in (f.relative_to(origin.parent).as_posix(), f.read_bytes()))
    )


@functools.cache
def closure_hash(module: str) -> str:
    """Hash the source of a module and of all that it reaches inside its own top-level package; see :func:`closure`."""
    return digest(*(part for name, path in closure(module).items() for part in (name, path.read_bytes())))


def adapter_hash(dotted: str) -> str:
    """Hash the code behind ``package.module.…:Name``: its module and the closure of its imports in its own package."""
    return closure_hash(split_dotted(dotted)[0])


def closure(module: str) -> Mapping[str, Path]:
    """Find the modules of its own top-level package that a module's behaviour rests on, itself among them.

    Imports count wherever they stand: at the top, inside functions, under ``TYPE_CHECKING``, and as text
    (``"package.module"`` or ``"package.module:Name"``, as tables of lazily loaded names spell them). Packages on the way
    are run when a module in them is imported, so their ``__init__.py`` and what that imports when it runs count too.

    Args:
        module: dotted name, ``package.module``.

    Returns:
        Files by dotted name, sorted by name.

    Raises:
        UsageError: no such module.
    """
    top = module.partition(".")[0]
    root = _origin(top)
    if root.name != "__init__.py":
        return {module: _origin(module)}
    wholly: set[str] = set()
    run: set[str] = set()
    waiting = [(module, True)]
    while waiting:
        name, whole = waiting.pop()
        if name in wholly or (name in run and not whole):
            continue
        (wholly if whole else run).add(name)
        path = _file(root, name)
        if path is None:
            if name == module:
                raise UsageError(f"no module named {module!r}: is the adapter's package installed?")
            continue
        parents = [name.rsplit(".", i)[0] for i in range(1, name.count(".") + 1)]
        waiting += [(parent, False) for parent in parents]
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for source, imported in _imported(path.read_bytes(), package, top, lazily=whole):
            inner = f"{source}.{imported}" if imported else source
            # `from package import module` runs the package and rests on the module alone.
            waiting.append((inner if _file(root, inner) else source, True))
    files = {name: _file(root, name) for name in sorted(wholly | run)}
    return {name: path for name, path in files.items() if path is not None}


@functools.lru_cache(maxsize=1024)
def _imported(source: bytes, package: str, top: str, *, lazily: bool) -> tuple[tuple[str, str], ...]:
    """Names under ``top`` that a module may import: a module, and the name taken from it ("" where it is taken whole).

    Without ``lazily``, only what is imported when the module itself is. Adapters share files; each is parsed once.
    """
    found: list[tuple[str, str]] = []
    for node in _statements(ast.parse(source), lazily=lazily):
        if isinstance(node, ast.Import):
            found += [(a.name, "") for a in node.names if a.name.partition(".")[0] == top]
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            if module.partition(".")[0] == top:
                found += [(module, a.name) for a in node.names]
    if lazily:
        named = re.compile(rb"""(["'])(%s(?:\.\w+)+)(?::\w+)?\1""" % top.encode())
        found += [(match[2].decode(), "") for match in named.finditer(source)]
    return tuple(dict.fromkeys(found))


def _statements(node: ast.AST, *, lazily: bool) -> Iterator[ast.stmt]:
    """Statements under a node, expressions left aside; without ``lazily`` only those that run when the module is imported."""
    for part in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inner in getattr(node, part, ()):
            if not lazily and isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not lazily and isinstance(inner, ast.If) and "TYPE_CHECKING" in ast.unparse(inner.test):
                continue
            if isinstance(inner, ast.stmt):
                yield inner
            yield from _statements(inner, lazily=lazily)


def _file(root: Path, name: str) -> Path | None:
    """The file of a module under the package whose ``__init__.py`` is ``root``; None where there is none."""
    place = root.parent.joinpath(*name.split(".")[1:])
    for path in (place / "__init__.py", place.with_suffix(".py") if place != root.parent else root):
        if path.is_file():
            return path
    return None


def _origin(module: str) -> Path:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"no module named {error.name!r} (from the adapter path {module!r}): is its package installed?"
        ) from None
    if spec is None or spec.origin is None:
        raise UsageError(f"no module named {module!r}: is the adapter's package installed?")
    return Path(spec.origin)
