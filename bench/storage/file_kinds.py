"""What a file is, by its first bytes, where it is not what its name says: a pointer of Git LFS, a web page, an archive."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HEAD = 512
"""Bytes that are looked at."""
POINTER_BYTES = 1024
"""A pointer of Git LFS is never larger."""


@dataclass(frozen=True)
class FileKind:
    """What a file is instead of what was expected, one and many of them, and what to do."""

    name: str
    plural: str
    remedy: str

    @property
    def sentence(self) -> str:
        """One file in words, behind its name."""
        return f"{self.name}, not the file itself: {self.remedy}"

    def of_many(self, found: int, of: int) -> str:
        """Several files in words.

        Args:
            found: how many are of this kind.
            of: of how many files.

        >>> LFS_POINTER.of_many(3, 8)
        "3 of 8 files are Git LFS pointers, not the files themselves: run 'git lfs pull' in the clone"
        """
        if found == 1:
            return f"1 of {of} files is {self.sentence}"
        return f"{found} of {of} files are {self.plural}, not the files themselves: {self.remedy}"


LFS_POINTER = FileKind("a Git LFS pointer", "Git LFS pointers", "run 'git lfs pull' in the clone")
ANNEX_POINTER = FileKind("a git-annex pointer", "git-annex pointers", "run 'git annex get .' in the clone")
WEB_PAGE = FileKind(
    "an HTML page",
    "HTML pages",
    "a login or error page was saved under the name; download again, signed in where it is asked for",
)
SERVER_ANSWER = FileKind(
    "a server's error message (XML or JSON)",
    "a server's error messages (XML or JSON)",
    "download again, with access to what is asked for",
)
ARCHIVE = FileKind("an archive", "archives", "unpack under another name")
DOCUMENT = FileKind("a PDF document", "PDF documents", "download the right files again")
KINDS: tuple[tuple[re.Pattern[bytes], FileKind], ...] = (
    (re.compile(rb"version https://git-lfs\.github\.com/spec/"), LFS_POINTER),
    (re.compile(rb"version https://hawser\.github\.com/spec/"), LFS_POINTER),
    (re.compile(rb"(\.\./)*(\.git)?/annex/objects/"), ANNEX_POINTER),
    (re.compile(rb"(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|script)\b", re.IGNORECASE | re.DOTALL), WEB_PAGE),
    (re.compile(rb"<\?xml[^>]*>\s*(<!doctype\s+html|<html)", re.IGNORECASE), WEB_PAGE),
    (re.compile(rb"<\?xml[^>]*>\s*<(Error|Message|Code)\b"), SERVER_ANSWER),
    (re.compile(rb"<Error>"), SERVER_ANSWER),
    (re.compile(rb"\{\s*\"(error|errors|message|detail|status|code)\""), SERVER_ANSWER),
    (re.compile(rb"PK\x03\x04|\x1f\x8b|Rar!\x1a|7z\xbc\xaf|BZh[1-9]|\xfd7zXZ"), ARCHIVE),
    (re.compile(rb"%PDF-"), DOCUMENT),
)  # fmt: skip


def known_kinds() -> tuple[FileKind, ...]:
    """All kinds of file that can be told, each once."""
    return tuple(dict.fromkeys(kind for _, kind in KINDS))


def kind_of(head: bytes) -> FileKind | None:
    """Tell what a file is that can be neither audio nor a table; None where its first bytes do not say.

    Args:
        head: its first bytes, :data:`HEAD` of them or all there are.

    >>> kind_of(b"\\xef\\xbb\\xbf\\n<!DOCTYPE HTML>").name, kind_of(b"RIFF")
    ('an HTML page', None)
    """
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if head.startswith(mark):
            head = head[2 : len(head) // 2 * 2].decode(encoding, "replace").encode()
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    return next((kind for pattern, kind in KINDS if pattern.match(text)), None)


def kind_of_file(path: Path) -> FileKind | None:
    """:func:`kind_of` a file on the disk; None where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return kind_of(stream.read(HEAD))
    except OSError:
        return None


def pointers(files: Sequence[tuple[Path, int]]) -> list[FileKind | None]:
    """For each file, with its size, say whether it is a pointer to a file that was never fetched; only small files are opened."""
    found = [kind_of_file(path) if 0 < size <= POINTER_BYTES else None for path, size in files]
    return [kind if kind in (LFS_POINTER, ANNEX_POINTER) else None for kind in found]
