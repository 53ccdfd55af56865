"""A corpus of short segments is scored clip by clip: the answers to a clip's segments become one answer."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from bench.corpora.decoded import decode_missing, open_table
from bench.corpora.prepared import open_corpus
from bench.errors import DataError
from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from bench.scoring.predictions import PredictionTable
from bench.scoring.records import read_facts
from bench.scoring.rescoring import rescore
from bench.scoring.segment_answers import put_together
from bench.tasks import Task, build_task
from bench.tasks.segments import scored
from tests.conftest import write_tone_corpus


def cut_corpus(folder: Path, *, dialogue: bool = True) -> Path:
    """Tones of six speakers; the four clips of a speaker and label pair up as the segments of two long clips."""
    corpus = write_tone_corpus(folder, labels=("happy", "sad"), clips=4)
    path = corpus / "metadata.csv"
    with path.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for n, row in enumerate(rows):
        row["parent"] = f"long/{row['speaker']}-{row['emotion']}-{n % 4 // 2}"
        if dialogue:
            row["dialogue"] = row["parent"]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return corpus


def task_of(corpus: Path, cache: Path, name: str) -> Task:
    table = open_table(open_corpus(str(corpus), []), cache)
    decode_missing(table)
    return build_task(table, name, "within")


def test_a_clip_is_a_row_with_its_segments_label_speaker_and_length(tmp_path: Path, cache: Path) -> None:
    task = task_of(cut_corpus(tmp_path / "tones"), cache, "tones.ms@clips")
    whole = scored(task)
    assert (len(task), len(whole)) == (48, 24)
    assert whole.clip_ids[0].startswith("long/")
    assert whole.emotions.count("happy") == 12
    assert set(whole.speakers) == set(task.speakers)
    assert sum(d.samples for d in whole.decoded) == sum(d.samples for d in task.decoded)
    assert sorted(np.concatenate([f.test for f in whole.folds]).tolist()) == list(range(24))


def test_answers_are_averaged_where_there_are_probabilities_and_vote_where_there_are_none(
    tmp_path: Path, cache: Path
) -> None:
    task = task_of(cut_corpus(tmp_path / "tones"), cache, "tones.ms@clips").tested
    n = len(task)
    dimensions = np.full((n, 3), 0.5)
    dimensions[0] = [np.nan, 0.1, 0.2]
    dimensions[1] = [0.7, 0.3, 0.4]
    probabilities = np.tile([0.6, 0.4], (n, 1))
    probabilities[1] = [0.1, 0.9]
    table = PredictionTable(
        task.clip_ids,
        ("ok",) * n,
        ("happy",) * n,
        ("happy", "sad"),
        probabilities,
        dimensions,
        (None,) * n,
        {},
    )
    merged = put_together(task, table)
    assert merged.answers[:2] == ("sad", "happy"), (
        "0.35 against 0.65, though both segments said happy or nearly"
    )
    assert merged.probabilities is not None
    np.testing.assert_allclose(merged.probabilities[0], [0.35, 0.65])
    np.testing.assert_allclose(merged.dimensions[0], [0.7, 0.2, 0.3])
    statuses = ("refused", "ok", "unparsed", "unparsed", *("ok",) * (n - 4))
    answers = tuple("sad" if s == "ok" else None for s in statuses)
    silent = PredictionTable(
        task.clip_ids, statuses, answers, ("happy", "sad"), None, dimensions, (None,) * n, {}
    )
    merged = put_together(task, silent)
    assert merged.statuses[:2] == ("ok", "unparsed"), "half a clip heard is a clip answered; none is not"
    assert merged.answers[:2] == ("sad", None)


def test_segments_of_a_clip_in_several_folds_are_refused_with_the_clips_name(
    tmp_path: Path, cache: Path
) -> None:
    corpus = cut_corpus(tmp_path / "tones", dialogue=False)
    text = (corpus / "metadata.csv").read_text()
    (corpus / "metadata.csv").write_text(text.replace("long/01-happy-0", "long/00-happy-0"))
    with pytest.raises(DataError, match="long/00-happy-0"):
        _ = task_of(corpus, cache, "tones.ms@loso").name and scored(task_of(corpus, cache, "tones.ms@clips"))


def test_a_corpus_without_segments_says_what_it_lacks(tone_corpus: Path, cache: Path) -> None:
    with pytest.raises(DataError, match="no column parent"):
        task_of(tone_corpus, cache, "tones.ms@clips")


def test_a_run_scores_clips_and_rescoring_from_tables_agrees(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_corpus(tmp_path / "data" / "tones")
    (tmp_path / "m.yaml").write_text(
        "name: m\nentries:\n  - {systems: [egemaps-linear, majority], tasks: ['tones.*', 'tones.*@clips']}\n"
    )
    run_matrix(RunSettings(str(tmp_path / "m.yaml"), (tmp_path / "data",), tmp_path / "run"), Reporter())
    records = tmp_path / "run" / "records"
    by_clip = read_facts(records / "egemaps-linear__tones.ms@clips__within__clean.json")
    by_segment = read_facts(records / "egemaps-linear__tones.ms__within__clean.json")
    assert (by_clip.clips, by_segment.clips) == (24, 48)
    assert all(c.record.facts.system for c in rescore(tmp_path / "run", "tables", (tmp_path / "data",)))
