"""Errors whose message is written for the person at the keyboard.

Each says what was found, where, what was expected and what to do. The command line prints the message alone,
without a traceback, and ends with the error's exit code.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable


class BenchError(Exception):
    """Something failed that the user can understand and mend (exit code 1)."""

    exit_code = 1


class UsageError(BenchError):
    """The command, card or matrix asks for something that does not exist or cannot be (exit code 2)."""

    exit_code = 2


class DataError(BenchError):
    """Audio, labels or a prepared corpus are not as they must be."""


class CannotRun(BenchError):
    """A cell cannot be computed here: weights, a server or a package is missing. The message says how to get it."""


class DamagedStore(CannotRun):
    """Something kept on the disk is not what was written there. It is never used; the next run makes it anew."""


class NeedsServer(CannotRun):
    """Answers are missing that only a server can give, and none is at hand yet: the engine may start one and try again."""


class CannotSeparate(BenchError):
    """A statistic is undefined on these data (one cluster, no class with true clips, …)."""


class InputError(DataError, ValueError):
    """Arguments that contradict each other; also a ValueError, for callers who know only Python."""


def nearest(name: str, known: Iterable[str], *, shown: int = 12) -> str:
    """Say which valid names come closest to a mistyped one.

    Args:
        name: what was asked for.
        known: the valid names.
        shown: at most so many of them are listed.

    Returns:
        The end of a sentence.

    >>> nearest("egemaps-lnear", ["egemaps-linear", "majority"])
    "did you mean 'egemaps-linear'? Known: egemaps-linear, majority"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    listed = ", ".join(names[:shown]) + (f", … ({len(names)} in all)" if len(names) > shown else "")
    return (f"did you mean {close[0]!r}? " if close else "") + f"Known: {listed or 'none'}"


def quoted(value: object) -> str:
    """A value from a stranger's file as a sentence quotes it: its beginning.

    >>> quoted("a"), len(quoted("a" * 1000))
    ("'a'", 81)
    """
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def printable(text: str) -> str:
    r"""A stranger's text without what a terminal would obey: control characters, and marks that turn the direction of writing.

    >>> printable("\x1b[31mred\x1b[0m\tand\r\nplain")
    'red and\nplain'
    """
    plain = _TERMINAL.sub("", text.replace("\r\n", "\n").replace("\t", " "))
    return "".join(
        c for c in plain if c == "\n" or (unicodedata.category(c) not in ("Cc", "Cs") and c not in _TURNS)
    )


_TERMINAL = re.compile(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-Z\\^_]")
"""Sequences that set titles and colours or move the cursor (ECMA-48)."""
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
