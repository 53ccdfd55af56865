"""Names on the board mean what they say: a shipped name carries a shipped card, anybody else's system has its owner before it.

Also what a record must say of weights, and whether its code version names a commit that can be looked up.
"""

from __future__ import annotations

import bisect
import functools
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.cards.registry import card_hash, card_versions, load_system
from bench.cards.system import SystemCard
from bench.errors import BenchError
from bench.scoring.record_schema import ScoredFacts
from bench.storage.hashing import hash_json

OWNER = re.compile(r"[a-z0-9]([a-z0-9-]{0,37}[a-z0-9])?")
"""Whose a system is: small letters, digits and hyphens, like an account of a code host."""
_REVISION = re.compile(r"\+g([0-9a-f]{7,40})$")


def name_fault(facts: ScoredFacts) -> str:
    """Say why a record may not bear the name of its system or corpus; blank when it may.

    Args:
        facts: the record's own.

    Returns:
        What was found and what to do, or "".
    """
    card, known = facts.card, card_versions("systems")
    if facts.imported is not None and not card.owner:
        return f"{card.name!r} was imported, so its name needs an owner before it: publish it with --as OWNER"
    if not card.owner and card.name not in known:
        return (
            f"{card.name!r} is no system of this suite, so its name needs an owner before it: publish it with --as OWNER, and "
            f"it is called OWNER/{card.name}"
        )
    if not card.owner and card_hash(card) not in known[card.name]:
        return f"its card is not the one that this suite ships as {card.name!r}{_changed(card)}; give a system of your own its own card and name"
    corpora = card_versions("corpora")
    if facts.corpus in corpora and card_hash(facts.corpus_card) not in corpora[facts.corpus]:
        return (
            f"its corpus card is not the one that this suite ships as {facts.corpus!r}; score the run again with the shipped card, or give "
            "your corpus a name of its own"
        )
    return ""


def _changed(card: SystemCard) -> str:
    """Which fields differ from today's shipped card, in words."""
    try:
        shipped = load_system(card.name).model_dump(mode="json")
    except BenchError:
        return ""
    own = card.model_dump(mode="json")
    fields = [k for k, v in own.items() if k != "server" and shipped.get(k) != v]
    return f" ({', '.join(fields)} differ from it)" if fields else ""


def weights_fault(facts: ScoredFacts) -> str:
    """Say why a record does not tell which weights answered; blank when it does.

    Args:
        facts: the record's own.

    Returns:
        What is missing and what to do, or "".
    """
    card = facts.card
    if card.weights is None:
        if facts.weights_hash is not None:
            return "has a hash of weights that its card does not name"
        return "" if _shipped_weightless(card) else card.unsaid_weights
    if facts.weights_hash is not None:
        return ""
    # Weights that somebody else's machine holds cannot be hashed here: a revision names them.
    held_elsewhere = facts.imported is not None or card.family == "audio-llm"
    if held_elsewhere and card.weights.revision is not None:
        return ""
    if held_elsewhere:
        return f"nothing says which weights {card.name} had: neither a revision on its card nor a hash of their content"
    return f"has no hash of the weights that its card names ({card.weights.local}); run it where they are at hand"


def _shipped_weightless(card: SystemCard) -> bool:
    """Whether an earlier shipped card, from before cards could say so, is of a system without weights."""
    if card_hash(card) not in card_versions("systems").get(card.name, ()):
        return False
    try:
        return load_system(card.name).weightless
    except BenchError:
        return False


def owned(facts: ScoredFacts, owner: str) -> ScoredFacts:
    """The same record of ``owner/name``; of the suite's own system, or of one that has an owner, the record as it is.

    Args:
        facts: the record's own.
        owner: whose system it is.

    Returns:
        Facts whose system, card and scores bear the name.
    """
    card = facts.card
    if card.owner or (facts.imported is None and card.name in card_versions("systems")):
        return facts
    name = f"{owner}/{card.name}"
    scores = tuple(s.model_copy(update={"system": name}) for s in facts.scores)
    return facts.model_copy(
        update={
            "system": name,
            "card": card.model_copy(update={"name": name}),
            "scores": scores,
            "scores_hash": hash_json([s.as_json() for s in scores]),
        }
    )


def bare_name(system: str) -> str:
    """A system's name without its owner: what it was called where it ran.

    >>> bare_name("alice/my-model"), bare_name("majority")
    ('my-model', 'majority')
    """
    return system.rpartition("/")[2]


def code_words(code_version: str, commits: Sequence[str] | None) -> str:
    """Say whether a code version can be looked up; blank when it can.

    Args:
        code_version: as a record states it.
        commits: hashes of all commits of the repository, sorted; None where they are not known.

    Returns:
        A few words to stand beside the version.

    >>> code_words("0.2.0", None), code_words("0.2.0+gabcdef1234", ["abcdef1234567890"])
    ('names no commit', '')
    >>> code_words("0.2.0+gabcdef1234", ["0123"]), code_words("0.2.0+gabcdef1234", None)
    ('a commit that this repository does not have', 'its commit was not looked up')
    """
    found = _REVISION.search(code_version)
    if found is None:
        return "names no commit"
    if commits is None:
        return "its commit was not looked up"
    at = bisect.bisect_left(commits, found[1])
    there = at < len(commits) and commits[at].startswith(found[1])
    return "" if there else "a commit that this repository does not have"


@functools.cache
def known_commits(folder: Path) -> tuple[str, ...] | None:
    """Return the hashes of all commits of the repository that a folder lies in, sorted; None without its whole history."""
    try:
        shallow = _git(folder, "rev-parse", "--is-shallow-repository")
        return (
            None if shallow != "false" else tuple(sorted(_git(folder, "rev-list", "--all", "HEAD").split()))
        )
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()
