"""Data sets in the hub's format, read from a local folder: encoded audio in Parquet, class names, splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.audio.decoding import decode, pcm_hash
from bench.corpora.preparation.preparing import Preparation, prepare
from bench.errors import DataError, UsageError
from tests.bench.corpora.preparation.sources import card, write_file, write_sound
from tests.bench.corpora.preparation.test_prepare_corpora import metadata, visible


def data_set(folder: Path, rows: int = 25) -> Path:
    """Write a data set of two splits as ``push_to_hub`` lays it out."""
    import datasets
    import pyarrow as pa
    from pyarrow import parquet

    features = datasets.Features(
        {
            "audio": datasets.Audio(sampling_rate=22_050),
            "label": datasets.ClassLabel(names=["happy", "sad"]),
            "who": datasets.Value("int32"),
            "scores": {"v": datasets.Value("float32")},
        }
    )
    (folder / "data").mkdir(parents=True)
    for split, shards in (("train", 2), ("test", 1)):
        for shard in range(shards):
            names = [f"{split}{shard}-{i}.wav" for i in range(rows)]
            sounds = [write_sound(folder.parent / "raw", n, rate=22_050).read_bytes() for n in names]
            table = pa.table(
                {
                    "audio": [{"bytes": b, "path": n} for b, n in zip(sounds, names, strict=True)],
                    "label": [i % 2 for i in range(rows)],
                    "who": list(range(rows)),
                    "scores": [{"v": 0.5}] * rows,
                },
                schema=features.arrow_schema,
            )
            parquet.write_table(
                table, folder / f"data/{split}-{shard:05d}-of-{shards:05d}.parquet", row_group_size=10
            )
    write_file(folder, "README.md", "---\nlicense: mit\n---\n")
    return folder


PART = "{repo: org/name, revision: abc, splits: {learn: train, test: test}}"
TOY = f"""
parts:
  - huggingface: {PART}
    columns: {{emotion: label, speaker: "s{{who:0>2}}", valence: scores.v}}
"""


def test_rows_become_clips_with_class_names_and_splits(tmp_path: Path) -> None:
    report = prepare(Preparation(card(TOY), data_set(tmp_path / "s"), tmp_path / "out", workers=2))
    rows = {r["file_name"]: r for r in metadata(tmp_path / "out")}
    assert (len(rows), report.faults, report.labels) == (75, 0, {"happy": 39, "sad": 36})
    row = rows["audio/learn/train1-3.flac"]
    assert {k: row[k] for k in ("emotion", "speaker", "valence", "split", "source_path")} == {
        "emotion": "sad", "speaker": "s03", "valence": "0.5", "split": "learn", "source_path": "learn/train1-3.wav",
    }  # fmt: skip
    assert row["pcm_hash"] == pcm_hash(decode(tmp_path / "raw/train1-3.wav"))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.flac")}
    prepare(Preparation(card(TOY), tmp_path / "s", tmp_path / "out", workers=1))
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.flac")} == before
    prepare(Preparation(card(TOY), tmp_path / "s", tmp_path / "other", workers=1))
    assert visible(tmp_path / "out") == visible(tmp_path / "other")
    assert not list((tmp_path / "out/.prepare").rglob("*.arrow"))


def test_a_row_without_sound_is_reported_and_no_file_of_this_machine_is_read(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    folder = data_set(tmp_path / "s", rows=3)
    secret = write_file(tmp_path, "secret.txt", "secret")
    path = next((folder / "data").glob("test-*"))
    table = parquet.read_table(path)
    audio = [{"bytes": None, "path": str(secret)}, {"bytes": b"no sound", "path": "b.wav"}, None]
    audio_column = pa.array(audio, table.schema.field("audio").type)
    parquet.write_table(table.set_column(0, table.schema.field("audio"), audio_column), path)
    report = prepare(Preparation(card(TOY), folder, tmp_path / "out", workers=1))
    assert [(p.kind, p.where) for p in report.problems if p.fault] == [
        ("undecodable", "test/000002"),
        ("undecodable", "test/b.wav"),
        ("undecodable", "test/secret.txt"),
    ]
    assert not [
        p for p in (tmp_path / "out").rglob("*") if p.is_file() and b"secret\n" in p.read_bytes() + b"\n"
    ]
    assert report.found.clips == 9


def test_without_columns_all_are_kept(tmp_path: Path) -> None:
    toy = card("parts: [{huggingface: {repo: org/name, splits: {test: test}}}]")
    prepare(Preparation(toy, data_set(tmp_path / "s", rows=3), tmp_path / "out", workers=1))
    first = metadata(tmp_path / "out")[0]
    assert (first["label"], first["who"], first["scores.v"], first["split"]) == ("happy", "0", "0.5", "test")


def test_a_split_or_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    data_set(tmp_path / "s", rows=3)
    for wrong, message in (
        (TOY.replace("test: test", "test: tset"), "no split 'tset'; did you mean 'test'"),
        (TOY.replace("revision: abc", "audio: sound"), "no column 'sound'"),
        (TOY.replace("revision: abc", "audio: label"), "the column 'label' holds no audio"),
        (TOY.replace("emotion: label", "emotion: lable"), "no column 'lable'; did you mean 'label'"),
    ):
        with pytest.raises(UsageError, match=message):
            prepare(Preparation(card(wrong), tmp_path / "s", tmp_path / "out", workers=1))


def test_a_folder_that_is_no_data_set_says_so(tmp_path: Path) -> None:
    write_file(tmp_path / "s", "data/train.parquet", "not parquet")
    with pytest.raises(DataError, match="`datasets` cannot read this folder"):
        prepare(Preparation(card(TOY), tmp_path / "s", tmp_path / "out", workers=1))


def test_a_hub_that_cannot_be_reached_is_one_clear_sentence(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    toy = card(TOY, head="access: open")
    with pytest.raises(
        DataError,
        match=r"org/name: cannot be fetched from the Hugging Face hub .* give the folder as --source",
    ):
        prepare(Preparation(toy, None, tmp_path / "out", workers=1))
