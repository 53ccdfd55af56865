"""The source as a tree of relative paths: the user's folder, with unpacked archives and downloads mounted in it."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bench.audio.decoding import AUDIO_SUFFIXES

TABLE_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".xlsx")
LITTER = re.compile(r"(^|/)(__MACOSX/.*|\._[^/]*|\.DS_Store|Thumbs\.db|desktop\.ini)$", re.IGNORECASE)
"""What operating systems leave behind; never a clip."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the source: where it lies, and what tells that it changed."""

    path: Path
    size: int
    mtime_ns: int
    mark: str = ""

    @property
    def fingerprint(self) -> str:
        """Size and time of the file, or the mark of what it was made from."""
        return self.mark or f"{self.size}/{self.mtime_ns}"


class SourceTree:
    """Relative posix path (NFC) → file. Globs and names are matched without regard to case.

    Args:
        files: by path, as they came.
        folder: where the tree lies on disk.
        work: a folder for what is made on the way.
    """

    def __init__(self, files: dict[str, SourceFile], folder: Path, work: Path) -> None:
        self.folder, self.work = folder, work
        self.repeated: dict[str, str] = {}
        """Archive that lies beside what was unpacked of it → sentence."""
        self.files = dict(sorted(_one_form(files).items()))
        self._folded = {k.casefold(): k for k in self.files}
        self._by_name: dict[str, list[str]] = {}
        for rel in self.files:
            self._by_name.setdefault(PurePosixPath(rel).name.casefold(), []).append(rel)
        self.roots = tuple(_roots(self.files))

    def __len__(self) -> int:
        return len(self.files)

    def mount(self, rel: str, file: SourceFile) -> None:
        """Add a file made on the way."""
        self.files[rel] = file

    def matching(self, globs: Sequence[str]) -> tuple[str, list[str]]:
        """Return the first root where a glob matches a file, and all files that match there."""
        patterns = [glob_pattern(g) for g in globs]
        for root in self.roots:
            found = [
                rel
                for rel in self.files
                if rel.startswith(root) and any(p.fullmatch(rel, len(root)) for p in patterns)
            ]
            if found:
                return root, found
        return "", []

    def find(self, path: str) -> list[str]:
        """Return the file at a path relative to a root; else every file whose path ends with it."""
        wanted = unicodedata.normalize("NFC", path).removeprefix("./").lstrip("/").casefold()
        for root in self.roots:
            if exact := self._folded.get(root.casefold() + wanted):
                return [exact]
        return [
            rel
            for rel in self._by_name.get(PurePosixPath(wanted).name, ())
            if rel.casefold().endswith("/" + wanted)
        ]

    def inside_root(self, rel: str) -> str:
        """Return a path without the folders that merely wrap everything."""
        return rel.removeprefix(self.roots[-1])


def walk_folder(folder: Path, mounted_at: str = "") -> dict[str, SourceFile]:
    """List a folder's files by relative path; links to folders are followed once, litter is left out."""
    files: dict[str, SourceFile] = {}
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = str(Path(parent).resolve())
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        base = Path(parent).relative_to(folder)
        for name in names:
            rel = mounted_at + _printable((base / name).as_posix())
            path = Path(parent) / name
            if LITTER.search(rel) or not path.is_file():
                continue
            status = path.stat()
            files[rel] = SourceFile(path, status.st_size, status.st_mtime_ns)
        folders[:] = sorted(f for f in folders if not LITTER.search(f + "/x"))
    return files


def same_bytes(files: Sequence[Path]) -> bool:
    """Whether files hold the same bytes; sizes are compared first."""
    if len({f.stat().st_size for f in files}) > 1:
        return False
    return len({_content(f) for f in files}) == 1


def _content(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()


@functools.lru_cache(maxsize=256)
def glob_pattern(glob: str) -> re.Pattern[str]:
    """Translate a glob (``*``, ``?``, ``[…]``, ``**/``, ``{a,b}``) to a pattern over posix paths.

    >>> bool(glob_pattern("**/wav/*.{wav,mp3}").fullmatch("a/b/WAV/x.MP3"))
    True
    """
    out, i = "", 0
    while i < len(glob):
        if glob.startswith("**/", i):
            out, i = out + r"(?:[^/]+/)*", i + 3
        elif glob.startswith("**", i):
            out, i = out + ".*", i + 2
        elif glob[i] == "[" and "]" in glob[i + 2 :]:
            end = glob.index("]", i + 2)
            body = glob[i + 1 : end].replace("\\", "\\\\")
            out += f"[^{body[1:]}]" if body.startswith("!") else f"[{body}]"
            i = end + 1
        elif glob[i] == "{" and "}" in glob[i:]:
            end = glob.index("}", i)
            out += "(?:" + "|".join(re.escape(x) for x in glob[i + 1 : end].split(",")) + ")"
            i = end + 1
        else:
            out += {"*": "[^/]*", "?": "[^/]"}.get(glob[i], re.escape(glob[i]))
            i += 1
    return re.compile(unicodedata.normalize("NFC", out), re.IGNORECASE)


def _one_form(files: dict[str, SourceFile]) -> dict[str, SourceFile]:
    """Bring paths to NFC; a file whose NFC path is another file's keeps its own spelling and is not lost."""
    forms = {rel: unicodedata.normalize("NFC", rel) for rel in files}
    return {rel if form != rel and form in files else form: files[rel] for rel, form in forms.items()}


def _printable(rel: str) -> str:
    r"""Write bytes of a file name that are no UTF-8 as ``\xff``, so that reports and tables can name the file."""
    return os.fsencode(rel).decode("utf-8", "backslashreplace")


def _roots(files: Iterable[str]) -> list[str]:
    """Return "" and each folder that wraps everything that matters, from the outside in."""
    relevant = [r for r in files if r.lower().endswith(AUDIO_SUFFIXES + TABLE_SUFFIXES)]
    roots = [""]
    while relevant:
        head, slash, _ = relevant[0][len(roots[-1]) :].partition("/")
        root = roots[-1] + head + slash
        if not slash or not all(r.startswith(root) for r in relevant):
            break
        roots.append(root)
    return roots
