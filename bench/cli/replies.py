"""``serbench replies``: what Audio-LLMs answered so far, which of it is of no use, and how to have it asked for again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adapters.audio_lm.model import AudioLanguageModel, store_path
from adapters.audio_lm.replies.completions import text_of
from adapters.audio_lm.replies.usability import unusable
from adapters.audio_lm.requests.reply_cache import ReplyStore, StoredReply
from bench.cards.registry import load_system
from bench.cli.printing import console, print_json, print_table
from bench.errors import UsageError


@dataclass(frozen=True)
class _Listed:
    """What one store holds."""

    path: Path
    replies: int
    unusable: dict[str, int]
    first: str | None
    last: str | None

    def as_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "replies": self.replies,
            "unusable": sum(self.unusable.values()),
            "causes": self.unusable,
            "first": self.first,
            "last": self.last,
        }


def list_replies(system: str | None, *, as_json: bool) -> int:
    """Count stored replies, and those of no use by their cause.

    Args:
        system: by name or the path of its card; None: all there are.
        as_json: print JSON instead of a table.

    Returns:
        The exit code: 0.

    Raises:
        UsageError: the system is no Audio-LLM.
    """
    folder = store_path("any").parent
    paths = sorted(folder.glob("*.sqlite")) if system is None else [_store_of(system)]
    found = [_listed(path) for path in paths if path.is_file()]
    if as_json:
        print_json([f.as_json() for f in found])
        return 0
    if not found:
        console().print(f"no replies stored in {folder if system is None else paths[0]}", soft_wrap=True)
        return 0
    print_table(
        "",
        ("replies of", "stored", "unusable", "why", "first", "last"),
        [
            (
                f.path.stem,
                f.replies,
                sum(f.unusable.values()),
                "; ".join(f"{n} × {cause}" for cause, n in f.unusable.items()) or "–",
                f.first or "–",
                f.last or "–",
            )
            for f in found
        ],
        right=("stored", "unusable"),
    )
    return 0


def forget_replies(system: str, *, which: str, containing: str | None, as_json: bool) -> int:
    """Remove stored replies of the model behind a system, so that the next run asks for them again.

    Args:
        system: by name or the path of its card.
        which: ``all``, ``unusable``, or ``containing``.
        containing: words of the replies to remove, where ``which`` says so; case does not matter.
        as_json: print JSON instead of a sentence.

    Returns:
        The exit code: 0.

    Raises:
        UsageError: the system is none that is asked through a server.
        DataError: the store is in use by another process, or none.
    """
    path = _store_of(system)
    chosen: dict[str, Callable[[StoredReply], bool]] = {
        "all": lambda row: True,
        "unusable": lambda row: _is_reply(row) and unusable(row.reply, None) is not None,
        "containing": lambda row: (containing or "").casefold() in (text_of(row.reply) or "").casefold(),
    }
    removed = left = 0
    if path.is_file():
        with ReplyStore(path) as store:
            keys = [row.key for row in store.stored() if chosen[which](row)]
            removed = store.forget(keys)
            left = len(store)
    if as_json:
        print_json({"path": str(path), "forgotten": removed, "left": left})
    else:
        console().print(
            f"{path}: {removed} forgotten, {left} left; cells that failed are asked again by the same serbench run, finished "
            "ones keep their tables",
            soft_wrap=True,
        )
    return 0


def _store_of(system: str) -> Path:
    """Return the store of the model that a system asks; its systems (one per mode) share it."""
    card = load_system(system)
    own = f"{AudioLanguageModel.__module__}:{AudioLanguageModel.__name__}"
    if card.adapter != own:
        raise UsageError(
            f"{card.name} has no stored replies: those of systems asked through a server are stored ({own} on the card), and its adapter "
            f"is {card.adapter}; what is stored: serbench replies list"
        )
    return store_path(str(card.params["model"]))


def _listed(path: Path) -> _Listed:
    causes: Counter[str] = Counter()
    times: list[float] = []
    with ReplyStore(path) as store:
        for row in store.stored():
            if _is_reply(row):
                times.append(row.asked)
                if (cause := unusable(row.reply, None)) is not None:
                    causes[cause] += 1
    return _Listed(
        path,
        len(times),
        dict(causes.most_common()),
        _moment(min(times)) if times else None,
        _moment(max(times)) if times else None,
    )


def _is_reply(row: StoredReply) -> bool:
    """Whether a row is a reply rather than the tokens of a text."""
    return "tokens" not in row.reply


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
