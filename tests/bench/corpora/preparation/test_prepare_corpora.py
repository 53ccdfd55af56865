"""Whole preparations: what is written, what is reported, what a second run does, and who is refused."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.audio.decoding import decode, pcm_hash
from bench.cards.corpus import CorpusCard
from bench.corpora.decoded import open_table
from bench.corpora.preparation.preparing import Preparation, Watcher, prepare
from bench.corpora.preparation.report import PrepareReport
from bench.corpora.preparation.writing import order_of, units_of
from bench.corpora.prepared import open_corpus
from bench.corpora.verification import verify_corpus
from bench.errors import BenchError, UsageError
from tests.bench.corpora.preparation.sources import card, listed, tone, write_file, write_sound

CARD = r"""
parts:
  - audio: ["**/*.{wav,flac,mp3,m4a,mp4}"]
    pattern: '(?P<speaker>\w+)_(?P<emotion>[a-z]+)_(?P<take>\d+)\.(wav|flac|mp3|m4a|mp4)'
    set: {language: ms}
"""
HEAD = "clips: 12\nspeakers: 2\nlanguages: [ms]\naccess: open"
TOY = card(CARD, head=HEAD)


def source(folder: Path) -> Path:
    for speaker in ("1", "2"):
        for emotion in ("happy", "sad"):
            for take in range(3):
                write_sound(folder, f"{speaker}_{emotion}_{take}.wav")
    return folder


def prepared(toy: CorpusCard, folder: Path, out: Path, workers: int = 1) -> PrepareReport:
    return prepare(Preparation(toy, folder, out, workers=workers))


def metadata(out: Path) -> list[dict[str, str]]:
    with (out / "metadata.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def visible(out: Path) -> dict[str, bytes]:
    """Every file of a prepared corpus, but for the hidden folder."""
    files = (p for p in out.rglob("*") if p.is_file() and ".prepare" not in p.parts)
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in files}


def found(report: PrepareReport, *, notes: bool = True) -> list[tuple[str, str]]:
    return [(p.kind, p.where) for p in report.problems if notes or p.fault]


def test_every_format_and_rate_becomes_16_khz_mono_flac_with_a_hash(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    write_sound(folder, "a/1_sad_1.wav", rate=44_100)
    write_sound(folder, "a/1_sad_2.flac", rate=48_000, channels=2)
    write_sound(folder, "b/1_sad_3.mp3", rate=16_000)
    write_sound(folder, "b/1_sad_4.m4a", rate=22_050)
    write_sound(folder, "b/1_sad_5.mp4", rate=32_000)
    write_sound(folder, "b/1_sad_6.wav")
    report = prepared(card(CARD), folder, tmp_path / "out")
    rows = metadata(tmp_path / "out")
    assert [r["file_name"] for r in rows] == [f"audio/1_sad_{i}.flac" for i in range(1, 7)]
    for row in rows:
        path = tmp_path / "out" / row["file_name"]
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype, info.format) == (16_000, 1, "PCM_16", "FLAC")
        assert row["pcm_hash"] == pcm_hash(decode(path)) == pcm_hash(decode(folder / row["source_path"]))
        assert float(row["seconds"]) == pytest.approx(0.3, abs=0.1)
    assert {k: v for k, v in rows[0].items() if k in ("speaker", "emotion", "take", "language")} == {
        "speaker": "1", "emotion": "sad", "take": "1", "language": "ms",
    }  # fmt: skip
    assert report.rates == {"16000": 2, "22050": 1, "32000": 1, "44100": 1, "48000": 1}
    assert report.channels == {"1": 5, "2": 1}
    assert report.faults == 0
    assert ("channels", "a/1_sad_2.flac") in found(report)
    saved = json.loads((tmp_path / "out/prepare-report.json").read_text(encoding="utf-8"))
    assert saved == json.loads(json.dumps(report.as_json()))


def test_the_same_bytes_from_run_to_run_and_for_any_number_of_workers(tmp_path: Path) -> None:
    folder = source(tmp_path / "s")
    for i in range(40):
        write_sound(folder, f"3_sad_{i}.wav", rate=22_050)
    for out, workers in (("one", 1), ("two", 2), ("again", 1)):
        prepared(TOY, folder, tmp_path / out, workers)
    assert visible(tmp_path / "one") == visible(tmp_path / "two") == visible(tmp_path / "again")
    assert len(visible(tmp_path / "one")) == 52 + 2


def test_a_prepared_corpus_opens_as_an_audiofolder_and_as_a_task(tmp_path: Path, cache: Path) -> None:
    import datasets

    folder = source(tmp_path / "s")
    (folder / "2_sad_2.wav").write_bytes(b"RIFF no sound at all")
    prepared(TOY, folder, tmp_path / "toy")
    rows = metadata(tmp_path / "toy")
    # Paths are left as text: making an Audio column needs torchcodec, which this suite does without.
    loaded = datasets.load_dataset(
        "audiofolder",
        data_dir=str(tmp_path / "toy"),
        split="train",
        features=datasets.Features(dict.fromkeys(rows[0], datasets.Value("string"))),
        cache_dir=str(tmp_path / "hf"),
    )
    assert {x["file_name"]: x["pcm_hash"] or "" for x in loaded} == {
        r["file_name"]: r["pcm_hash"] for r in rows
    }
    assert len(loaded) == 12
    table = open_table(open_corpus(str(tmp_path / "toy"), []), cache)
    assert len(table.metadata) == 12


def damaged(folder: Path) -> Path:
    """Half a corpus: everything that goes wrong at once."""
    source(folder)
    for take in range(3):  # speaker 2 lacks a whole emotion
        (folder / f"2_sad_{take}.wav").unlink()
    (folder / "1_happy_0.wav").write_bytes(b"")
    whole = (folder / "1_happy_1.wav").read_bytes()
    (folder / "1_happy_1.wav").write_bytes(whole[: len(whole) // 2])
    shutil.copy(folder / "1_happy_2.wav", folder / "1_happy_7.wav")
    shutil.copy(folder / "1_sad_0.wav", folder / "2_happy_8.wav")
    write_sound(folder, "1_bewildered_0.wav")
    write_sound(folder, "1_sad_5.wav", rate=8_000)
    write_sound(folder, "1_sad_6.wav", channels=2)
    write_sound(folder, "ünï_sad_0.wav")
    write_sound(folder, "no-such-pattern.wav")
    soundfile.write(folder / "1_sad_9.wav", np.zeros(4800), 16_000)
    write_file(folder, "1_sad_8.wav", "not audio")
    return folder


def test_bad_input_is_reported_in_one_table_and_never_dropped(tmp_path: Path) -> None:
    folder = damaged(tmp_path / "s")
    report = prepared(TOY, folder, tmp_path / "out")
    assert found(report) == [
        ("channels", "1_sad_6.wav"),
        ("conflicting labels", "1_sad_0.wav"),
        ("name", "ünï_sad_0.wav"),
        ("no match", "no-such-pattern.wav"),
        ("promise", "clips"),
        ("promise", "speakers"),
        ("same sound", "1_happy_2.wav"),
        ("sample rates", "1_sad_5.wav"),
        ("silent", "1_sad_9.wav"),
        ("truncated", "1_happy_1.wav"),
        ("undecodable", "1_happy_0.wav"),
        ("undecodable", "1_sad_8.wav"),
        ("unknown label", "1_bewildered_0.wav"),
    ]
    messages = {p.where: p.message for p in report.problems}
    assert messages["1_happy_0.wav"].startswith("the file is empty (0 bytes)")
    assert messages["1_happy_1.wav"] == "cut off: 0.30 s were promised, the last 0.15 s are missing"
    assert messages["1_sad_0.wav"] == "the same samples as 2_happy_8.wav, labelled 'happy', 'sad'"
    assert messages["clips"] == "found 17, the card promises 12"
    # every audio file of the tree is a row or a problem
    rows = {r["source_path"]: r for r in metadata(tmp_path / "out")}
    assert {p.name for p in folder.iterdir()} == set(rows) | {"no-such-pattern.wav"}
    assert (rows["1_sad_8.wav"]["file_name"], rows["1_sad_8.wav"]["pcm_hash"]) == ("audio/1_sad_8.wav", "")
    assert (tmp_path / "out/audio/1_sad_8.wav").read_text() == "not audio"
    assert report.undecodable == 2


def test_a_missing_actor_is_named_by_the_gap_and_half_an_actor_by_the_count(tmp_path: Path) -> None:
    for speaker in ("01", "02", "04", "05"):
        for take in range(3 if speaker != "05" else 2):
            write_sound(tmp_path / "s", f"{speaker}_sad_{take}.wav")
    toy = card(CARD, head="speakers: 5\nhours: 2")
    report = prepared(toy, tmp_path / "s", tmp_path / "out")
    assert report.faults == 1
    assert [(p.kind, p.where, p.message) for p in report.problems] == [
        ("hours", "hours", "found 0.00, the card promises 2"),
        ("promise", "speakers", "found 4, the card promises 5 (no speaker 3 between 1 and 5)"),
        ("uneven speaker", "05", "has 2 clips, 3 of 4 speakers have 3"),
    ]


def test_files_published_as_broken_are_known_and_no_fault(tmp_path: Path) -> None:
    folder = source(tmp_path / "s")
    (folder / "1_sad_0.wav").write_bytes(b"broken upstream")
    assert prepared(TOY, folder, tmp_path / "out").faults == 1
    report = prepared(card(CARD + "known: 1_sad_0.wav", head=HEAD), folder, tmp_path / "known")
    assert [(p.kind, p.known) for p in report.problems] == [("undecodable", True)]
    assert report.faults == 0


def test_flac_cut_off_is_never_taken_for_whole(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "s", "1_sad_0.flac", seconds=4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = prepared(card(CARD), tmp_path / "s", tmp_path / "out")
    assert {k for k, _ in found(report)} <= {"truncated", "undecodable"}
    assert report.faults == 1


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "m4a"])
def test_no_damage_to_a_file_ends_the_preparation(tmp_path: Path, suffix: str) -> None:
    raw = write_sound(tmp_path, f"whole.{suffix}").read_bytes()
    rng = np.random.default_rng(0)
    for i in range(60):
        damaged = bytearray(raw)
        for _ in range(1 + i % 9):
            damaged[rng.integers(min(len(raw), 150 if i % 2 else len(raw)))] = rng.integers(256)
        path = tmp_path / f"s/1_sad_{i}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(damaged if i % 3 else damaged[: rng.integers(1, len(raw))])
    any_suffix = CARD.replace("m4a", "m4a,ogg", 1).replace("(wav", "(ogg|wav")
    report = prepared(card(any_suffix), tmp_path / "s", tmp_path / "out")
    assert report.found.clips == 60
    assert report.undecodable == len({p.where for p in report.problems if p.kind == "undecodable"})


def test_a_video_cut_short_is_noticed(tmp_path: Path) -> None:
    import av

    whole = write_sound(tmp_path, "1_sad_0.mp4", seconds=3)
    (tmp_path / "s").mkdir()
    fast = tmp_path / "s/1_sad_0.mp4"
    with (
        av.open(str(whole)) as inside,
        av.open(str(fast), "w", format="mp4", options={"movflags": "faststart"}) as out,
    ):
        stream = out.add_stream_from_template(inside.streams.audio[0])
        for packet in inside.demux(inside.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    assert prepared(card(CARD), tmp_path / "s", tmp_path / "whole").faults == 0
    fast.write_bytes(fast.read_bytes()[: fast.stat().st_size * 2 // 3])
    assert {k for k, _ in found(prepared(card(CARD), tmp_path / "s", tmp_path / "cut"))} & {
        "truncated",
        "undecodable",
    }


def test_a_second_run_decodes_only_what_changed_and_names_it(tmp_path: Path) -> None:
    folder, out = source(tmp_path / "s"), tmp_path / "out"
    prepared(TOY, folder, out)
    first = {p: p.stat().st_mtime_ns for p in out.rglob("*.flac")}
    write_sound(folder, "1_sad_0.wav", seed="another")
    (folder / "1_sad_1.wav").unlink()
    write_sound(folder, "1_sad_7.wav")
    report = prepared(TOY, folder, out)
    assert found(report) == [("changed", "audio/1_sad_0.flac"), ("gone", "audio/1_sad_1.flac")]
    now = {p: p.stat().st_mtime_ns for p in out.rglob("*.flac")}
    new = {p.name for p, t in now.items() if first.get(p) != t}
    assert new == {"1_sad_0.flac", "1_sad_7.flac"}
    assert not (out / "audio/1_sad_1.flac").exists()
    assert not prepared(TOY, folder, out).problems
    (out / "audio/1_sad_2.flac").write_bytes(b"overwritten by somebody")
    prepared(TOY, folder, out)
    assert decode(out / "audio/1_sad_2.flac").size == 4800


def _interrupted(folder: Path, out: Path) -> None:
    class Slow(Watcher):
        def step(self, steps: int) -> None:
            time.sleep(0.3)

    prepare(Preparation(TOY, folder, out, workers=2), Slow())


def test_a_killed_preparation_goes_on_where_it_was(tmp_path: Path) -> None:
    folder, out = source(tmp_path / "s"), tmp_path / "out"
    for i in range(120):
        write_sound(folder, f"3_sad_{i}.wav")
    process = multiprocessing.get_context("spawn").Process(target=_interrupted, args=(folder, out))
    process.start()
    deadline = time.monotonic() + 30
    ledger = out / ".prepare/clips.jsonl"
    while not (ledger.exists() and ledger.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    time.sleep(1.2)  # its workers see that it is gone, and go
    noted = {json.loads(line)["file_name"] for line in ledger.read_text().splitlines()}
    assert 0 < len(noted) < 132
    assert not (out / "metadata.csv").exists()
    before = {n: (out / n).stat().st_mtime_ns for n in noted}
    with ledger.open("a") as stream:
        stream.write('{"key": "torn')
    prepared(TOY, folder, out)
    assert {n: (out / n).stat().st_mtime_ns for n in noted} == before
    prepared(TOY, folder, tmp_path / "fresh")
    assert visible(out) == visible(tmp_path / "fresh")


def test_clips_are_cut_out_of_a_recording_that_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sound(tmp_path / "s", "long.wav", seconds=3, rate=22_050)
    rows = "\n".join(f"{i},{i / 2},{i / 2 + 0.5},sad" for i in range(6)) + "\n9,2.9,3.4,sad\n10,5,6,sad\n"
    write_file(tmp_path / "s", "t.csv", "id,from,to,emotion\n" + rows)
    toy = card(
        "parts: [{table: t.csv, audio: long.wav, columns: {start: from, end: to, emotion: emotion, script: id}}]"
    )
    opened: list[Path] = []

    def counting(path: Path) -> object:
        opened.append(path)
        return real(path)

    from bench.corpora.preparation import writing

    real = writing.read_recording
    monkeypatch.setattr(writing, "read_recording", counting)
    report = prepared(toy, tmp_path / "s", tmp_path / "out")
    assert len(opened) == 1
    written = metadata(tmp_path / "out")
    assert [r["seconds"] for r in written] == ["0.5000"] * 6 + ["0.1000", ""]
    assert [r["script"] for r in written] == [*map(str, range(6)), "9", "10"]
    assert sorted(k for k, _ in found(report)) == ["truncated", "undecodable"]
    whole = decode(tmp_path / "s/long.wav")
    middle = decode(tmp_path / "out" / written[2]["file_name"])
    assert (
        np.abs(whole[16_200:23_800].astype(int) - middle[200:-200]).max() < 40
    )  # resampling differs at the edges only


def test_merged_segments_sound_like_the_clip_they_came_from(tmp_path: Path) -> None:
    samples = tone("one", 6.0)
    for i in range(3):
        path = tmp_path / f"s/{i}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, samples[i * 32_000 : (i + 1) * 32_000], 16_000)
    write_file(
        tmp_path / "s", "t.csv", "f,c,a,b,e\n" + "".join(f"{i},c,{2 * i},{2 * i + 2},sad\n" for i in range(3))
    )
    toy = card("""
parts:
  - {reader: segments, table: t.csv, audio: "{f}.wav", columns: {parent: c, parent_start: a, parent_end: b, emotion: e}}
""")
    prepared(toy, tmp_path / "s", tmp_path / "out")
    (row,) = metadata(tmp_path / "out")
    soundfile.write(tmp_path / "whole.wav", samples, 16_000)
    assert (row["parent"], row["seconds"], row["pcm_hash"]) == (
        "c",
        "6.0000",
        pcm_hash(decode(tmp_path / "whole.wav")),
    )


def test_one_source_is_one_unit_of_work(tmp_path: Path) -> None:
    write_sound(tmp_path / "s", "long.wav")
    write_file(tmp_path / "s", "t.csv", "a,b\n" + "".join(f"{i / 100},{i / 100 + 0.01}\n" for i in range(29)))
    toy = card("parts: [{table: t.csv, audio: long.wav, columns: {start: a, end: b}}]")
    listing = listed(toy, tmp_path / "s", tmp_path)
    from bench.corpora.preparation.source import open_source

    tree = open_source(toy, tmp_path / "s", tmp_path)
    assert [len(u) for u in units_of([order_of(d, tree) for d in listing.drafts])] == [29]


def test_a_table_cannot_write_outside_the_corpus_folder(tmp_path: Path) -> None:
    write_sound(tmp_path / "s", "a.wav")
    write_file(tmp_path / "s", "t.csv", "f,c,a,b\na,../../../evil,0,2\n")
    toy = card("""
parts:
  - {reader: segments, table: t.csv, audio: "{f}.wav", columns: {parent: c, parent_start: a, parent_end: b}}
""")
    prepared(toy, tmp_path / "s", tmp_path / "deep/er/out")
    assert [p for p in tmp_path.rglob("*.flac") if tmp_path / "deep/er/out/audio" not in p.parents] == []
    assert metadata(tmp_path / "deep/er/out")[0]["file_name"] == "audio/_./_./_./evil/0000.000-0002.000.flac"


def test_forms_private_sets_and_unverified_layouts_are_refused_with_the_way_to_go(tmp_path: Path) -> None:
    form = card(CARD + 'obtain: "ask at the lab"', head="access: form")
    with pytest.raises(
        UsageError, match=r"given out by its owner on request \(form\): ask at the lab.*--source"
    ):
        prepare(Preparation(form, None, tmp_path / "out"))
    described = TOY.model_copy(update={"verification": "described"})
    with pytest.raises(UsageError, match=r"never checked .* --unverified"):
        prepare(Preparation(described, source(tmp_path / "s"), tmp_path / "out"))
    prepare(Preparation(described, tmp_path / "s", tmp_path / "out", workers=1, unverified=True))
    with pytest.raises(UsageError, match="the card names no download"):
        prepare(Preparation(TOY, None, tmp_path / "no"))
    with pytest.raises(UsageError, match="has no 'layout:'"):
        prepare(Preparation(CorpusCard(name="bare"), tmp_path / "s", tmp_path / "no"))
    with pytest.raises(UsageError, match="no such folder or archive"):
        prepare(Preparation(TOY, tmp_path / "nowhere", tmp_path / "no"))
    write_file(tmp_path, "mine/letter.txt", "keep me")
    with pytest.raises(UsageError, match="is not empty and was not made by 'corpus prepare'"):
        prepare(Preparation(TOY, tmp_path / "s", tmp_path / "mine"))
    assert not (tmp_path / "no").exists()


def test_a_wrong_source_leaves_nothing_behind(tmp_path: Path) -> None:
    write_file(tmp_path / "s", "readme.txt", "nothing here")
    with pytest.raises(BenchError, match="does not look like toy"):
        prepare(Preparation(TOY, tmp_path / "s", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_verify_finds_a_clip_that_is_not_the_one_that_was_prepared(tmp_path: Path, cache: Path) -> None:
    folder = source(tmp_path / "s")
    (folder / "2_sad_2.wav").write_bytes(b"never was a sound")
    prepared(TOY, folder, tmp_path / "toy")
    table = open_table(open_corpus(str(tmp_path / "toy"), []), cache)
    assert verify_corpus(table, tmp_path / "fresh-cache").sound
    write_sound(tmp_path / "toy", "audio/1_sad_0.flac", seed="another")
    found = verify_corpus(open_table(open_corpus(str(tmp_path / "toy"), []), cache), cache)
    assert (found.unlike_metadata, found.changed, found.sound) == (("audio/1_sad_0.flac",), (), False)


@pytest.mark.real
def test_a_real_corpus_prepared_again_has_the_same_sounds(real_corpora: Path, tmp_path: Path) -> None:
    toy = card(
        r"parts: [{audio: ['**/*.flac'], pattern: '(?P<speaker>\d\d)-(?P<emotion>\d\d)-\d\d-\d\d\.flac'}]"
    )
    some = tmp_path / "s"
    some.mkdir()
    for path in sorted((real_corpora / "indowave/audio").iterdir())[::15]:
        shutil.copy(path, some / path.name)
    prepared(toy, some, tmp_path / "out")
    for row in metadata(tmp_path / "out"):
        assert row["pcm_hash"] == pcm_hash(decode(real_corpora / "indowave" / row["file_name"]))
