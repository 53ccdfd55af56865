"""Downloads as people have them: pointers, pages, every clip twice, archives beside folders, text in any encoding, damaged archives."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bench.audio.decoding import decode_examined
from bench.cards.corpus import CorpusCard
from bench.cards.registry import corpus_cards
from bench.cards.typed_yaml import parse_typed
from bench.corpora.preparation.preparing import Preparation, prepare
from bench.corpora.preparation.report import PrepareReport
from bench.corpora.preparation.tables import looks_like
from bench.corpora.preparation.unpacking import short_name, unpack
from bench.errors import DataError
from bench.tasks import build_task
from bench.tasks.folds import find_leaks
from tests.bench.corpora.test_identities import opened
from tests.conftest import require_folder

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 40044\n"
CARD = r"""
name: messy
languages: [en]
layout:
  parts:
    - audio: "**/*.wav"
      pattern: '(?P<speaker>s\d)_(?P<emotion>happy|sad)_(?P<take>\d)\.wav'
"""


def card(extra: str = "") -> CorpusCard:
    return parse_typed(CARD + extra, "messy", CorpusCard)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twelve clips of three speakers."""
    folder = tmp_path / "download"
    rng = np.random.default_rng(0)
    for s in range(3):
        for emotion in ("happy", "sad"):
            for take in range(2):
                path = folder / f"clips/s{s}_{emotion}_{take}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, 0.2 * rng.uniform(-1, 1, 8000), 16_000)
    return folder


def prepared(source: Path, card: CorpusCard) -> tuple[PrepareReport, list[dict[str, str]]]:
    out = source.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    report = prepare(Preparation(card, source, out, workers=1))
    return report, list(csv.DictReader((out / "metadata.csv").open(encoding="utf-8", newline="")))


def test_pointers_are_refused_where_all_are_and_counted_where_some_are(source: Path) -> None:
    first = source / "clips/s0_happy_0.wav"
    first.write_bytes(POINTER)
    report, rows = prepared(source, card())
    (problem,) = report.problems
    assert (problem.kind, problem.fault, len(rows)) == ("undecodable", True, 12)
    assert "a Git LFS pointer, not the file itself: run 'git lfs pull'" in problem.message
    for path in source.rglob("*.wav"):
        path.write_bytes(POINTER)
    with pytest.raises(DataError, match=r"12 of 12 files are Git LFS pointers.*git lfs pull"):
        prepared(source, card())
    for path in source.rglob("*.wav"):
        path.write_bytes(b"<html>please sign in</html>" + bytes(3000))
    with pytest.raises(DataError, match="12 of 12 files are HTML pages"):
        prepared(source, card())


def test_a_table_that_is_a_pointer_or_a_page_is_named(source: Path) -> None:
    joined = card("  join:\n    - {table: info.csv, key: id, on: speaker, columns: {gender: sex}}\n")
    for content, said in ((POINTER, "git lfs pull"), (b"<!DOCTYPE html><html>404</html>", "an HTML page")):
        (source / "info.csv").write_bytes(content)
        with pytest.raises(DataError, match=f"info.csv: is .*{said}"):
            prepared(source, joined)


@pytest.mark.parametrize("inside", ["zz", "deep/er/copy", "clips/all"])
def test_a_folder_that_repeats_another_is_one_line_with_the_remedy(inside: str, source: Path) -> None:
    shutil.copytree(source / "clips", source / "tmp")
    (source / inside).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source / "tmp", source / inside)
    report, rows = prepared(source, card())
    assert len(rows) == 12
    (problem,) = report.problems
    assert (problem.kind, problem.where, problem.fault) == ("doubled", inside, False)
    assert "12 clip(s), byte for byte" in problem.message
    assert f'ignore: ["{inside}/**"]' in problem.message
    report, rows = prepared(source, card(f'  ignore: ["{inside}/**"]\n'))
    assert len(rows) in (12, 24)
    assert all(p.kind == "doubled" for p in report.problems)


def test_another_sound_under_the_same_name_is_no_copy(source: Path) -> None:
    shutil.copytree(source / "clips", source / "other")
    changed = source / "other/s0_sad_0.wav"
    soundfile.write(changed, -soundfile.read(changed)[0], 16_000)
    _, rows = prepared(source, card())
    assert len(rows) == 13


def test_an_archive_beside_what_was_unpacked_of_it(source: Path) -> None:
    with tarfile.open(source / "clips.tar.gz", "w:gz") as archive:
        archive.add(source / "clips", "clips")
    unpacking = card('  unpack: ["**/clips.tar.gz"]\n')
    report, rows = prepared(source, unpacking)
    assert len(rows) == 12
    (problem,) = report.problems
    assert (problem.kind, problem.where, problem.fault) == ("doubled", "clips.tar.gz", False)
    assert "12 of its 12 files lie unpacked beside it already (in clips" in problem.message
    (source / "clips/s2_sad_1.wav").unlink()
    report, rows = prepared(source, unpacking)
    assert len(rows) == 12, "what is missing beside it is taken from the archive"
    assert "its other 1 were taken from it" in report.problems[0].message


def test_damaged_archives_and_odd_members_end_in_sentences(source: Path, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(source / "clips", "clips")
    whole = bytearray(gzip.compress(packed.getvalue(), mtime=0))
    whole[-6] ^= 255  # the checksum at the end
    (tmp_path / "crc.tar.gz").write_bytes(whole)
    with pytest.raises(DataError, match="the archive is damaged"):
        unpack(tmp_path / "crc.tar.gz", tmp_path / "x")
    for suffix, mode in ((".tar.bz2", "w:bz2"), (".tar.xz", "w:xz"), (".tar.gz", "w:gz")):
        path = tmp_path / f"cut{suffix}"
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            archive.add(source / "clips", "clips")
        path.write_bytes(path.read_bytes()[:-4000])
        with pytest.raises(DataError, match="the archive is damaged"):
            unpack(path, tmp_path / "x")
    with zipfile.ZipFile(tmp_path / "dates.zip", "w") as z:
        z.writestr(zipfile.ZipInfo("a/" + "n" * 300 + ".wav"), b"one")
        z.writestr(zipfile.ZipInfo("a/" + "n" * 299 + "m.wav"), b"two")
    raw = (tmp_path / "dates.zip").read_bytes()
    date = zipfile.ZipInfo("x").date_time
    assert date == (1980, 1, 1, 0, 0, 0)
    (tmp_path / "dates.zip").write_bytes(
        raw.replace(b"\x00\x00\x21\x00", b"\x00\x00\x00\x00")
    )  # month 0, day 0
    unpack(tmp_path / "dates.zip", tmp_path / "dated")
    files = sorted((tmp_path / "dated/a").iterdir())
    assert sorted(f.read_bytes() for f in files) == [b"one", b"two"]
    assert all(len(f.name.encode()) <= 200 and f.suffix == ".wav" for f in files)


@given(st.text(min_size=1, max_size=400).filter(lambda s: "/" not in s))
def test_any_name_fits_a_disk(name: str) -> None:
    assert len(short_name(name).encode("utf-8", "surrogateescape")) <= max(
        200, len(name.encode()) if len(name.encode()) <= 200 else 0
    )


SENTENCES = [
    "It’s a fine day, isn’t it?",
    "He won’t go.",
    "Let’s eat “now”.",
    "C’est déjà l’été à Nîmes.",
    "Ça va?",
]
CHINESE = ["今天天气很好", "他昨天去了学校", "我们一起吃饭吧", "请把门关上"]


@given(st.lists(st.sampled_from(SENTENCES), min_size=1), st.integers(0, 1))
def test_western_text_is_not_read_as_chinese(lines: list[str], odd: int) -> None:
    raw = (
        "\n".join(f"0014_{i:06d}\t{line}\tNeutral" for i, line in enumerate(lines)).encode("cp1252")
        + b"\n" * odd
    )
    assert not looks_like(raw, "gb18030")
    assert not looks_like(raw, "utf-16")
    assert looks_like(raw, "cp1252")


@given(
    st.lists(st.sampled_from(CHINESE), min_size=1),
    st.sampled_from(["gb18030", "utf-16", "utf-16-le", "utf-16-be"]),
)
def test_chinese_text_is_known_in_every_encoding(lines: list[str], encoding: str) -> None:
    raw = "\n".join(f"0001_{i:06d}\t{line}\t中立" for i, line in enumerate(lines)).encode(encoding)
    assert looks_like(raw, "gb18030" if encoding == "gb18030" else "utf-16")
    assert not looks_like(raw, "utf-16" if encoding == "gb18030" else "gb18030")


def test_rows_that_lost_their_delimiter_are_read_or_said(source: Path) -> None:
    (source / "words.txt").write_text(
        "s0\tIt is late.\tx\ns1 It is too late. x\ns2\tOh.\tx\n", encoding="utf-8"
    )
    join = "  join:\n    - {{table: words.txt, delimiter: tab, header: [id, text, more], key: id, on: speaker, columns: {{transcript: text}}{}}}\n"
    report, rows = prepared(source, card(join.format(", spaced: text")))
    assert {r["speaker"]: r["transcript"] for r in rows} == {
        "s0": "It is late.",
        "s1": "It is too late.",
        "s2": "Oh.",
    }
    assert report.problems == ()
    report, rows = prepared(source, card(join.format("")))
    said = [p.message for p in report.problems if p.where == "words.txt"]
    assert said == [
        "1 row(s), first line 2, have no tab, so that only the first of 3 columns is filled; another delimiter?"
    ]


def test_a_join_that_fills_nothing_is_said_even_where_it_is_optional(source: Path) -> None:
    (source / "info.csv").write_text("id,sex\nS-0,f\nS-1,m\n", encoding="utf-8")
    join = "  join:\n    - {table: info.csv, key: id, on: speaker, columns: {gender: sex}, optional: true}\n"
    (problem,) = prepared(source, card(join))[0].problems
    assert (problem.kind, problem.where, problem.fault) == ("empty join", "info.csv", True)
    assert "id is e.g. 'S-0', the clips ask for e.g. 's0'" in problem.message
    (source / "info.csv").write_text("id,sex\ns0,\ns1,\n", encoding="utf-8")
    (problem,) = prepared(source, card(join))[0].problems
    assert "every cell of gender is blank" in problem.message


def test_several_tables_add_up_and_overwrite_nothing(source: Path) -> None:
    for name, rows in {"a.csv": "s0,A,1,f\ns1,B,2,m\n", "b.csv": "s0,B,3,f\ns1,B,4,x\n"}.items():
        (source / name).write_text(f"id,heard,v,sex\n{rows}", encoding="utf-8")
    join = "  join:\n" + "".join(
        f"    - {{table: {name}, key: id, on: speaker, tally: heard, ratings: {{valence: v}}, single: true, columns: {{gender: sex}}, optional: true}}\n"
        for name in ("a.csv", "b.csv")
    )
    report, rows = prepared(source, card(join).model_copy(update={"scale": (1, 5)}))
    of = {r["speaker"]: r for r in rows}
    assert json.loads(of["s0"]["soft_votes"]) == {"A": 1, "B": 1}
    assert json.loads(of["s1"]["ratings"]) == {"valence": [2, 4]}
    assert of["s1"]["gender"] == "m"
    assert any(
        p.kind == "listed twice" and "gender is 'm', and a further table says 'x'" in p.message
        for p in report.problems
    )


def test_votes_decide_and_ties_are_left_out(source: Path) -> None:
    (source / "votes.csv").write_text(
        "clip,h,s\ns0_happy_0,3,1\ns0_happy_1,2,2\ns0_sad_0,0,5\n", encoding="utf-8"
    )
    text = "  join:\n    - {table: votes.csv, key: clip, on: stem, votes: {happy: h, sad: s}, optional: true}\n  winner: {agreement: agreement}\n"
    _, rows = prepared(source, card(text))
    assert {Path(r["file_name"]).stem: (r["emotion"], r["agreement"]) for r in rows} == {
        "s0_happy_0": ("happy", "0.75"),
        "s0_sad_0": ("sad", "1"),
    }


CASES = {
    "ravdess-twice": ("ravdess", 32, ["doubled"]),
    "meld-both": ("meld", 18, ["doubled", "doubled", "doubled", "length", "undecodable"]),
    "esd": ("esd", 200, []),
    "esd-cp1252": ("esd", 180, []),
    "msp": ("msp-podcast", 24, []),
}
SMALL = {"promise", "hours", "uneven speaker"}


@pytest.mark.parametrize("case", sorted(CASES))
def test_shared_cases(case: str, shared_cases: Path, tmp_path: Path, cache: Path) -> None:
    name, clips, kinds = CASES[case]
    out = tmp_path / name
    report = prepare(Preparation(corpus_cards()[name], shared_cases / case, out, workers=1))
    assert report.found.clips == clips
    assert sorted(p.kind for p in report.problems if p.kind not in SMALL) == kinds
    if case == "msp":
        table = opened(out, cache)
        task = build_task(table, "msp-podcast.en", "within")
        assert (len(task), len(task.left_out)) == (20, 4)
        assert build_task(table, "msp-podcast.en@official", "within").leaks == ()
    if case.startswith("esd"):
        task = build_task(opened(out, cache), "esd.en@script-disjoint", "within")
        said = [t.replace("’", "'") for t in task.transcripts]
        assert all(said)
        assert not find_leaks(task.folds, {"sentence": said}, ("train", "test"))
        assert not find_leaks(task.folds, {"sentence": said}, ("dev", "test"))


@pytest.mark.parametrize("case", ["crema-lfs", "crema-lfs-votes"])
def test_a_clone_without_lfs_is_refused(case: str, shared_cases: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Git LFS pointer.*run 'git lfs pull'"):
        prepare(Preparation(corpus_cards()["crema-d"], shared_cases / case, tmp_path / "out", workers=1))


def test_the_shipped_card_makes_the_perceived_crema_d(shared_cases: Path, tmp_path: Path) -> None:
    shared = shared_cases.parent
    ready = require_folder(shared / "corpora-large/crema-d-perceived")
    wanted = {r["file_name"]: r for r in csv.DictReader((ready / "metadata.csv").open(encoding="utf-8"))}
    chosen = sorted(wanted)[::60]
    (tmp_path / "download/AudioWAV").mkdir(parents=True)
    for name in chosen:
        shutil.copy(ready / name, tmp_path / "download/AudioWAV")
    shutil.copy(shared / "labels/crema-d/voice_votes.csv", tmp_path / "download")
    out = tmp_path / "out"
    prepare(Preparation(corpus_cards()["crema-d-perceived"], tmp_path / "download", out, workers=1))
    made = {r["file_name"]: r for r in csv.DictReader((out / "metadata.csv").open(encoding="utf-8"))}
    assert sorted(made) == chosen
    same = (
        "speaker",
        "emotion",
        "soft_votes",
        "script",
        "intended",
        "level",
        "agreement",
        "transcript",
        "language",
    )
    assert all(made[c][k] == wanted[c][k] for c in chosen for k in same)


def test_real_corpora_are_examined_clean(shared_cases: Path) -> None:
    """Every fifteenth clip, so that the test stays short; `corpus verify` looked at all 3,314."""
    shared = shared_cases.parent
    clips = [
        c for part in ("corpora", "corpora-large") for c in sorted((shared / part).glob("*/audio/*"))[::15]
    ]
    assert len(clips) > 100
    assert {str(c): found for c in clips if (found := decode_examined(c)[1].findings)} == {}
