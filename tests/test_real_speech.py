"""On real speech: the marks that were measured before this suite existed, reached by its own protocol."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import evaluate, load_task
from bench.scoring.comparisons import compare_pair
from bench.scoring.records import Record

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One cache for the module: features of a corpus are computed once."""
    patch = pytest.MonkeyPatch()
    patch.setenv("SERBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


def ua(record: Record) -> float:
    (row,) = [
        s for s in record.scores if (s.metric, s.view, s.outside, s.rows) == ("ua", "native", "wrong", "all")
    ]
    assert row.coverage == 1.0
    return row.estimate


@pytest.mark.parametrize(("task", "mark"), [("emodb.de", 0.638), ("indowave.id", 0.597)])
@pytest.mark.parametrize("split", ["", "@loso"])
def test_egemaps_svm_reaches_its_mark(real_data: list[Path], task: str, mark: float, split: str) -> None:
    # The mark was measured leaving one speaker out; five speaker-disjoint folds train on less.
    assert ua(evaluate("egemaps-svm", load_task(task + split, data=real_data))) == pytest.approx(
        mark, abs=0.05
    )


def test_the_frozen_whisper_probe_is_clearly_above_egemaps(real_data: list[Path], real_weights: Path) -> None:
    task = load_task("emodb.de", data=real_data)
    whisper, egemaps = evaluate("whisper-tiny.en-superb", task), evaluate("egemaps-svm", task)
    assert ua(whisper) > ua(egemaps) + 0.05
    (pair,) = [
        p
        for p in compare_pair([whisper, egemaps], whisper.system, egemaps.system)
        if (p.view, p.metric) == ("native", "ua")
    ]
    assert pair.verdict == "better"
    assert pair.low > 0
