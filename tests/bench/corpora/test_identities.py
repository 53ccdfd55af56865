"""Speakers that nobody knows, and speakers that are written in several ways: counted, named, and never on two sides of a fold."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cards.corpus import CorpusCard
from bench.corpora.decoded import CorpusTable, decode_missing, open_table
from bench.corpora.identities import NOBODY, read_names, without_zeros
from bench.corpora.prepared import PreparedCorpus, card_of
from bench.errors import DataError
from bench.tasks import build_task, recheck
from bench.tasks.corpus_report import describe_corpus
from bench.tasks.folds import find_leaks
from tests.conftest import rewrite, write_tone_corpus

SPELLINGS: list[Callable[[str], str]] = [
    str.upper, str.title, lambda s: s.replace("-", "_"), lambda s: s.replace("-", " "), lambda s: f" {s}\u200b",
    lambda s: s.replace("a", "\uff41"),
]  # fmt: skip


def opened(folder: Path, cache: Path) -> CorpusTable:
    table = open_table(PreparedCorpus(card_of(folder) or CorpusCard(name=folder.name), folder), cache)
    decode_missing(table)
    return table


@given(st.data())
def test_spellings_of_one_name_are_one(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.from_regex(r"[a-c]{1,2}-[1-9]", fullmatch=True), min_size=1, unique=True))
    written = [data.draw(st.sampled_from(SPELLINGS))(n).strip() for n in names for _ in range(3)]
    read, notes = read_names("speaker", written)
    assert len(set(read)) == len(names)
    assert all(len(set(read[i : i + 3])) == 1 for i in range(0, len(read), 3))
    assert bool(notes) == (len(set(written)) > len(names))


@given(st.lists(st.integers(1, 60), min_size=3), st.data())
def test_a_column_that_went_through_floats_splits_nobody(numbers: list[int], data: st.DataObject) -> None:
    written = [data.draw(st.sampled_from([f"{n}", f"{n}.0", f"{n}.00"])) for n in numbers]
    read, _ = read_names("speaker", written)
    assert len(set(read)) == len(set(numbers))
    padded, notes = read_names("speaker", [*(f"{n:03d}" for n in numbers), *map(str, numbers)])
    assert {without_zeros(p) for p in padded} == set(map(str, numbers))
    assert len(set(padded)) == 2 * len(set(numbers)), "identifiers are text: 03 is not 3"
    assert [n.kind for n in notes] == ["zeros"]


@given(st.sampled_from(sorted(NOBODY)), st.sampled_from([str.upper, str.title, str]))
def test_words_that_name_nobody_are_blank(word: str, spelled: Callable[[str], str]) -> None:
    read, (note,) = read_names("speaker", ["anna", spelled(word), "ben"])
    assert read == ("anna", "", "ben")
    assert repr(spelled(word)) in note.sentence
    assert spelled(word) not in note.nameless or len(word) < 8


def test_na_is_nobody_unless_the_others_are_initials_too() -> None:
    assert read_names("speaker", ["NA", "s1", "s2"])[0] == ("", "s1", "s2")
    assert read_names("speaker", ["NA", "DC", "JE"])[0] == ("NA", "DC", "JE")


def test_one_clip_without_a_speaker_leaves_the_others_their_folds(cache: Path, tone_corpus: Path) -> None:
    whole = build_task(opened(tone_corpus, cache), "tones.ms", "within")
    rewrite(tone_corpus, speaker=lambda r: "" if r["file_name"].endswith("s0-sad-0.wav") else r["speaker"])
    task = build_task(opened(tone_corpus, cache), "tones.ms", "within")
    assert (len(task), task.left_out) == (35, ("audio/s0-sad-0.wav",))
    assert len(task.folds) == len(whole.folds)
    assert task.content_hash != whole.content_hash
    assert any(w.text.startswith("1 of 36 clips name no speaker and are left out") for w in task.warnings)
    recheck(task)
    assert len(build_task(opened(tone_corpus, cache), "tones.ms", "zero-shot")) == 36
    report = describe_corpus("tones", [tone_corpus.parent], cache)
    assert (report.tasks[0].folds, report.tasks[0].left_out) == (5, 1)


def test_what_is_left_out_is_part_of_the_hash(cache: Path, tone_corpus: Path) -> None:
    hashes = []
    for name in ("s0-sad-0.wav", "s0-sad-1.wav"):
        rewrite(tone_corpus, speaker=lambda r: f"0{r['file_name'][7]}")
        rewrite(tone_corpus, speaker=lambda r, n=name: "nan" if r["file_name"].endswith(n) else r["speaker"])
        hashes.append(build_task(opened(tone_corpus, cache), "tones.ms", "within").content_hash)
    assert hashes[0] != hashes[1]


def test_two_known_speakers_are_too_few(cache: Path, tone_corpus: Path) -> None:
    rewrite(tone_corpus, speaker=lambda r: r["speaker"] if r["speaker"] < "02" else "None")
    with pytest.raises(DataError, match=r"2 speaker\(s\), and a split needs"):
        build_task(opened(tone_corpus, cache), "tones.ms", "within")


def test_an_official_split_keeps_its_verdict_for_known_speakers(cache: Path, tone_corpus: Path) -> None:
    rewrite(
        tone_corpus, split=lambda r: ("train", "train", "train", "dev", "test", "test")[int(r["speaker"])]
    )
    rewrite(tone_corpus, speaker=lambda r: "Unknown" if r["file_name"].endswith("0.wav") else r["speaker"])
    task = build_task(opened(tone_corpus, cache), "tones.ms@official", "within")
    assert task.leaks == ()
    assert task.badges == ("official split", "without 18 clips of unknown speakers")
    assert len(task.left_out) == 18
    rewrite(tone_corpus, split=lambda r: "test" if r["file_name"].endswith("sad-1.wav") else "train")
    crossing = build_task(opened(tone_corpus, cache), "tones.ms@official", "within")
    assert [(leak.kind, leak.count) for leak in crossing.leaks] == [("speaker", 6)]


def test_one_person_in_two_spellings_is_on_one_side_and_named(cache: Path, tmp_path: Path) -> None:
    folder = write_tone_corpus(tmp_path / "data" / "tones", clips=4)
    plain = _column(folder, "speaker")
    for spell in (lambda s: f"{int(s)}.0", lambda s: f"S{s}", lambda s: s.lstrip("0") or "0"):
        rewrite(folder, speaker=lambda r: plain[r["file_name"]])
        if spell("01") == "S01":
            rewrite(folder, speaker=lambda r: f"s{r['speaker']}")
        rewrite(
            folder,
            speaker=lambda r, f=spell: f(plain[r["file_name"]]) if r["file_name"].endswith(("1.wav", "3.wav")) else r["speaker"],
        )  # fmt: skip
        task = build_task(opened(folder, cache), "tones.ms", "within")
        assert not find_leaks(task.folds, {"speaker": [plain[c] for c in task.clip_ids]})
        warnings = describe_corpus("tones", [folder.parent], cache).warnings
        assert any(spell(plain[task.clip_ids[1]]) in w and "differ only in" in w for w in warnings)


def _column(folder: Path, name: str) -> dict[str, str]:
    with (folder / "metadata.csv").open(encoding="utf-8") as stream:
        return {r["file_name"]: r[name] for r in csv.DictReader(stream)}


@pytest.mark.parametrize(
    ("case", "task_name", "kept", "left_out", "said"),
    [
        ("one-unknown", "one-unknown.en", 17, 1, "1 of 18 clip(s) have no speaker id"),
        ("csv-nanspeaker", "csv-nanspeaker.en", 10, 8, "8 clip(s) have the speaker 'nan'"),
        ("spk-float", "spk-float.en", 18, 0, "ids that differ only in case, separators or a trailing '.0'"),
    ],
)
def test_shared_cases(
    case: str, task_name: str, kept: int, left_out: int, said: str, shared_cases: Path, cache: Path
) -> None:
    folder = shared_cases / case
    task = build_task(opened(folder, cache), task_name, "within")
    assert (len(task), len(task.left_out)) == (kept, left_out)
    person = {c: c.split("/")[-1].split("_")[0] for c in task.clip_ids}
    assert not find_leaks(task.folds, {"speaker": [person[c] for c in task.clip_ids]})
    assert any(said in w for w in describe_corpus(str(folder), [], cache).warnings)
