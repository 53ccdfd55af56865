"""Markdown pages that say what was measured: blocks that are written from records, and the prose between them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import DataError, UsageError
from bench.leaderboard.claims.ledger import ClaimLedger
from bench.leaderboard.claims.prose import Prose
from bench.storage.atomic import write_text

KINDS = "claims|families|headline|results|verdicts"
BLOCK = re.compile(
    rf"(?<!`)<!-- (?P<name>(?:{KINDS}):[\w./+@-]+) -->\n(?P<text>.*?)<!-- /(?P=name) -->", re.DOTALL
)
MARKER = re.compile(rf"(?<!`)<!-- /?(?P<name>(?:{KINDS}):[\w./+@-]+) -->")
AGAIN = "write it with: serbench claims --write"


@dataclass(frozen=True)
class PageFault:
    """Where a page says what no record bears out: one sentence."""

    page: str
    line: int
    sentence: str

    def as_json(self) -> dict[str, str | int]:
        """Return JSON values."""
        return {"page": self.page, "line": self.line, "sentence": self.sentence}


def claim_pages(ledger: ClaimLedger) -> list[Path]:
    """The pages that ``claims.yaml`` names, in its order.

    Raises:
        UsageError: a pattern that leaves the folder, or a name of no page.
    """
    base = ledger.root.resolve().parent
    found: dict[Path, None] = {}
    for pattern in ledger.rules.pages:
        if ".." in Path(pattern).parts or Path(pattern).is_absolute():
            raise UsageError(
                f"{ledger.root / 'claims.yaml'}: pages {pattern!r} leaves {base}; name pages beside the results"
            )
        matches = sorted(p for p in base.glob(pattern) if p.is_file())
        if not matches and not set(pattern) & set("*?["):
            raise UsageError(f"{ledger.root / 'claims.yaml'}: pages {pattern!r} is no file in {base}")
        found |= dict.fromkeys(matches)
    return list(found)


def write_pages(ledger: ClaimLedger, derive: Callable[[str], str]) -> list[Path]:
    """Write every block of every page from the records.

    Args:
        ledger: what was derived.
        derive: gives the text of a block by its name.

    Returns:
        Pages that changed.

    Raises:
        DataError: a block that nothing is known of.
    """
    changed = []
    for path in claim_pages(ledger):
        text = _read(path)
        made = BLOCK.sub(lambda m: _filled(m["name"], derive), text)
        if made != text:
            write_text(path, made)
            changed.append(path)
    return changed


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as UTF-8 text ({error}); save it so, or leave it out of pages in claims.yaml"
        ) from None


def _filled(name: str, derive: Callable[[str], str]) -> str:
    text = derive(name).strip("\n")
    return f"<!-- {name} -->\n{text}{chr(10) if text else ''}<!-- /{name} -->"


def page_faults(ledger: ClaimLedger, derive: Callable[[str], str]) -> list[PageFault]:
    """Every place where a page says something else than the records: in blocks, and in sentences between them.

    Args:
        ledger: what was derived.
        derive: gives the text of a block by its name.
    """
    prose = Prose.of(ledger)
    base = ledger.root.resolve().parent
    faults: list[PageFault] = []
    for path in claim_pages(ledger):
        text = _read(path)
        name = path.relative_to(base).as_posix()
        faults += [PageFault(name, line, said) for line, said in _block_faults(text, derive)]
        faults += [PageFault(name, line, said) for line, said in prose.faults(without_blocks(text))]
    return faults


def without_blocks(text: str) -> str:
    """The page with its blocks blanked, line by line."""
    return BLOCK.sub(lambda m: "\n" * m[0].count("\n"), text)


def _block_faults(text: str, derive: Callable[[str], str]) -> Iterator[tuple[int, str]]:
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        try:
            wanted = _filled(found["name"], derive)
        except DataError as error:
            yield line, str(error)
            continue
        if found[0] != wanted:
            yield (
                line,
                f"the block {found['name']} is not what the records say: {_first_difference(found[0], wanted)}; {AGAIN}",
            )
    for marker in MARKER.finditer(without_blocks(text)):
        line = text.count("\n", 0, without_blocks_start(text, marker["name"])) + 1
        yield (
            line,
            f"the block {marker['name']} is not closed: it needs <!-- {marker['name']} --> and <!-- /{marker['name']} --> on lines of their own",
        )


def without_blocks_start(text: str, name: str) -> int:
    """Where a marker that belongs to no block stands."""
    spans = [m.span() for m in BLOCK.finditer(text)]
    lone = (
        m.start()
        for m in MARKER.finditer(text)
        if m["name"] == name and not any(low <= m.start() < high for low, high in spans)
    )
    return next(lone, 0)


def _first_difference(found: str, wanted: str) -> str:
    ours, theirs = found.split("\n")[1:-1], wanted.split("\n")[1:-1]
    for a, b in zip(ours, theirs, strict=False):
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            return f"it says {_around(a, at)!r}, the records {_around(b, at)!r}"
    return f"it has {len(ours)} lines, the records give {len(theirs)}"


def _around(line: str, at: int) -> str:
    start = max(0, at - 40)
    return f"{'…' if start else ''}{line[start : at + 40]}{'…' if len(line) > at + 40 else ''}"
