"""Notes the hash of every card that the suite ships or shipped: ``python -m tests.card_versions``, to be run after a card changed.

A record on the board that names a shipped system or corpus must carry one of these cards, so nobody publishes another system
under a name that readers know. Cards of earlier revisions are read from the repository's history where there is one; what was
noted before stays.
"""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from bench.cards.corpus import CorpusCard
from bench.cards.registry import card_hash
from bench.cards.system import SystemFile
from bench.cards.typed_yaml import parse_typed
from bench.errors import BenchError

ROOT = Path(__file__).resolve().parent.parent
KINDS: dict[str, tuple[str, Any]] = {
    "adapters": ("adapters/systems", SystemFile),
    "tasks": ("tasks/corpora", CorpusCard),
}
HEAD = "# Written by python -m tests.card_versions: the hash of every card that was ever shipped here, by name.\n"


def hashes_of(text: str, source: str, model: Any) -> dict[str, str]:
    """Hash the cards of one file, by name.

    Args:
        text: its content.
        source: what names it in errors.
        model: what kind of file it is.

    Returns:
        Name → hash.

    Raises:
        UsageError: a file that is no card of this version.
    """
    made = parse_typed(text, source, model)
    cards = made.cards() if isinstance(made, SystemFile) else {made.name: made}
    return {name: card_hash(card) for name, card in cards.items()}


def texts(folder: str) -> Iterator[tuple[str, str]]:
    """Every version of every card file of a folder: those here, then those of the history, each once."""
    for path in sorted((ROOT / folder).glob("*.yaml")):
        yield str(path), path.read_text(encoding="utf-8")
    listed = _git("log", "--format=", "--raw", "--no-renames", "--no-abbrev", "--", folder).splitlines()
    blobs = {line.split()[3]: line.split("\t")[1] for line in listed if line.endswith(".yaml")}
    for blob, name in blobs.items():
        if set(blob) != {"0"}:
            yield f"{name} ({blob[:10]})", _git("cat-file", "blob", blob)


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, encoding="utf-8", check=False
    )
    return done.stdout if done.returncode == 0 else ""


def main() -> None:
    """Write ``card_versions.yaml`` beside both kinds of cards."""
    for package, (folder, model) in KINDS.items():
        path = ROOT / package / "card_versions.yaml"
        found: dict[str, set[str]] = defaultdict(set)
        if path.exists():
            for name, noted in yaml.safe_load(path.read_text(encoding="utf-8"))["cards"].items():
                found[name] |= set(noted)
        unreadable = 0
        for source, text in texts(folder):
            try:
                hashes = hashes_of(text, source, model)
            except BenchError:
                unreadable += (
                    1  # of a version whose cards this one no longer reads: no record of it is read either
                )
                continue
            for name, value in hashes.items():
                found[name].add(value)
        lines = [f"  {name}: [{', '.join(map(repr, sorted(found[name])))}]\n" for name in sorted(found)]
        path.write_text(HEAD + "cards:\n" + "".join(lines), encoding="utf-8")
        print(
            f"{path}: {len(found)} cards, {sum(map(len, found.values()))} versions, {unreadable} files unreadable"
        )


if __name__ == "__main__":
    main()
