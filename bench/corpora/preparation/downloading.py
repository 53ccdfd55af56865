"""Downloads that go on where they stopped and are checked before they are used."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from bench.cards.corpus_layout import Download
from bench.errors import DataError
from bench.storage.atomic import clear_os_errors

BLOCK = 1 << 18
TIMEOUT = 60.0
ATTEMPTS = 5
"""Connections in a row that may break without a byte gained."""


def download(
    what: Download, folder: Path, step: Callable[[int], object] = int, *, pause: float = 2.0
) -> Path:
    """Download a file and check it; what is there already is not fetched again.

    Args:
        what: address, name, size and hash, as the card has them.
        folder: where it is put.
        step: called with the bytes that came.
        pause: seconds to wait after a broken connection.

    Returns:
        The file.

    Raises:
        DataError: unreachable, refused, or not the file that the card promises.
    """
    name = (
        what.name
        or urllib.parse.unquote(urllib.parse.urlsplit(what.url).path).rpartition("/")[2]
        or "download"
    )
    target, part = folder / name, folder / f"{name}.part"
    with clear_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if target.exists():
            return target  # it was checked before it got this name
        failures = 0
        while True:
            before = _size(part)
            try:
                if _fetch(what, part, step):
                    break
                reason = "the connection ended early"
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code not in (408, 429):
                    raise DataError(
                        _unreachable(what.url, f"the server answers {error.code} {error.reason}")
                    ) from None
                reason = f"the server answers {error.code}"
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
                reason = str(getattr(error, "reason", error))
            failures = failures + 1 if _size(part) <= before else 0
            if failures >= ATTEMPTS or (failures and not before and not _size(part) and failures >= 2):
                raise DataError(_unreachable(what.url, reason))
            time.sleep(pause * max(failures, 1))
        _check(what, part)
        part.replace(target)
        _etag_file(part).unlink(missing_ok=True)
    return target


def _unreachable(url: str, reason: str) -> str:
    return (
        f"{url}: cannot be downloaded ({reason}). What was fetched is kept and the same command goes on from there; "
        "or fetch it elsewhere and give it as --source"
    )


def _fetch(what: Download, part: Path, step: Callable[[int], object]) -> bool:
    """Fetch what is missing; returns whether the file is whole."""
    have = _size(part)
    if what.bytes is not None and have == what.bytes:
        return True
    headers = {"User-Agent": "ser-bench"}
    if have:
        headers["Range"] = f"bytes={have}-"
        etag = _etag_file(part)
        if etag.exists():
            headers["If-Range"] = etag.read_text(encoding="utf-8")
    try:
        answer = urllib.request.urlopen(urllib.request.Request(what.url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is missing, or the file on the server is another one now
            whole = (error.headers.get("Content-Range") or "").rpartition("/")[2]
            if whole == str(have):
                return True
            part.unlink()
            return False
        raise
    with answer:
        goes_on = answer.status == 206 and (answer.headers.get("Content-Range") or "").startswith(
            f"bytes {have}-"
        )
        if have and not goes_on:
            have = 0
        if tag := answer.headers.get("ETag"):
            _etag_file(part).write_text(tag, encoding="utf-8")
        return _append(answer, part, have, step)


def _append(answer: Any, part: Path, have: int, step: Callable[[int], object]) -> bool:
    length = answer.headers.get("Content-Length")
    stream: IO[bytes]
    with part.open("ab" if have else "wb") as stream:
        step(have)
        got = 0
        while True:
            try:
                block = answer.read(BLOCK)
            except http.client.IncompleteRead as error:
                block = error.partial
                stream.write(block)
                return False
            if not block:
                return length is None or got >= int(length)
            stream.write(block)
            got += len(block)
            step(len(block))


def _check(what: Download, path: Path) -> None:
    size = _size(path)
    if what.bytes is not None and size != what.bytes:
        path.unlink()
        raise DataError(
            f"{what.url}: has {size:,} bytes, the card says {what.bytes:,}; the owner changed the file, or it is not it"
        )
    for kind in ("sha256", "md5"):
        promised = getattr(what, kind)
        if promised is not None:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, kind).hexdigest()
            if found != promised:
                path.unlink()
                raise DataError(
                    f"{what.url}: its {kind} is {found}, the card says {promised}; the owner changed the file, or it was damaged on the way"
                )


def _etag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
