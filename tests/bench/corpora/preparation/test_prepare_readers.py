"""Formats that need code: EmoEvaluation files, M3ED's nested JSON, segments that are merged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.errors import UsageError
from tests.bench.corpora.preparation.sources import card, kinds, listed, rows_of, write_file, write_sound

EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.0000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral; Frustration;\t(tired)
C-E4:\tSadness;\t()
C-F1:\tAnger;\t()
A-E3:\tval 3; act 2; dom  2;\t()
A-F1:\tval 2; act 3; dom  1;\t()

[10.0100 - 11.3925]\tSes01F_impro01_M001\txxx\t[3.0000, 2.5000, 3.5000]
C-E2:\tAnger;\t()
A-E3:\tval 3; act 2; dom  2;\t()

[12.0 - 13.0]\tSes01F_impro01_MXX2\tang\t[1.5, 4, 4]
C-E2:\tAnger;\t()
"""


def iemocap(folder: Path) -> Path:
    base = "IEMOCAP_full_release/Session1"
    write_file(folder, f"{base}/dialog/EmoEvaluation/Ses01F_impro01.txt", EVALUATION)
    write_file(folder, f"{base}/dialog/EmoEvaluation/Categorical/Ses01F_impro01_e2_cat.txt", "not read")
    words = "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\nM: (laughs)\n"
    write_file(folder, f"{base}/dialog/transcriptions/Ses01F_impro01.txt", words, "latin-1")
    for turn in ("F000", "M001"):
        write_sound(folder, f"{base}/sentences/wav/Ses01F_impro01/Ses01F_impro01_{turn}.wav")
    write_sound(folder, f"{base}/dialog/wav/Ses01F_impro01.wav")
    return folder


def test_iemocap_turns_with_ratings_votes_and_words(tmp_path: Path) -> None:
    toy = card(
        "parts: [{reader: emo-evaluation}]\ntranslate: {gender: {F: female, M: male}}\nignore: ['**/dialog/wav/*.wav']"
    )
    listing = listed(toy, iemocap(tmp_path / "s"), tmp_path)
    first = {
        "speaker": "01F",
        "session": "01",
        "dialogue": "Ses01F_impro01",
        "script": "impro01",
        "style": "impro",
        "gender": "female",
        "emotion": "neu",
        "valence": "2.5000",
        "arousal": "2.5000",
        "dominance": "2.0000",
        "soft_votes": '{"Frustration": 1, "Neutral": 2, "Sadness": 1}',
        "transcript": "Excuse me.",
    }
    rows = rows_of(listing)
    assert rows["Ses01F_impro01/Ses01F_impro01_F000"] == first
    assert rows["Ses01F_impro01/Ses01F_impro01_M001"]["speaker"] == "01M"
    assert kinds(listing) == [("missing audio", "sentences/wav/Ses01F_impro01/Ses01F_impro01_MXX2.wav")]


def test_the_actors_own_judgements_count_only_when_asked_for(tmp_path: Path) -> None:
    toy = card("parts: [{reader: emo-evaluation, options: {self_reports: true}}]")
    rows = rows_of(listed(toy, iemocap(tmp_path / "s"), tmp_path))
    assert json.loads(rows["Ses01F_impro01/Ses01F_impro01_F000"]["soft_votes"])["Anger"] == 1
    with pytest.raises(
        UsageError, match="reader emo-evaluation: no option 'self_report'; did you mean 'self_reports'"
    ):
        listed(
            card("parts: [{reader: emo-evaluation, options: {self_report: true}}]"), tmp_path / "s", tmp_path
        )


def test_m3ed_utterances_with_characters_and_three_annotators(tmp_path: Path) -> None:
    turn = {
        "StartTime": "00:00:01:02",
        "EndTime": "00:00:03:04",
        "Text": "你好",
        "Speaker": "A",
        "EmoAnnotation": {
            "EmoAnnotator1": "Happy,Surprise",
            "EmoAnnotator2": "Happy",
            "EmoAnnotator3": "Neutral",
            "final_mul_emo": "Happy,Surprise",
            "final_main_emo": "Happy",
        },
    }
    who = {"A": {"Name": "王莉", "Age": "mid", "Gender": "Female"}, "B": {"Name": "李", "Gender": "Male"}}
    shows = {
        "anjia": {
            "anjia_1": {
                "SpeakerInfo": who,
                "Dialog": {"anjia_1_1": turn, "anjia_1_2": {**turn, "Speaker": "B"}},
            }
        },
        "other": {"other_1": {"SpeakerInfo": {}, "Dialog": {"other_1_1": turn}}},
    }
    write_file(tmp_path / "s", "M3ED/M3ED_annotation.json", json.dumps(shows, ensure_ascii=False))
    write_file(tmp_path / "s", "M3ED/relation_annotation_release.json", '{"anjia": {"a": 1}}')
    write_file(tmp_path / "s", "M3ED/splitInfo/movie_list_train.txt", "anjia\n")
    write_file(tmp_path / "s", "M3ED/splitInfo/movie_list_test.txt", "other\n")
    write_sound(tmp_path / "s", "M3ED/wav/A_anjia_1_1.wav")
    write_sound(tmp_path / "s", "M3ED/wav/A_other_1_1.wav")
    listing = listed(card("parts: [{reader: nested-dialogues}]"), tmp_path / "s", tmp_path)
    rows = rows_of(listing)
    assert rows["A_anjia_1_1"] == {
        "speaker": "anjia/王莉",
        "emotion": "Happy",
        "emotions": "Happy,Surprise",
        "soft_votes": '{"Happy": 2, "Neutral": 1, "Surprise": 1}',
        "transcript": "你好",
        "gender": "Female",
        "age": "mid",
        "session": "anjia",
        "dialogue": "anjia_1",
        "split": "train",
    }
    assert (rows["A_other_1_1"]["speaker"], rows["A_other_1_1"]["split"]) == ("other/A", "test")
    assert kinds(listing) == [("missing audio", "B_anjia_1_2.wav")]


def segments(folder: Path, options: str = "") -> Path:
    """Clip c1: 0-2 sad, 2-4 sad, 4-6 angry, 6-7.5 angry by another, 8-20 sad in twos; c2: 0-1 sad alone."""
    rows = [
        ("c1", 0, 2, "s", "sad"),
        ("c1", 2, 4, "s", "sad"),
        ("c1", 4, 6, "s", "angry"),
        ("c1", 6, 7.5, "t", "angry"),
    ]
    rows += [("c1", t, t + 2, "s", "sad") for t in range(8, 26, 2)] + [("c2", 0, 1, "s", "sad")]
    lines = [f"{c}_{t:g}.wav,{c},{t:g},{e:g},{s},{emo},{i}" for i, (c, t, e, s, emo) in enumerate(rows)]
    write_file(
        folder, "segments.csv", "file,clip,from,to,who,emotion,a\n" + "\n".join(reversed(lines)) + "\n"
    )
    for line in lines:
        write_sound(folder, "audio/" + line.split(",")[0])
    return folder


SEGMENTS = """
parts:
  - reader: segments
    table: segments.csv
    audio: "audio/{file}"
    columns: {parent: clip, parent_start: from, parent_end: to, speaker: who, emotion: emotion}
    votes: {x: a}
"""


def test_segments_are_merged_up_to_fifteen_seconds_and_remember_their_clip(tmp_path: Path) -> None:
    listing = listed(card(SEGMENTS), segments(tmp_path / "s"), tmp_path)
    found = [
        (d.columns["parent_start"], d.columns["parent_end"], d.columns["emotion"], len(d.pieces))
        for d in listing.drafts
    ]
    # 14 s is the most that 2-s segments make below 15; 6-7.5 and c2 are shorter than 2 s
    assert found == [
        ("0", "4", "sad", 2),
        ("4", "6", "angry", 1),
        ("8", "22", "sad", 7),
        ("22", "26", "sad", 2),
    ]
    assert listing.left_out == 2
    first = listing.drafts[0]
    assert (first.name, first.columns["parent"], first.columns["segments"]) == (
        "c1/0000.000-0004.000",
        "c1",
        "2",
    )
    assert first.columns["soft_votes"] == '{"x": 1}'
    assert [p.source for p in first.pieces] == ["audio/c1_0.wav", "audio/c1_2.wav"]


def test_segments_can_stay_as_they_are(tmp_path: Path) -> None:
    toy = card(SEGMENTS + "    options: {merge: false}\n")
    listing = listed(toy, segments(tmp_path / "s"), tmp_path)
    assert (len(listing.drafts), listing.left_out) == (14, 0)
    with pytest.raises(UsageError, match=r"'columns' must give 'parent'"):
        listed(card(SEGMENTS.replace("parent: clip, ", "")), tmp_path / "s", tmp_path)
