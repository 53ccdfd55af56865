"""``python -m tests.two_machines ONE OTHER``: what two machines answered, clip by clip, from two publications of the same cells.

ONE and OTHER are folders of published records (``results/quick`` and ``results/studies/quick_again``), whose tables name clips under the same key.
Compared is what both hold: a system on a task, the same folds, the seeds that both trained. Nothing is computed anew. Writes
``results/two_machines.json``: for every record how many clips were answered otherwise, UA (0..1) on either machine, the largest difference of
a probability, and the versions of the code, which may differ too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bench.scoring.records import Record, read_record
from bench.scoring.subject import Subject
from bench.storage.atomic import write_json

ROOT = Path(__file__).resolve().parent.parent
ONE, OTHER = ROOT / "results" / "quick", ROOT / "results" / "studies" / "quick_again"
OUT = ROOT / "results" / "two_machines.json"
KEY = ("fold", "seed", "clip")


@dataclass(frozen=True)
class Repeat:
    """One system on one task, on two machines."""

    system: str
    task: str
    seeds: tuple[int, ...]
    answers: int
    """Clips times seeds."""
    otherwise: int
    """Of these, how many had another label."""
    ua: tuple[float, float]
    largest: float | None
    """Difference of a probability; None where there are none."""
    code: tuple[str, str]


def repeats(one: Path, other: Path) -> Iterator[Repeat]:
    """Compare every record that both folders hold, by name.

    Args:
        one: a publication.
        other: another.

    Raises:
        ValueError: the two answered other clips or folds.
    """
    names = {p.stem for p in (one / "tables").glob("*.parquet")}
    for path in sorted((other / "tables").glob("*.parquet")):
        if path.stem not in names:
            continue
        records = [read_record(root / "records" / f"{path.stem}.json") for root in (one, other)]
        seeds = tuple(sorted(set(records[0].facts.seeds) & set(records[1].facts.seeds)))
        here, there = (_answers(root / "tables" / path.name, seeds) for root in (one, other))
        if here.keys() != there.keys():
            raise ValueError(f"{path.stem}: other clips or folds in {one} than in {other}")
        apart = [np.abs(np.subtract(here[k][1], there[k][1])).max() for k in here if here[k][1] is not None]
        yield Repeat(
            records[0].system,
            records[0].task,
            seeds,
            len(here),
            sum(here[k][0] != there[k][0] for k in here),
            (_ua(records[0], seeds), _ua(records[1], seeds)),
            float(max(apart)) if apart else None,
            (records[0].facts.code_version, records[1].facts.code_version),
        )


def _answers(
    path: Path, seeds: Sequence[int]
) -> dict[tuple[Any, ...], tuple[str | None, list[float] | None]]:
    rows = pq.read_table(path).to_pylist()
    return {
        tuple(r[k] for k in KEY): (r["label"], r["probabilities"])
        for r in rows
        if r["seed"] in seeds and not r["variant"]
    }


def _ua(record: Record, seeds: Sequence[int]) -> float:
    """Mean over seeds of the mean recall of the classes that are spoken."""
    block = Subject(record.facts.main_view, "wrong", "ua").block(record)
    if block is None:
        raise ValueError(f"{record.system} on {record.task} has no counts of labels")
    counts = block.values[[record.facts.seeds.index(s) for s in seeds]].sum(axis=1)
    clips, right = counts.sum(axis=-1), np.diagonal(counts, axis1=1, axis2=2)
    return float(np.mean([np.mean(r[c > 0] / c[c > 0]) for r, c in zip(right, clips, strict=True)]))


def hardware(folder: Path) -> list[dict[str, Any]]:
    """Processor, system and packages of the sessions that made a publication, each once."""
    sessions = json.loads((folder / "sidecar.json").read_text(encoding="utf-8"))["sessions"]
    told = [{n: s[n] for n in ("processor", "system", "python", "packages")} for s in sessions]
    return [t for i, t in enumerate(told) if t not in told[:i]]


def compared(one: Path, other: Path) -> dict[str, Any]:
    """All of it, as it is written."""
    return {
        "one": {"folder": one.name, "sessions": hardware(one)},
        "other": {"folder": other.name, "sessions": hardware(other)},
        "records": [asdict(r) for r in repeats(one, other)],
    }


def main() -> None:
    """Compare, write and print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("one", type=Path, nargs="?", default=ONE)
    asked.add_argument("other", type=Path, nargs="?", default=OTHER)
    asked.add_argument("--out", type=Path, default=OUT)
    given = asked.parse_args()
    found = compared(given.one, given.other)
    write_json(given.out, found)
    for r in found["records"]:
        points = 100 * (r["ua"][1] - r["ua"][0])
        print(
            f"{r['system']:28} {r['task']:22} {r['otherwise']:4} of {r['answers']:5} otherwise, {points:+.2f} points of UA"
        )
    print(given.out)


if __name__ == "__main__":
    main()
