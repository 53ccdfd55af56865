"""Replies kept as they came, by what was asked: a kill or a crash loses none, and nothing is paid for twice.

The key covers the model and its revision, the messages (audio by its PCM hash), the decoding parameters and the
repeat; not the server's address, and not the code that reads the reply. So a better parser reads old replies.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import DataError
from bench.storage.atomic import clear_os_errors
from bench.storage.hashing import hash_json

FORMAT = "serbench-replies-1"
WAIT_SECONDS = 60.0
"""How long a writer waits for another process that writes."""


def reply_key(
    model: str, revision: str | None, question: Mapping[str, Any], audio_hashes: tuple[str, ...], repeat: int
) -> str:
    """Return the key of a request: everything that decides its reply.

    Args:
        model: the id under which it is served.
        revision: of the model.
        question: the request's body, with placeholders where audio stands.
        audio_hashes: PCM hashes of that audio, in order.
        repeat: number of the repeat.
    """
    return hash_json([FORMAT, model, revision, question, list(audio_hashes), repeat])


@dataclass(frozen=True)
class StoredReply:
    """One row of a store.

    Args:
        key: see :func:`reply_key`.
        reply: the server's JSON, or the tokens of a text.
        asked: when it was stored, in seconds since 1970.
    """

    key: str
    reply: dict[str, Any]
    asked: float


class ReplyStore:
    """A file of replies. Safe for several processes; a reply survives the death of any of them when :meth:`put` returns.

    (Not that of the machine: a flush to the disk after every reply would cost more than the replies.)
    """

    def __init__(self, path: Path) -> None:
        """Open the store, and make it if there is none.

        Raises:
            DataError: the file is something else, or damaged.
        """
        self.path = path
        with clear_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Used from one thread at a time, but not always the one that opened it: asyncio may run elsewhere.
            self._connection = sqlite3.connect(
                path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL, seconds REAL NOT NULL, "
                "asked REAL NOT NULL) WITHOUT ROWID"
            )
        except sqlite3.DatabaseError as error:
            raise DataError(f"{path}: is no store of replies ({error}); move it away and run again") from None

    def __enter__(self) -> ReplyStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def get(self, key: str) -> dict[str, Any] | None:
        """Return a stored reply, or None."""
        with closing(self._connection.execute("SELECT reply FROM replies WHERE key = ?", (key,))) as found:
            row = found.fetchone()
        return json.loads(row[0]) if row else None

    def put(self, key: str, reply: Mapping[str, Any], seconds: float, *, replace: bool = False) -> None:
        """Store a reply and how long it took; a reply that is there already stays as it is.

        Args:
            key: see :func:`reply_key`.
            reply: the server's JSON.
            seconds: from the request to the reply.
            replace: the one that is there is of no use and gives way.
        """
        verb = "INSERT OR REPLACE" if replace else "INSERT OR IGNORE"
        text = json.dumps(reply, ensure_ascii=True, separators=(",", ":"))
        try:
            self._connection.execute(
                f"{verb} INTO replies VALUES (?, ?, ?, ?)", (key, text, seconds, time.time())
            )
        except sqlite3.OperationalError as error:
            raise DataError(
                f"{self.path}: a reply cannot be stored ({error}); make room and run again"
            ) from None

    def stored(self) -> Iterator[StoredReply]:
        """Yield everything in the store, in no order."""
        with closing(self._connection.execute("SELECT key, reply, asked FROM replies")) as found:
            for key, reply, asked in found:
                yield StoredReply(key, json.loads(reply), asked)

    def forget(self, keys: Iterable[str]) -> int:
        """Remove replies, so that they are asked for again. Returns how many there were."""
        removed = 0
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for key in keys:
                removed += self._connection.execute("DELETE FROM replies WHERE key = ?", (key,)).rowcount
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise DataError(f"{self.path}: replies cannot be removed ({error})") from None
        return removed

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM replies").fetchone()[0])
