"""Layouts that owners use: codes in file names, tables beside the audio, several tables, odd trees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.audio.decoding import AUDIO_SUFFIXES
from bench.corpora.preparation.scanning import scan
from bench.corpora.preparation.tree import LITTER, SourceFile, SourceTree
from bench.errors import DataError, UsageError
from tests.bench.corpora.preparation.sources import card, kinds, listed, rows_of, write_file, write_sound

CODES = card(r"""
parts:
  - audio: ["wav/*.wav"]
    pattern: '(?P<speaker>\d\d)(?P<script>[ab]\d\d)(?P<emotion>[WF])(?P<take>[a-z])\.wav'
    set: {language: de}
translate: {speaker: {"03": "three"}}
compose: {session: "{speaker}-{take}"}
""")


def test_codes_in_file_names_become_columns(tmp_path: Path) -> None:
    write_sound(tmp_path / "s", "wav/03a01Wa.wav")
    write_sound(tmp_path / "s", "wav/11b02Fc.wav")
    assert rows_of(listed(CODES, tmp_path / "s", tmp_path)) == {
        "03a01Wa": {
            "speaker": "three",
            "script": "a01",
            "emotion": "W",
            "take": "a",
            "language": "de",
            "session": "03-a",
        },
        "11b02Fc": {
            "speaker": "11",
            "script": "b02",
            "emotion": "F",
            "take": "c",
            "language": "de",
            "session": "11-c",
        },
    }


def test_folders_that_wrap_everything_and_letter_case_make_no_difference(tmp_path: Path) -> None:
    write_sound(tmp_path / "s", "download/EmoDB/WAV/03a01Wa.WAV")
    write_file(tmp_path / "s", "download/README.txt", "hello")
    write_file(tmp_path / "s", "__MACOSX/._03a01Wa.wav", "litter")
    write_file(tmp_path / "s", "download/EmoDB/WAV/.DS_Store", "litter")
    listing = listed(CODES, tmp_path / "s", tmp_path)
    assert list(rows_of(listing)) == ["03a01Wa"]
    assert not listing.problems


def test_audio_that_nothing_matches_is_reported_and_what_the_card_ignores_is_not(tmp_path: Path) -> None:
    for name in ("wav/03a01Wa.wav", "wav/xx03a01Wa.wav", "wav/03a01Xa.wav", "songs/03a01Wa.wav"):
        write_sound(tmp_path / "s", name)
    stray = [
        ("no match", "songs/03a01Wa.wav"),
        ("no match", "wav/03a01Xa.wav"),
        ("no match", "wav/xx03a01Wa.wav"),
    ]
    assert kinds(listed(CODES, tmp_path / "s", tmp_path)) == stray
    layout = CODES.layout
    assert layout is not None
    ignoring = CODES.model_copy(update={"layout": layout.model_copy(update={"ignore": ("songs/*",)})})
    assert kinds(listed(ignoring, tmp_path / "s", tmp_path)) == stray[1:]


def test_a_wrong_folder_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    write_sound(tmp_path / "s", "clips/a.wav")
    with pytest.raises(
        DataError,
        match=r"does not look like toy: expected audio wav/\*\.wav .* found 1 files \(first: clips/a.wav\)",
    ):
        listed(CODES, tmp_path / "s", tmp_path)


TABLE = card(r"""
parts:
  - table: "*_sent.csv"
    pattern: '(?P<split>[a-z]+)_sent\.csv'
    audio: "{split}/dia{Dialogue_ID}_utt{Utterance_ID:0>2}.{mp4,wav}"
    columns: {emotion: Emotion, dialogue: "{split}-{Dialogue_ID}", transcript: Utterance, split: split}
    where: {Keep: ["yes"]}
""")


def test_a_table_finds_its_audio_by_a_template_with_alternatives(tmp_path: Path) -> None:
    head = "Dialogue_ID,Utterance_ID,Emotion,Utterance,Keep\n"
    write_file(
        tmp_path / "s",
        "train_sent.csv",
        head + '0,1,joy,"Well, hello",yes\n0,2,anger,No,no\n1,0,fear,Oh,yes\n',
    )
    write_file(tmp_path / "s", "dev_sent.csv", head + "0,1,joy,Hm,yes\n")
    write_sound(tmp_path / "s", "train/dia0_utt01.wav")
    write_sound(tmp_path / "s", "nested/dev/dia0_utt01.wav")
    listing = listed(TABLE, tmp_path / "s", tmp_path)
    assert rows_of(listing) == {
        "dev/dia0_utt01": {"emotion": "joy", "dialogue": "dev-0", "transcript": "Hm", "split": "dev"},
        "train/dia0_utt01": {
            "emotion": "joy",
            "dialogue": "train-0",
            "transcript": "Well, hello",
            "split": "train",
        },
    }
    assert kinds(listing) == [("missing audio", "train/dia1_utt00.mp4")]
    assert listing.left_out == 1


def test_a_column_the_card_misnames_is_named_with_its_nearest(tmp_path: Path) -> None:
    write_file(tmp_path / "s", "train_sent.csv", "Dialog_ID,Utterance_ID\n0,1\n")
    with pytest.raises(
        UsageError, match="part 1: there is no column 'Dialogue_ID'; did you mean 'Dialog_ID'"
    ):
        listed(TABLE, tmp_path / "s", tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "encoding", "spec"),
    [
        ("t.csv", "id;who\n7;Åsa\n", "cp1252", "delimiter: ';'\n    encoding: [utf-8, cp1252]"),
        ("t.tsv", 'id\twho\n7\tÅsa\n8\ta " lone mark\n', "utf-8", ""),
        ("t.txt", "7   Åsa\n", "utf-16", "delimiter: spaces\n    header: [id, who]\n    encoding: [utf-8, utf-16]"),
        ("t.txt", "7\tÅsa\n", "gb18030", 'delimiter: tab\n    header: [id, who]\n    encoding: [utf-8, gb18030]'),
        ("t.json", json.dumps({"data": {"7": {"who": "Åsa"}}}), "utf-8", "records: data"),
        ("t.json", json.dumps([{"id": 7, "who": "Åsa"}]), "utf-8", ""),
        ("t.jsonl", '{"id": 7, "who": "Åsa"}\n\n', "utf-8", ""),
    ],
)  # fmt: skip
def test_tables_of_every_kind(tmp_path: Path, name: str, text: str, encoding: str, spec: str) -> None:
    column = "key" if "records" in spec else "id"
    toy = card(f"""
parts:
  - table: "t.*"
    {spec}
    audio: "{{{column}}}.wav"
    columns: {{speaker: who}}
""")
    write_sound(tmp_path / "s", "7.wav")
    write_file(tmp_path / "s", name, text, encoding)
    assert rows_of(listed(toy, tmp_path / "s", tmp_path)) == {"7": {"speaker": "Åsa"}}


def test_a_table_in_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    write_sound(tmp_path / "s", "7.wav")
    parquet.write_table(
        pa.table({"id": [7], "v": [1.5], "n": pa.array([None], pa.string())}), tmp_path / "s/t.parquet"
    )
    toy = card('parts: [{table: "t.parquet", audio: "{id}.wav", columns: {valence: v, gender: n}}]')
    assert rows_of(listed(toy, tmp_path / "s", tmp_path)) == {"7": {"valence": "1.5", "gender": ""}}


def test_a_table_in_another_encoding_or_with_too_many_cells_says_so(tmp_path: Path) -> None:
    toy = card('parts: [{table: "t.csv", audio: "{id}.wav"}]')
    (tmp_path / "s").mkdir()
    (tmp_path / "s/t.csv").write_bytes("id,who\n1,Åsa\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"t\.csv: is not text in utf-8-sig; give the table's 'encoding'"):
        listed(toy, tmp_path / "s", tmp_path)
    write_file(tmp_path / "s", "t.csv", "id,who\n1,a,b\n")
    with pytest.raises(DataError, match=r"t\.csv, line 2: has 3 cells, the header 2"):
        listed(toy, tmp_path / "s", tmp_path)


JOINED = card(r"""
parts:
  - audio: ["**/*.wav"]
    pattern: '(?P<speaker>\d+)_(?P<emotion>[A-Z]+)\.wav'
join:
  - {table: speakers.csv, key: ActorID, on: speaker, columns: {gender: Sex}}
  - {table: counts.csv, key: "{clip}", on: "{stem}", votes: {ANG: A, HAP: H}}
  - {table: listeners.csv, key: file, on: source_path, tally: answer, ratings: {valence: v}, optional: true}
translate: {gender: {Male: male, "*": other}}
""")


def test_speakers_votes_and_ratings_are_joined(tmp_path: Path) -> None:
    for name in ("1_ANG.wav", "2_HAP.wav", "3_HAP.wav"):
        write_sound(tmp_path / "s", name)
    write_file(tmp_path / "s", "speakers.csv", "ActorID,Sex\n1,Male\n2,Female\n")
    write_file(tmp_path / "s", "counts.csv", "clip,A,H\n1_ANG,3,1\n2_HAP,0,4\n3_HAP,0,2.5\n")
    listing = listed(JOINED, tmp_path / "s", tmp_path)
    assert rows_of(listing) == {
        "1_ANG": {
            "speaker": "1",
            "emotion": "ANG",
            "gender": "male",
            "soft_votes": '{"ANG": 3, "HAP": 1}',
            "valence": "",
        },
        "2_HAP": {
            "speaker": "2",
            "emotion": "HAP",
            "gender": "other",
            "soft_votes": '{"HAP": 4}',
            "valence": "",
        },
        "3_HAP": {
            "speaker": "3",
            "emotion": "HAP",
            "gender": "other",
            "soft_votes": '{"HAP": 2.5}',
            "valence": "",
        },
    }
    assert kinds(listing) == [("no row", "3_HAP.wav")]


def test_one_row_per_listener_is_counted_and_averaged(tmp_path: Path) -> None:
    write_sound(tmp_path / "s", "1_ANG.wav")
    write_file(tmp_path / "s", "speakers.csv", "ActorID,Sex\n1,Male\n")
    write_file(tmp_path / "s", "counts.csv", "clip,A,H\n1_ANG,,\n")
    rows = ["1_ANG.wav,ANG,1", "1_ANG.wav,SAD,4", "1_ANG.wav,ANG,", "1_ANG.wav,ANG,2", "other.wav,HAP,9"]
    write_file(tmp_path / "s", "listeners.csv", "file,answer,v\n" + "\n".join(rows) + "\n")
    row = rows_of(listed(JOINED, tmp_path / "s", tmp_path))["1_ANG"]
    assert (row["soft_votes"], row["valence"]) == ('{"ANG": 3, "SAD": 1}', "2.333333")


def test_text_beside_a_clip_and_patterns_within_columns(tmp_path: Path) -> None:
    toy = card(r"""
parts:
  - audio: ["**/*.wav"]
    pattern: '(?P<emotion>[a-z]+)/(?P<id>[^/]+)\.wav'
    beside: {transcript: "{folder}/{stem}.txt"}
    extract: [{from: id, pattern: '^(?P<speaker>[A-Z]+)'}]
""")
    write_sound(tmp_path / "s", "angry/AB12.wav")
    write_sound(tmp_path / "s", "angry/99.wav")
    write_file(tmp_path / "s", "angry/AB12.txt", " Leave\nme. ")
    listing = listed(toy, tmp_path / "s", tmp_path)
    assert rows_of(listing)["angry/AB12"] == {
        "emotion": "angry",
        "id": "AB12",
        "speaker": "AB",
        "transcript": "Leave me.",
    }
    assert kinds(listing) == [("bad cell", "angry/99.wav"), ("no row", "angry/99.wav")]


def test_clips_of_one_name_keep_apart_and_a_file_listed_twice_is_one_clip(tmp_path: Path) -> None:
    toy = card(r"parts: [{audio: ['**/*.{wav,flac}'], pattern: '(?P<emotion>[a-z])\d+\.(wav|flac)'}]")
    for name in ("DC/a1.wav", "JE/a1.wav", "JE/a2.wav", "KL/b3.wav", "KL/b3.flac"):
        write_sound(tmp_path / "s", name)
    names = {"DC/a1", "JE/a1", "a2", "KL/b3", "KL/b3~2"}
    assert set(rows_of(listed(toy, tmp_path / "s", tmp_path))) == names
    twice = card('parts: [{table: t.csv, audio: "{f}", columns: {emotion: e}}]')
    write_file(tmp_path / "s", "t.csv", "f,e\nDC/a1.wav,x\nDC/a1.wav,y\nJE/a2.wav,x\na1.wav,x\n")
    listing = listed(twice, tmp_path / "s", tmp_path)
    assert {k: v["emotion"] for k, v in rows_of(listing).items()} == {"DC/a1": "x", "JE/a2": "x"}
    assert [p.message for p in listing.problems if p.kind == "listed twice"] == [
        "listed again with other emotion; the first row was kept"
    ]
    assert ("ambiguous", "a1.wav") in kinds(listing)


def test_names_in_another_unicode_form_are_found(tmp_path: Path) -> None:
    # macOS writes é as e + accent; the table has one character
    write_sound(tmp_path / "s", "cafe\u0301.wav")
    write_file(tmp_path / "s", "t.csv", "f\ncaf\u00e9\n")
    toy = card('parts: [{table: t.csv, audio: "{f}.wav"}]')
    assert list(rows_of(listed(toy, tmp_path / "s", tmp_path))) == ["caf\u00e9"]


NAMES = st.text(st.sampled_from("aW0é _.-"), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["wav", "wav/x", "songs", ""]),
            NAMES,
            st.sampled_from([".wav", ".WAV", ".mp3", ".txt"]),
        )
    )
)
def test_every_audio_file_of_any_tree_is_a_clip_or_a_line_in_the_report(
    tmp_path: Path, names: list[tuple[str, str, str]]
) -> None:
    files = {f"{folder}/{stem}{suffix}".lstrip("/") for folder, stem, suffix in names} | {"wav/03a01Wa.wav"}
    tree = SourceTree(
        {f: SourceFile(tmp_path / f, 1, 0) for f in files if not LITTER.search(f)}, tmp_path, tmp_path
    )
    listing = scan(CODES, tree)
    clips, reported = {d.columns["source_path"] for d in listing.drafts}, {p.where for p in listing.problems}
    assert clips | reported == {f for f in tree.files if f.lower().endswith(AUDIO_SUFFIXES)}
    assert not clips & reported
    assert len({d.name.casefold() for d in listing.drafts}) == len(listing.drafts)
    assert "wav/03a01Wa.wav" in clips
