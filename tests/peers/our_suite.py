"""Our own suite as one of those compared: ``serbench run`` on one system and one task, from a cold cache."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.scoring.predictions import read_table
from bench.storage.provenance import code_version, package_versions
from tests.peers.corpus import TASK, Export
from tests.peers.findings import Given, only_file, told_by

SYSTEM = "egemaps-svm"
PACKAGES = ("scikit-learn", "opensmile", "numpy", "scipy")


@dataclass(frozen=True)
class OurSuite:
    """``serbench run``; ``strengths`` are the values of C it may choose from, its card's own where None."""

    name: str = "ser-bench"
    strengths: tuple[float, ...] | None = None

    @property
    def recipe(self) -> str:
        """What is fitted."""
        chosen = (
            "C chosen in every fold by four inner splits over speakers"
            if self.strengths is None
            else "C = " + ", ".join(f"{c:g}" for c in self.strengths)
        )
        return f"RBF SVM, {chosen}; features standardised on the training speakers of every fold"

    cold: str = "a cache folder of its own, empty; the run's folder likewise"

    def packages(self) -> Mapping[str, str]:
        """Versions of the suite and of what computes."""
        held = package_versions()
        return {"ser-bench": code_version()} | {name: held[name] for name in PACKAGES if name in held}

    def warm_up(self, folder: Path) -> Sequence[Sequence[str]]:
        """The command's help: every module that a run starts with is compiled to byte code."""
        return [[sys.executable, "-m", "bench.cli", "run", "--help"]]

    def prepare(self, export: Export, folder: Path) -> tuple[Sequence[Sequence[str]], Mapping[str, str]]:
        """Write the matrix; the command runs it on the prepared corpus itself."""
        matrix = folder / "peers.yaml"
        matrix.write_text(
            f'name: peers\nsynthetic: never\nentries:\n  - {{systems: [{SYSTEM}], tasks: ["{TASK}"]}}\n',
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "bench.cli", "run", str(matrix), "--out", str(folder / "run")]
        if self.strengths is not None:
            command += ["--set", f"{SYSTEM}:c=[{', '.join(map(str, self.strengths))}]"]
        root = Path(__file__).resolve().parents[2]
        return [command], {
            "SERBENCH_DATA": str(export.prepared),
            "SERBENCH_CACHE": str(folder / "cache"),
            "PYTHONPATH": str(root),
        }

    def read(self, export: Export, folder: Path) -> Given:
        """Read the tables of all folds, and the record."""
        names = {c.clip_id: c.name for c in export.clips}
        predictions: dict[str, str | None] = {}
        folds: dict[str, str] = {}
        for path in sorted((folder / "run" / "tables").glob("*.parquet")):
            table = read_table(path)
            for clip, answer in zip(table.clip_ids, table.answers, strict=True):
                predictions[names[clip]] = answer
                folds[names[clip]] = path.stem
        path = only_file(folder, "run/records/*.json")
        return _given(predictions, folds, json.loads(path.read_text(encoding="utf-8")))


def _given(
    predictions: Mapping[str, str | None], folds: Mapping[str, str], facts: Mapping[str, Any]
) -> Given:
    file = "run/records"
    row = next(
        s for s in facts["scores"]
        if (s["metric"], s["view"], s["outside"], s["rows"]) == ("ua", "native", "wrong", "all")
    )  # fmt: skip
    bounds = f"{row['low']:.3f} to {row['high']:.3f}"
    classes = [
        b
        for b in facts["blocks"]
        if (b["view"], b["target"], b["outside"]) == ("native", "category", "wrong")
    ]
    found = {
        "interval of the score": (f"estimate {row['estimate']:.3f}, low and high {bounds}", file),
        "what the interval generalises over": (f"population: {row['population']}; {row['method']}", file),
        "answers per clip, in a table": (f"{len(set(folds.values()))} Parquet files", "run/tables"),
        "clips that failed": (f"statuses: {json.dumps(facts['statuses'])}", file),
    }
    if classes:
        found["every class"] = (f"counts of {', '.join(classes[0]['labels'])}, by cluster", file)
    if facts["clusters"]:
        found["every speaker or fold"] = (f"{len(facts['clusters'])} clusters, each with its fold", file)
    if "leaks" in facts:
        found["whether speakers are shared with training"] = (
            f"leaks: {json.dumps(facts['leaks'])}; contamination: {facts['contamination']}", file
        )  # fmt: skip
    return Given(predictions, folds, {file: f"UA {row['estimate']:.3f} ({bounds})"}, told_by(found))
