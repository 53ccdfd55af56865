"""Tables of the studies on the page of the proposed model: ``python -m tests.study_tables`` writes them from the records.

A test compares the page with the records, so that a table nobody wrote anew is noticed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.protocols import DIMENSIONS
from bench.scoring.comparisons import PairResult, compare_pair
from bench.scoring.record_schema import ScoreRow
from bench.scoring.records import Record, read_records

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "proposed_model.md"
SMALL, LOGMEL = "meralion-ser-small", "meralion-ser-logmel"
DATA_AND_LOSS = "ablation_data_and_loss"
ABLATION, LOSS = "meralion-ser-ablation-", "meralion-ser-dimensions-"

CHANGED = {
    "mean-pooling": "pooling: mean",
    "attentive-pooling": "pooling: attentive",
    "no-lora": "no LoRA",
    "lora-rank-2": "LoRA of rank 2 (else 8)",
    "lora-rank-32": "LoRA of rank 32",
    "layer-2": "layer 2 (else 3)",
    "last-layer": "the last layer, 4",
    "30s-valid": "30-s window, pooled over the clip, no LoRA",
    "30s-all": "30-s window, padding pooled too, no LoRA",
    "focal": "loss: focal",
    "views": "audio augmentation",
}
"""What each ablation changes of the small model, in the order of the table."""
PARTNERS = {"30s-valid": f"{ABLATION}no-lora", "30s-all": f"{ABLATION}no-lora"}
"""Against what an ablation is read: the small model, unless it differs from that in two things."""
LOSSES = {
    "egemaps-linear": "ridge on functionals",
    LOGMEL: "hybrid loss",
    f"{LOSS}matched": "hybrid, answers matched in mean and variance",
    f"{LOSS}categories-only": "cross-entropy alone",
    f"{LOSS}ccc-only": "CCC alone",
    f"{LOSS}remembered-ccc": "hybrid, CCC over several batches",
}


def ablations(records: Sequence[Record]) -> str:
    """One row per ablation within the corpus: UA, and the paired difference to what it is read against."""
    own = {r.system: r for r in records if r.facts.protocol == "within" and _of_small(r.system)}
    lines = ["| what differs | system | UA (95 % interval) | difference |", "|---|---|---|---|"]
    lines.append(f"| nothing | `{SMALL}` | {_percent(_score(own[SMALL], 'ua', 'native'))} |  |")
    for key, changed in CHANGED.items():
        system = f"{ABLATION}{key}"
        if system in own:
            against = PARTNERS.get(key, SMALL)
            pair = next(p for p in compare_pair(list(own.values()), system, against) if _decisive(p))
            score = _percent(_score(own[system], "ua", "native"))
            named = "" if against == SMALL else f" (to `{against}`)"
            lines.append(f"| {changed} | `{system}` | {score} | {_difference(pair)}{named} |")
    return "\n".join(lines)


def one_or_many(records: Sequence[Record]) -> str:
    """One row per training set of the small model, scored on a corpus that is none of them, in seven classes."""
    found = [r for r in records if r.facts.protocol == "transfer" and r.system == SMALL]
    lines = ["| learnt from | clips | tested on | UA (95 % interval) |", "|---|---|---|---|"]
    for r in sorted(found, key=lambda r: (r.task, len(r.facts.sources), r.facts.training)):
        sources = r.facts.sources
        names, clips = " + ".join(s.task for s in sources), sum(s.clips for s in sources)
        lines.append(f"| {names} | {clips:,} | {r.task} | {_percent(_score(r, 'ua', 'seven'))} |")
    return "\n".join(lines) if found else ""


def losses(records: Sequence[Record]) -> str:
    """One row per loss and task: CCC and Pearson's r of each dimension, and UA."""
    found = sorted(
        (r for r in records if r.system in LOSSES), key=lambda r: ([*LOSSES].index(r.system), r.task)
    )
    asked = " | ".join(f"{d}: CCC; r" for d in DIMENSIONS)
    lines = [f"| what differs | system | task | {asked} | UA |", "|---|---|---|---|---|---|---|"]
    for r in found:
        cells = [
            "; ".join(_decimals(_score(r, metric, "dimensions", d)) for metric in ("ccc", "pearson"))
            for d in DIMENSIONS
        ]
        row = [LOSSES[r.system], f"`{r.system}`", r.task, *cells, _percent(_score(r, "ua", "native"))]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) if found else ""


def _records(study: str) -> list[Record]:
    return read_records(ROOT / "results" / "studies" / study / "records")


def _captioned(caption: str, table: str) -> str:
    return f"{caption}\n\n{table}" if table else ""


TABLES: dict[str, Callable[[], str]] = {
    "ablations": lambda: ablations(_records("ablations")),
    "one-or-many": lambda: _captioned(
        "One corpus to learn from, or all that are not of the pool that is scored, in seven classes:",
        one_or_many(_records(DATA_AND_LOSS)),
    ),
    "losses": lambda: _captioned(
        "The terms of the loss on the built-in synthetic corpus, smaller than the one above:",
        losses([r for r in _records(DATA_AND_LOSS) if r.facts.synthetic]),
    ),
    "dimensions": lambda: losses(_records("dimensions")),
}
"""What stands between ``<!-- results:NAME -->`` and ``<!-- /results:NAME -->``: nothing where nothing was run."""


def written(page: str) -> str:
    """Return the page with its tables as the records have them."""

    def filled(found: re.Match[str]) -> str:
        name = found[1]
        if name not in TABLES:
            return found[0]
        table = TABLES[name]()
        return f"<!-- results:{name} -->\n{table}{chr(10) if table else ''}<!-- /results:{name} -->"

    return re.sub(r"<!-- results:([\w-]+) -->\n.*?<!-- /results:\1 -->", filled, page, flags=re.DOTALL)


def main() -> int:
    """Write the tables into the page."""
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def _of_small(system: str) -> bool:
    return system == SMALL or system.startswith(ABLATION)


def _decisive(p: PairResult) -> bool:
    return (p.metric, p.view, p.outside, p.protocol) == ("ua", "native", "wrong", "within")


def _score(record: Record, metric: str, view: str, dimension: str | None = None) -> ScoreRow:
    wanted = (metric, view, "wrong", "all", dimension)
    return next(s for s in record.scores if (s.metric, s.view, s.outside, s.rows, s.dimension) == wanted)


def _percent(s: ScoreRow) -> str:
    return f"{100 * s.estimate:.1f} ({100 * s.low:.1f}–{100 * s.high:.1f})"


def _decimals(s: dict[str, Any]) -> str:
    return f"{s.estimate:.2f} ({s.low:.2f} to {s.high:.2f})".replace("-", "−")


def _difference(p: PairResult) -> str:
    low, high = p.simultaneous_low, p.simultaneous_high
    points = f"{100 * p.difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})".replace("-", "−")
    said = "not separated" if "separate" in p.verdict else p.verdict
    return f"{points}, adjusted p = {p.p_adjusted:.2g}: {said}"


if __name__ == "__main__":
    sys.exit(main())
