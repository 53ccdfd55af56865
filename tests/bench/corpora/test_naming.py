"""Published names: holders of the same samples agree on them, and nobody else can try guesses on what is published."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench import load_task
from bench.cards.corpus import CorpusCard
from bench.corpora.copies import CopyMarks
from bench.corpora.naming import CorpusNames, read_marks, write_marks
from bench.errors import DataError
from bench.storage.hashing import digest
from tests.conftest import rewrite, write_tone_corpus


def sounds(n: int, seed: int = 0) -> list[str]:
    """Hashes as of ``n`` different clips."""
    rng = random.Random(seed)
    return [f"{rng.getrandbits(128):032x}" for _ in range(n)]


def test_names_follow_from_all_samples_and_nothing_else(cache: Path, tmp_path: Path) -> None:
    folder = write_tone_corpus(tmp_path / "data" / "tones")
    whole = load_task("tones.ms", data=[tmp_path / "data"])
    limited = load_task("tones.ms", data=[tmp_path / "data"], limit=9)
    alone = load_task("tones.ms@loso", data=[tmp_path / "data"])
    tested = load_task("tones.ms", data=[tmp_path / "data"], protocol="zero-shot")
    assert whole.names == limited.names == alone.names == tested.names
    # The same samples under other file names, labels and speakers: another corpus to score, the same key.
    rewrite(folder, emotion="sad", speaker=lambda row: "x" + str(row["speaker"]))
    assert load_task("tones.ms", data=[tmp_path / "data"], protocol="zero-shot").names == whole.names
    wave, rate = soundfile.read(folder / whole.clip_ids[0], dtype="int16")
    wave[100] += 1
    soundfile.write(folder / whole.clip_ids[0], wave, rate)
    other = load_task("tones.ms", data=[tmp_path / "data"], protocol="zero-shot")
    assert other.names.commitment != whole.names.commitment
    assert other.names.cluster("tones/00") != whole.names.cluster("tones/00")
    assert whole.names.marks.differing_audio([d.pcm_hash for d in other.decoded]) == 1


def test_each_language_of_a_corpus_has_its_own_key(cache: Path, tmp_path: Path) -> None:
    write_tone_corpus(tmp_path / "tones", languages=("ms", "ta"))
    names = [
        load_task(f"tones.{x}", data=[tmp_path / "tones"], protocol="zero-shot").names for x in ("ms", "ta")
    ]
    assert names[0].commitment != names[1].commitment


def test_one_text_has_unrelated_names_for_different_purposes() -> None:
    names = CorpusNames.of_audio(sounds(20))
    assert names.cluster("x/1") != names.speaker("x/1")
    assert not names.cluster("x/1").startswith(names.clip("x/1"))
    assert "key" not in repr(names) or names.key.hex() not in repr(names)


def test_folds_get_the_same_names_in_another_order() -> None:
    order = [str(i) for i in range(10)]
    keys = [CorpusNames.of_audio(sounds(20, seed)) for seed in range(5)]
    dealt = [tuple(map(names.folds(order).__getitem__, order)) for names in keys]
    assert all(sorted(d) == order for d in dealt)
    assert len(set(dealt)) == 5


def test_an_attacker_with_the_lists_of_speakers_recovers_nobody() -> None:
    """What recovered 30 of 39 speakers in half a second from names that were hashed with published values."""
    emodb = ["03", "08", "09", "10", "11", "12", "13", "14", "15", "16"]
    names = CorpusNames.of_audio(sounds(535))
    people = [f"emodb/{s}" for s in emodb]
    published = {names.cluster(p) for p in people} | {names.speaker(p) for p in people}
    published |= {names.clip(f"audio/{s}a01Fa.flac") for s in emodb}
    pools = ["emodb", "emodb-4class", "emodb.de", "emodb-7class-2s", ""]
    speakers = [
        *(f"{i:02d}" for i in range(100)),
        *map(str, range(100)),
        *(f"EB{i}" for i in range(10)),
        "anna",
        "Ben",
    ]
    guesses = [f"{p}/{s}" if p else s for p, s in product(pools, speakers)]
    guesses += [f"audio/{s}a01Fa.flac" for s in speakers]
    salts = [
        names.commitment,
        names.marks.as_json()["marks"],
        "7ad9f7692a8ef1d5d7074d5e36180984",
        "cluster names",
        "speaker names",
        "",
    ]
    keys = [digest(s, length=32) for s in salts] + [s.encode().hex()[:64] for s in salts]
    found = {digest(s, g) for s in salts for g in guesses}
    for key in keys:
        guessed = CorpusNames(bytes.fromhex(key), names.marks)
        found |= {f(g) for g in guesses for f in (guessed.cluster, guessed.speaker, guessed.clip)}
    assert not found & published
    assert {names.cluster(g) for g in guesses} & published, (
        "the lists hold the people: only the key is missing"
    )


@pytest.mark.parametrize("changed", [1, 3, 12, 200])
def test_the_number_of_clips_that_differ_is_told(changed: int) -> None:
    theirs = sounds(200)
    mine = [*sounds(changed, 1), *theirs[changed:]]
    random.Random(2).shuffle(mine)
    marks = CopyMarks.from_json(CopyMarks.of_audio(theirs).as_json())
    assert marks.differing_audio(mine) == changed
    assert changed <= marks.differing(CopyMarks.of_audio(mine)) <= 1.3 * changed
    assert marks.differing_audio(theirs) == 0
    assert marks.differing_audio(theirs[5:]) == 5
    assert marks.differing_audio([*theirs, "ab" * 16]) == 1


def test_whoever_holds_one_clip_cannot_test_whether_it_is_in_a_corpus() -> None:
    theirs = [*sounds(50), "", "", sounds(1)[0]]
    marks = {m for entry in CopyMarks.of_audio(theirs).entries for m in entry}
    for clip in sounds(50):
        for alone in ([clip], [clip, clip], [clip, ""], [clip, "0" * 32]):
            own = {m for entry in CopyMarks.of_audio(alone).entries for m in entry}
            assert not own & marks
    # Two holders of half the corpus know of their own clips alone, and only of those that follow one another.
    half = {m for entry in CopyMarks.of_audio(theirs[:25]).entries for m in entry}
    assert 0 < len(half & marks) < len(half)


def test_keys_and_marks_are_written_read_and_refused_when_damaged(tmp_path: Path) -> None:
    names = CorpusNames.of_audio(sounds(7))
    names.write(tmp_path / "x.en.json")
    assert CorpusNames.read(tmp_path / "x.en.json") == names
    write_marks(tmp_path / "copies.json", {"x.en": names.marks, "one.en": CopyMarks.of_audio(["ab"])})
    assert read_marks(tmp_path / "copies.json")["x.en"] == names.marks
    assert names.key.hex() not in (tmp_path / "copies.json").read_text()
    for text in (
        '{"schema": 1, "key": "ab"}',
        "[]",
        '{"schema": 9}',
        '{"schema": 1, "copies": {"x": {"clips": 9, "marks": "AA"}}}',
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(DataError, match=r"bad.json: (is not the key|holds no marks)"):
            CorpusNames.read(tmp_path / "bad.json")
        with pytest.raises(DataError, match=r"bad.json: (is not the key|holds no marks)"):
            read_marks(tmp_path / "bad.json")


def test_only_an_open_licence_lets_the_files_own_names_be_published() -> None:
    assert CorpusCard(name="x").clip_names == "keyed"
    assert CorpusCard(name="x", licence="CC0-1.0", access="open", clip_names="open").clip_names == "open"
    for licence, access in (("CC0-1.0", "form"), ("unknown", "open"), ("research only", "open")):
        with pytest.raises(ValueError, match="leave clip_names: keyed"):
            CorpusCard(name="x", licence=licence, access=access, clip_names="open")  # type: ignore[arg-type]


def test_names_do_not_depend_on_the_order_of_clips() -> None:
    some = sounds(30)
    assert CorpusNames.of_audio(some) == CorpusNames.of_audio(
        list(np.random.default_rng(0).permutation(some))
    )
