"""``serbench new adapter NAME``: a package with a system that works, its card, and its test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.errors import UsageError
from bench.storage.atomic import clear_os_errors, write_text

AdapterKind = Literal["classifier", "encoder", "audio-lm"]

SKELETON = Path(__file__).parent / "skeleton"
"""Templates of the files that are written."""


def new_adapter(name: str, folder: Path, kind: AdapterKind) -> list[Path]:
    """Write the skeleton as ``folder/name``.

    Args:
        name: what the system is called; its module and its class are named after it.
        folder: where the package's own folder is made.
        kind: ``classifier`` answers by itself; ``encoder`` gives features that a probe is trained on; ``audio-lm`` is asked
            through a server.

    Returns:
        The files that were written.

    Raises:
        UsageError: a name that is none, or a folder that exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > 60:
        raise UsageError(
            f"{name!r} cannot name a system: small letters, digits and single hyphens, starting with a letter, like my-model"
        )
    root = folder / name
    if root.exists():
        raise UsageError(f"{root}: exists; choose another name, or another folder with --into")
    words = {
        "name": name,
        "module": f"{name.replace('-', '_')}_adapter",
        "cls": "".join(w.capitalize() for w in name.split("-")),
        "title": name.replace("-", " ").capitalize(),
        "kind": kind,
    }
    files = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "matrix.yaml": "matrix.yaml",
        f"{words['module']}/__init__.py": f"{kind}.py",
        f"{words['module']}/systems/{name}.yaml": "card.yaml",
        f"tests/test_{words['module']}.py": "test.py",
        **({"tests/pretend_server.py": "pretend_server.py"} if kind == "audio-lm" else {}),
    }
    templates = Environment(  # Python and YAML, no page: nothing to escape
        loader=FileSystemLoader(SKELETON),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    with clear_os_errors(root):
        for place, template in files.items():
            write_text(root / place, templates.get_template(f"{template}.j2").render(words))
    return [root / place for place in files]
