"""What must be true before a tag: ``python -m tests.release_check [--tag vX.Y.Z]`` (``make release-check``) names all that is not."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from bench.version import __version__

ROOT = Path(__file__).resolve().parent.parent
PLACEHOLDER = "SERBENCH-OWNER"
"""Stands for the repository's owner, and with it for its address and the security contact, until there is one."""
WANTED = (
    "LICENSE", "results/LICENSE", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md", "CHANGELOG.md", "CITATION.cff",
    "Dockerfile", "bench/py.typed", "adapters/py.typed", "reports/py.typed", "tasks/py.typed",
)  # fmt: skip


def faults(root: Path = ROOT, tag: str | None = None) -> list[str]:
    """Return what stands in the way of a release, one sentence each.

    Args:
        root: of the checkout.
        tag: that is about to be released; None leaves it out.
    """
    found = [f"{name}: missing" for name in WANTED if not (root / name).is_file()]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    for where, version in (("pyproject.toml", project["version"]), ("CITATION.cff", citation["version"])):
        if str(version) != __version__:
            found.append(f"{where}: says version {version}, bench/version.py {__version__}")
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if f"\n## {__version__}" not in changes:
        found.append(f"CHANGELOG.md: says nothing of {__version__}")
    if tag is not None and tag != f"v{__version__}":
        found.append(f"the tag {tag} is not v{__version__}")
    if tag is not None and re.search(rf"\n## {re.escape(__version__)} \(unreleased\)", changes):
        found.append(f"CHANGELOG.md: calls {__version__} unreleased; write its date")
    return found + [
        f"{name}: holds the placeholder {PLACEHOLDER}; write the owner's name" for name in unfilled(root)
    ]


def unfilled(root: Path = ROOT) -> list[str]:
    """Return the tracked files that hold the placeholder, this one and its test apart."""
    done = subprocess.run(
        ["git", "grep", "-lI", PLACEHOLDER], cwd=root, capture_output=True, text=True, check=False
    )
    return [n for n in done.stdout.split() if not n.startswith("tests/")]


def main() -> int:
    """Print what is not true yet; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tag")
    found = faults(tag=parser.parse_args().tag)
    print("\n".join(found) if found else "nothing stands in the way of a release")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
