"""Pages into a folder, and ours of earlier out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench.storage.atomic import clear_os_errors, write_text
from bench.storage.scrubbing import Scrubber
from reports.pages.clip_browser import stale_scripts
from reports.pages.templating import GENERATOR

OWN_PAGES = (
    "task-*.html", "system-*.html", "compare-*.html", "clips-*.html",
    "robustness.html", "cross-lingual.html", "against.html", "studies.html",
)  # fmt: skip


def write_pages(
    pages: Iterable[tuple[str, str]], out: Path, beside: Callable[[], Sequence[str]] = tuple
) -> Path:
    """Write pages into ``out`` as they come, remove our own that are no longer among them, and return the first page's path.

    Args:
        pages: file name and text of each; one that comes again replaces the earlier one.
        out: the folder.
        beside: called when all pages are written; names of our own files that stand there beside them.

    Raises:
        BenchError: ``out`` cannot be written.
    """
    words = Scrubber.of_this_machine()
    written: set[str] = set()
    for name, text in pages:
        # What stands in a script file went through the same words, value by value.
        write_text(out / name, words.page(text) if name.endswith(".html") else text)
        written.add(name)
    _remove_stale(out, {*written, *beside()})
    return out / "index.html"


def _remove_stale(out: Path, current: set[str]) -> None:
    mark = f'<meta name="generator" content="{GENERATOR}'
    with clear_os_errors(out):
        for path in sorted(p for pattern in OWN_PAGES for p in out.glob(pattern)):
            if path.name not in current and mark in path.read_text(encoding="utf-8", errors="replace")[:2000]:
                path.unlink()
        for path in stale_scripts(out, current):
            path.unlink()
