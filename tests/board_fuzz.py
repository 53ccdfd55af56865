"""Boards changed at random, as strangers could change them: ``python -m tests.board_fuzz [BOARDS [SEED]]``, or ``make fuzz``.

Each board is an honest small one with one to three mutations in the stranger's publication (its own files, or one of the board's): junk in any
place of any JSON file, statistics changed and made to agree, damaged, huge, deep and linked files, hostile text. Whatever is done,
``validate`` says a sentence or accepts, and what it accepts is built without a traceback; no page holds a tag that came from a record, and
nobody unchecked competes.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.errors import BenchError
from bench.leaderboard import Board, validate
from bench.scoring.comparisons import run_family
from bench.storage.atomic import write_json
from reports.pages.board import write_board
from tests.forging import RULES, change_statistics, change_tables, honest_board, honest_run, record_path, sent

BOARDS = 2000
RESULT = Path(__file__).resolve().parent.parent / "results/board_fuzz.json"
TAG = "<script>alert(1)</script>"
JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**63, -(10**30), 0.5, -0.0, 1e308, "", TAG, "../../../etc/passwd", "\u202e\x00\ud800", "x" * 5000,
    [], {}, [[]], {"a": {}}, [0, "1"], "NaN", "0" * 32, "owner", "9.9.9",
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, the inner ones after those that hold them."""
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for i in range(len(value)):
            yield from places(value[i], (*path, i))


def changed_json(rng: random.Random, board: Board) -> str:
    """Put junk somewhere, take something away, or put a value where another one stands."""
    root = sent(board).folder.root
    path = rng.choice([p for p in root.rglob("*.json") if p.is_file() and not p.is_symlink()])
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return "nothing"
    found = list(places(value))
    if not found:
        return "nothing"
    place = rng.choice(found)
    holder = value
    for part in place[:-1]:
        holder = holder[part]
    what = rng.choice(("junk", "gone", "swapped", "added"))
    if what == "junk":
        holder[place[-1]] = rng.choice(JUNK)
    elif what == "gone":
        del holder[place[-1]]
    elif what == "added" and isinstance(holder, dict):
        holder[rng.choice(("schema", "leaks", "x", TAG))] = rng.choice(JUNK)
    else:
        other = rng.choice(found)
        from_there = value
        for part in other:
            from_there = from_there[part]
        holder[place[-1]] = json.loads(json.dumps(from_there))
    path.write_text(json.dumps(value), encoding="utf-8", errors="surrogatepass")
    return f"{path.suffix} {what}"


def changed_bytes(rng: random.Random, board: Board) -> str:
    """Damage a file: bits, its end, other bytes, or all of it."""
    path = rng.choice([p for p in sent(board).folder.root.rglob("*") if p.is_file() and not p.is_symlink()])
    content = bytearray(path.read_bytes())
    what = rng.choice(("bits", "end", "bytes", "all"))
    if what == "bits" and content:
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif what == "end":
        content = content[: rng.randrange(len(content) + 1)]
    elif what == "bytes" and content:
        at = rng.randrange(len(content))
        content[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 60)))
    else:
        content = bytearray(
            rng.choice((b"", b"[" * 200_000, b'{"a":' * 50_000, b"\xff\xfe\x00", b"PAR1", b"null"))
        )
    path.write_bytes(content)
    return f"{path.suffix} {what}"


def changed_statistics(rng: random.Random, board: Board) -> str:
    """Change sums, and let everything follow from them that a forger can compute."""
    factor = rng.choice((0.0, 0.5, 2.0, -1.0, 1e6, float("nan"), 1e308))

    def change(rows: list[dict[str, Any]]) -> None:
        what = rng.choice(("value", "truth", "cluster", "gone", "twice"))
        for row in rng.sample(rows, min(len(rows), rng.choice((1, 3, len(rows))))):
            if what == "value":
                row["value"] *= factor
            elif what == "gone":
                rows.remove(row)
            elif what == "twice":
                rows.append(dict(row))
            else:
                row[what] = rng.choice(rows)[what]

    change_statistics(board, change)
    return "statistics"


def changed_tables(rng: random.Random, board: Board) -> str:
    """Change answers, or what the tables say of themselves."""
    field = rng.choice(("status", "label", "clip", "probabilities", "valence", "reply", "identity"))

    def change(rows: list[dict[str, Any]], identity: dict[str, Any]) -> None:
        if field == "identity":
            identity[rng.choice(list(identity))] = rng.choice(JUNK)
        elif rows:
            row, value = rng.choice(rows), rng.choice(rows)[field]
            row[field] = value if field != "reply" else TAG

    change_tables(board, change)
    return f"tables {field}"


def changed_files(rng: random.Random, board: Board) -> str:
    """Put something where it does not belong: links, folders, bombs, huge and foreign files; or take a file away."""
    root = sent(board).folder.root
    files = [p for p in root.rglob("*") if p.is_file()]
    path = rng.choice(files)
    what = rng.choice(("link", "folder", "huge", "bomb", "foreign", "gone", "rules", "loop"))
    if what in ("link", "folder", "huge", "bomb", "gone"):
        path.unlink()
    if what == "link":
        path.symlink_to(rng.choice(("/etc/passwd", "/dev/zero", str(board.root / "own/matrix.json"))))
    elif what == "folder":
        path.mkdir()
    elif what == "huge":
        with path.open("wb") as stream:
            stream.truncate(rng.choice((17 << 20, 70 << 20)))
    elif what == "bomb":
        words = pa.DictionaryArray.from_arrays(pa.array([0] * 4096, pa.int32()), pa.array(["x" * 200_000]))
        pq.write_table(pa.table({"clip_id": words, "value": np.zeros(4096)}), path, compression="zstd")
    elif what == "foreign":
        (root / rng.choice(("records", "tables")) / rng.choice(("x.json", "x.parquet", "<b>.json", ".hidden"))).write_text("{}")  # fmt: skip
    elif what == "loop":
        (root / "records" / "loop").symlink_to(root)
    elif what == "rules":
        (board.root / "board.yaml").write_text(
            rng.choice(
                ("a: &a [*a]", "competing: all", "[" * 300, "plan: {margin: -1}", f"title: '{TAG}'", "\x00")
            )
        )
    return f"files {what}"


def hostile_words(rng: random.Random, board: Board) -> str:
    """Put a tag or characters that hide into the words that pages show."""
    path = record_path(board)
    facts = json.loads(path.read_text(encoding="utf-8"))
    word = rng.choice(
        (TAG, "\u202eevil", "a" * 19_000, "{{ 7*7 }}", '"><img src=x onerror=alert(1)>', "%s%n", "\\input{x}")
    )
    place = rng.choice(("title", "card", "corpus_card", "notes", "warnings"))
    if place == "notes":
        facts["notes"] = {"fold 0 seed 0": {word: word}}
    elif place == "warnings":
        facts["warnings"] = [word]
    elif place == "title":
        facts["title"] = facts["card"]["title"] = word
    else:
        facts[place][rng.choice(("description", "licence", "title"))] = word
    path.write_text(json.dumps(facts), encoding="utf-8")
    return f"words {place}"


MUTATIONS: tuple[Callable[[random.Random, Board], str], ...] = (
    changed_json, changed_json, changed_json, changed_bytes, changed_statistics, changed_tables, changed_files, hostile_words, hostile_words,
)  # fmt: skip


def fuzz(made: Path, folder: Path, boards: int, seed: int) -> dict[str, Any]:
    """Change a board so many times, and check what is made of each.

    Args:
        made: the honest board.
        folder: scratch space.
        boards: how many to make.
        seed: of the mutations.

    Returns:
        How many were refused and built, and the failures: what was done, and the traceback or what was wrong.
    """
    outcome: Counter[str] = Counter()
    failures: list[str] = []
    for n in range(boards):
        rng = random.Random(f"{seed} {n}")
        root = folder / f"board-{n}"
        shutil.copytree(made, root)
        board = Board(root)
        done = _mutate(rng, board)
        try:
            outcome[_judge(board, folder / f"site-{n}")] += 1
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            print(f"board {n} ({', '.join(done)}): {error}", file=sys.stderr, flush=True)
            failures.append(f"board {n} ({', '.join(done)}): {type(error).__name__}: {str(error)[:300]}")
        shutil.rmtree(root)
        shutil.rmtree(folder / f"site-{n}", ignore_errors=True)
        if (n + 1) % 100 == 0:
            print(f"{n + 1} boards: {dict(outcome)}, {len(failures)} failures", file=sys.stderr, flush=True)
    return {"boards": boards, "seed": seed, "outcome": dict(sorted(outcome.items())), "failures": failures}


def _mutate(rng: random.Random, board: Board) -> list[str]:
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        try:
            done.append(rng.choice(MUTATIONS)(rng, board))
        except Exception as error:  # noqa: BLE001 - a forger's tool fails on what he broke before
            done.append(f"nothing ({type(error).__name__})")
    if rng.random() < 0.8:
        try:
            sent(board).seal()
        except (OSError, BenchError):
            done.append("not sealed")
    return done


def _judge(board: Board, out: Path) -> str:
    """Validate and build; raises whatever a board must never do."""
    try:
        found = validate(board)
    except BenchError:
        return "refused whole"
    strangers = [r for r in found.competing if r.publication != "own"]
    assert not strangers, f"an unchecked record competes: {strangers[0].path}"
    other_rules = (board.root / "board.yaml").read_text(encoding="utf-8") != RULES
    for problem in found.problems:
        assert other_rules or problem.publication != "own", (
            f"an honest record was refused: {problem.sentence}"
        )
        assert len(problem.sentence) < 1500, f"a sentence of {len(problem.sentence)} characters"
    if found.problems:
        return "refused"
    write_board(found, board, out, run_family)
    for page in out.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert TAG not in text, f"{page.name} holds a tag of a record's"
        assert "<img src=x" not in text, f"{page.name} holds a tag of a record's"
    return "accepted and built"


def main() -> int:
    """Fuzz, print what came of it, and write it down when nothing failed on a full number of boards."""
    boards = int(sys.argv[1]) if len(sys.argv) > 1 else BOARDS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    os.environ.pop("SERBENCH_DATA", None)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["SERBENCH_CACHE"] = str(folder / "cache")
        run = honest_run(folder)
        honest_board(folder / "made", run, folder / "data")
        start = time.process_time()
        found = fuzz(folder / "made", folder, boards, seed)
        found["processor_seconds"] = round(time.process_time() - start)
    print(json.dumps(found, indent=1))
    if boards >= BOARDS and not found["failures"]:
        write_json(RESULT, found)
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
