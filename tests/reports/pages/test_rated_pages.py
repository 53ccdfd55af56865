"""Pages of a run in valence, arousal and dominance alone: each dimension once, and its clips by how far answers lie from the ratings."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from bench.protocols import DIMENSIONS
from bench.scoring.records import read_record
from reports.pages.report import write_report
from reports.sections.clip_rows import Packed
from tests.conftest import write_tone_corpus

LISTENER = '''
import numpy as np
from bench.protocols import Answers

class Leaner:
    """Hears the pitch of a tone: what was rated at the nearest pitch, drawn to the middle."""
    def fit(self, train, dev, context):
        self.known = [(pitch(train.clips.read(i)), train.dimensions[i]) for i in range(len(train))]
    def predict(self, clips):
        nearest = [min(self.known, key=lambda k: abs(k[0] - pitch(w)))[1] for w in clips.waveforms()]
        return Answers(("ok",) * len(nearest), (None,) * len(nearest), dimensions=0.3 + 0.5 * np.stack(nearest))

def pitch(wave):
    return int(np.abs(np.fft.rfft(wave[:6400])).argmax())
'''


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one system and a yardstick on tones without labels, and its report; returns the run's folder."""
    folder = tmp_path_factory.mktemp("rated")
    corpus = write_tone_corpus(folder / "data" / "tones", speakers=5, dimensions=True)
    with (corpus / "metadata.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    with (corpus / "metadata.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [k for k in rows[0] if k != "emotion"], extrasaction="ignore")
        writer.writeheader()
        for i, row in enumerate(rows):
            writer.writerow(row | {"valence": 1 + i % 5, "dominance": 1 + i % 3})
    with (corpus / "card.yaml").open("a", encoding="utf-8") as card:
        card.write("access: open\nlicence: CC0-1.0\n")
    (folder / "leaning.py").write_text(LISTENER)
    card = {"name": "leaner", "family": "trained", "track": "adapted", "adapter": "leaning:Leaner"}
    (folder / "leaner.yaml").write_text(json.dumps(card))
    (folder / "rated.yaml").write_text(
        "name: rated\nsynthetic: never\nentries: [{systems: [./leaner.yaml, majority], seeds: [0]}]\n"
        "plan: {resamples: 1000, permutations: 1000}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERBENCH_CACHE", str(folder / "cache"))
        patch.setenv("PYTHONPATH", f"{folder}:{Path(__file__).parents[3]}")
        patch.delenv("SERBENCH_DATA", raising=False)
        patch.syspath_prepend(str(folder))
        settings = RunSettings(
            str(folder / "rated.yaml"), data=(folder / "data",), out=folder / "run", workers=1
        )
        assert run_matrix(settings, Reporter()).failed == ()
        write_report(folder / "run", folder / "report")
    return folder / "run"


def test_each_dimension_has_one_board_on_every_page(run: Path) -> None:
    report = run.parent / "report"
    for name, boards in (("task-tones.ms.html", 3), ("system-leaner.html", 1)):
        html = (report / name).read_text(encoding="utf-8")
        captions = re.findall(r'<table class="board wide">\s*<caption>(.*?)</caption>', html, re.DOTALL)
        found = [re.search(r"CCC, (\w+)", c)[1] for c in captions]  # type: ignore[index]
        assert found == list(DIMENSIONS[:boards]), name
    heads = re.findall(
        r"<h2[^>]*>Scores: CCC, (\w+)</h2>", (report / "task-tones.ms.html").read_text(encoding="utf-8")
    )
    assert heads == list(DIMENSIONS)
    rows = json.loads((report / "rows.js").read_text(encoding="utf-8").partition("=")[2].rstrip(";\n"))
    assert Counter(c["unit"] for c in rows["columns"]) == {f"CCC, {d}": 1 for d in DIMENSIONS}


def test_clips_without_labels_are_listed_by_how_far_answers_lie_from_their_ratings(run: Path) -> None:
    report = run.parent / "report"
    task = (report / "task-tones.ms.html").read_text(encoding="utf-8")
    assert "browse all 30 clips" in task
    assert "by how far the answers lie from valence, arousal and dominance as rated" in " ".join(task.split())
    with (run.parent / "data/tones/metadata.csv").open(encoding="utf-8") as stream:
        rated = {row["file_name"]: (float(row["valence"]) - 1) / 4 for row in csv.DictReader(stream)}
    said: dict[str, float] = {}
    for cell in read_record(run / "records/leaner__tones.ms__within__clean.json").facts.tables:
        table = pq.read_table(run / "tables" / f"{cell}.parquet")
        said |= dict(zip(table["clip_id"].to_pylist(), table["valence"].to_pylist(), strict=True))
    text = (report / "clips-tones.ms-0.js").read_text(encoding="utf-8").partition("=")[2]
    data = json.loads(text.rstrip(";\n"))
    assert data["dimension"] == "valence"
    assert [s["name"] for s in data["systems"]] == ["leaner"], "yardsticks do not listen"
    error = {clip: round(abs(said[clip] - rated[clip]), 9) for clip in rated}
    assert data["clips"] == sorted(error, key=lambda clip: (-error[clip], clip))
    assert Packed(*data["truth"]).numbers() == [round(1000 * rated[c]) for c in data["clips"]]
    assert Packed(*data["systems"][0]["said"]).numbers() == [round(1000 * said[c]) + 1 for c in data["clips"]]
    page = (report / "clips-tones.ms.html").read_text(encoding="utf-8")
    assert page.count("within, clean, ") == len(DIMENSIONS)
    assert "what 1 system answered" in page
    assert '<dt id="t-ua">' not in page
    assert "<dt>error</dt>" in page
    assert "<dt>right</dt>" not in page, "nothing is right or wrong here"
