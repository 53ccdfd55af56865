"""A corpus in two languages: learnt in one from some speakers, tested in the other on the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import evaluate
from bench.errors import DataError
from bench.tasks import build_task, recheck
from tests.bench.corpora.test_identities import opened
from tests.conftest import rewrite, write_tone_corpus


@pytest.fixture
def bilingual(tmp_path: Path) -> Path:
    """Everybody speaks both languages."""
    folder = write_tone_corpus(tmp_path / "data" / "tones", clips=4, languages=("da", "en"))
    rewrite(folder, language=lambda row: "en" if row["file_name"].endswith(("1.wav", "3.wav")) else "da")
    return folder


def test_speakers_and_languages_are_both_others(bilingual: Path, cache: Path) -> None:
    table = opened(bilingual, cache)
    task = build_task(table, "tones.da@cross-language", "within")
    for fold in task.folds:
        learnt = [*fold.train, *fold.dev]
        assert {task.languages[i] for i in learnt} == {"en"}
        assert {task.languages[i] for i in fold.test} == {"da"}
        assert not {task.speakers[i] for i in learnt} & {task.speakers[i] for i in fold.test}
        assert not {task.speakers[i] for i in fold.train} & {task.speakers[i] for i in fold.dev}
    plain = build_task(table, "tones.da", "within")
    assert sorted(task.tested.clip_ids) == sorted(plain.clip_ids)
    assert task.badges == ("learnt in en",)
    assert task.content_hash != plain.content_hash
    recheck(task)
    record = evaluate("egemaps-linear", task)
    assert record.facts.clips == len(plain)
    assert build_task(table, "tones.da@cross-language", "zero-shot").clip_ids == plain.clip_ids


def test_languages_with_speakers_of_their_own(tmp_path: Path, cache: Path) -> None:
    folder = write_tone_corpus(tmp_path / "data" / "tones", speakers=8, languages=("da", "en"))
    task = build_task(opened(folder, cache), "tones.en@cross-language", "within")
    assert {task.languages[i] for f in task.folds for i in f.train} == {"da"}
    assert sum(len(f.test) for f in task.folds) == 24


def test_one_language_has_nothing_to_cross(tone_corpus: Path, cache: Path) -> None:
    with pytest.raises(DataError, match="one language only"):
        build_task(opened(tone_corpus, cache), "tones.ms@cross-language", "within")
