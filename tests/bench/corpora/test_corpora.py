"""Prepared corpora: read as written, described as they are, drafted a card for, and known again when they change."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from bench.audio.decoding import decode, pcm_hash
from bench.cards.corpus import CorpusCard, Split
from bench.cards.typed_yaml import read_typed
from bench.cli.app import app
from bench.corpora.confounds import between_share
from bench.corpora.decoded import open_table
from bench.corpora.draft_card import draft_card, usual_scale, write_draft
from bench.corpora.metadata import Metadata, read_metadata
from bench.corpora.prepared import PreparedCorpus, open_corpus
from bench.corpora.verification import Verification, verify_corpus
from bench.errors import UsageError
from bench.tasks.corpus_report import CorpusReport, describe_corpus
from tests.conftest import rewrite, write_tone_corpus


def written(folder: Path, rows: list[dict[str, str]], card: str | None = None) -> Path:
    """A folder with these rows as its metadata; clips that are not there yet are 0.5 s of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for i, row in enumerate(rows):
        path = folder / row["file_name"]
        if not path.exists():
            soundfile.write(path, 0.1 * np.random.default_rng(i).standard_normal(8000), 16_000)
    if card is not None:
        (folder / "card.yaml").write_text(card, encoding="utf-8")
    return folder


def read(folder: Path, **card: object) -> Metadata:
    return read_metadata(PreparedCorpus(CorpusCard(name="c", **card), folder))  # type: ignore[arg-type]


def describe(folder: Path, cache: Path) -> CorpusReport:
    return describe_corpus(str(folder), [], cache)


def verify(folder: Path, cache: Path) -> Verification:
    return verify_corpus(open_table(open_corpus(str(folder), []), cache), cache)


def test_every_identifier_is_text_and_scoped(tmp_path: Path) -> None:
    rows = [
        {"file_name": "1.wav", "speaker": "03", "emotion": "Anger", "session": "1", "dialogue": "7"},
        {"file_name": "2.wav", "speaker": "3", "emotion": " joy ", "session": "1", "dialogue": ""},
    ]
    split = Split(session_scope="speaker", dialogue_scope="session")
    metadata = read(written(tmp_path, rows), pool="p", split=split)
    assert metadata.clip_ids == ("1.wav", "2.wav")
    assert metadata.speakers == ("p/03", "p/3")
    assert metadata.sessions == ("p/03/1", "p/3/1")
    assert metadata.dialogues == ("p/03/1/7", "")
    assert metadata.emotions == ("angry", "happy")


def test_dimensions_are_mapped_to_0_1_and_blank_is_unknown(tmp_path: Path) -> None:
    rows = [
        {"file_name": "1.wav", "valence": "1", "arousal": "5", "dominance": ""},
        {"file_name": "2.wav", "valence": "4", "arousal": "", "dominance": "2"},
    ]
    values = read(written(tmp_path, rows), scale=(1.0, 5.0)).dimensions
    np.testing.assert_array_equal(values, [[0, 1, np.nan], [0.75, np.nan, 0.25]])


def test_votes_languages_and_columns_under_other_names(tmp_path: Path) -> None:
    rows = [
        {
            "file_name": "1.wav",
            "emotion": "x9",
            "soft_votes": '{"happy": 3, "sad": 1}',
            "lang": "ta",
            "sentence": "5",
        },
        {"file_name": "2.wav", "emotion": "", "soft_votes": "", "lang": "", "sentence": ""},
    ]
    card = {
        "labels": {"x9": "bored"},
        "columns": {"language": "lang", "script": "sentence"},
        "languages": ("ta",),
    }
    metadata = read(written(tmp_path, rows), **card)
    assert metadata.votes == ({"happy": 3, "sad": 1}, None)
    assert (metadata.languages, metadata.scripts, metadata.emotions) == (
        ("ta", "ta"),
        ("5", ""),
        ("bored", None),
    )


def test_a_byte_order_mark_and_padded_headers_are_no_obstacle(tmp_path: Path) -> None:
    text = "\ufefffile_name , speaker,emotion\na.wav,1,happy\n"
    (tmp_path / "metadata.csv").write_text(text, encoding="utf-8")
    assert read(tmp_path).speakers == ("c/1",)


def test_a_description_counts_what_is_there(cache: Path, tmp_path: Path) -> None:
    folder = write_tone_corpus(tmp_path / "tones", dimensions=True, languages=("ms", "ta"))
    with (folder / "metadata.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    report = describe(folder, cache)
    assert (report.clips, report.speakers, report.clips_per_speaker) == (36, 6, (6, 6))
    assert report.minutes == pytest.approx(36 * 0.4 / 60, abs=1e-3)
    assert report.languages == Counter(r["language"] for r in rows)
    assert {x.raw: x.clips for x in report.labels} == Counter(r["emotion"] for r in rows)
    assert all(x.speakers == 6 for x in report.labels)
    valence = report.dimensions[0]
    assert (valence.dimension, valence.raw_low, valence.raw_high, valence.scale) == ("valence", 1, 3, (1, 5))
    assert (valence.low, valence.mean, valence.high) == (0, 0.25, 0.5)
    assert [(s.suffix, s.rate, s.channels, s.clips) for s in report.sources] == [(".wav", 16_000, 1, 36)]
    assert [(t.name, t.clips, t.speakers, t.folds) for t in report.tasks] == [
        ("tones.ms", 18, 3, 3),
        ("tones.ta", 18, 3, 3),
    ]
    assert not report.undecodable
    assert not report.duplicates
    assert report.card == "own"
    json.dumps(report.as_json())


def test_a_description_finds_what_a_user_should_know(cache: Path, tone_corpus: Path) -> None:
    long = 0.1 * np.random.default_rng(0).standard_normal(16_000)
    for i, path in enumerate(sorted(tone_corpus.glob("audio/*-sad-*.wav"))):
        soundfile.write(path, long * (1 + i / 100), 16_000)
    clips = {k: tone_corpus / "audio" / f"s{k}-happy-0.wav" for k in range(4)}
    clips[0].write_bytes(b"not audio")
    clips[1].unlink()
    clips[2].write_bytes(clips[3].read_bytes())
    soundfile.write(tone_corpus / "audio" / "extra.wav", long, 16_000)
    card = "name: tones\nlanguages: [ms]\nclips: 40\nspeakers: 6\nlabels: {fear: fearful, angry: null}\n"
    (tone_corpus / "card.yaml").write_text(card)
    report = describe(tone_corpus, cache)
    assert {u.clip_id for u in report.undecodable} == {"audio/s0-happy-0.wav", "audio/s1-happy-0.wav"}
    assert report.duplicates == (("audio/s2-happy-0.wav", "audio/s3-happy-0.wav"),)
    assert report.unlisted == ("audio/extra.wav",)
    medians = {x.label: x.median for x in report.lengths}
    assert (medians["sad"], medians["happy"]) == (1.0, 0.4)
    assert report.length_label_share == 1.0
    message = "\n".join(report.warnings)
    for part in (
        "promises 40 clips, the folder lists 36", "labels that no clip carries: fear", "angry (12)",
        "2 clip(s) cannot be decoded", "1 of them under several speakers", "not listed in metadata.csv",
        "clip length tells part of the label: 100%", "only 6 speakers",
    ):  # fmt: skip
        assert part in message


def test_the_length_share_is_the_correlation_ratio() -> None:
    rng = np.random.default_rng(0)
    labels = [str(x) for x in rng.choice(["happy", "sad", "angry"], 300)]
    values = np.exp(rng.normal([{"happy": 0, "sad": 0.5, "angry": 0.1}[x] for x in labels], 1))
    logs = np.log(values)
    groups = [logs[np.array(labels) == x] for x in set(labels)]
    within = sum(g.var() * len(g) for g in groups)
    assert between_share(values.tolist(), labels) == pytest.approx(1 - within / (logs.var() * 300), abs=1e-4)
    assert between_share([1.0, 1.0], ["happy", "sad"]) is None
    assert between_share([1.0, 2.0], ["happy", None]) is None


def test_a_folder_without_a_card_is_described_and_drafted_one_that_runs(cache: Path, tmp_path: Path) -> None:
    raw = ["Freude", "TRAUER", "03", "no", "Happiness"]
    rows = [
        {"file_name": f"{i}.wav", "speaker": f"s{i % 4}", "emotion": raw[i % 5], "language": ["de", "en-SG"][i % 2],
         "valence": str(1 + i % 4), "arousal": "2.5", "dominance": ""}
        for i in range(20)
    ]  # fmt: skip
    folder = written(tmp_path / "My Corpus", rows)
    report = describe(folder, cache)
    assert (report.name, report.card, report.unlabelled) == ("my-corpus", "drafted", 8)
    draft = draft_card(folder)
    assert draft.unknown == ("03", "no")
    path = write_draft(folder, draft)
    card = read_typed(path, CorpusCard)
    expected = {"Freude": "happy", "TRAUER": "sad", "03": None, "no": None, "Happiness": "happy"}
    assert card.labels == expected
    assert card.languages == ("de", "en-SG")
    assert card.scale == (1, 5)
    assert "valence 1 to 4" in path.read_text(encoding="utf-8")
    assert describe(folder, cache).card == "own"
    with pytest.raises(UsageError, match="has a card already, and none is overwritten"):
        write_draft(folder, draft)


def test_a_draft_never_hides_the_card_of_a_known_corpus(tmp_path: Path) -> None:
    folder = written(tmp_path / "indowave", [{"file_name": "a.wav", "emotion": "happy"}])
    with pytest.raises(UsageError, match="ships a card for a corpus called 'indowave'"):
        write_draft(folder, draft_card(folder))


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [(0, 1, (0, 1)), (-0.5, 1, (-1, 1)), (1, 5, (1, 5)), (1, 5.1, (1, 7)), (2, 8, (1, 9)), (-3, 3, (-3, 3)), (12, 12, (12, 13))],
)  # fmt: skip
def test_a_scale_is_guessed_among_the_usual_ones(low: float, high: float, scale: tuple[float, float]) -> None:
    assert usual_scale(low, high) == scale


def test_verifying_knows_a_sound_again_and_names_what_changed(cache: Path, tone_corpus: Path) -> None:
    first = verify(tone_corpus, cache)
    assert first.sound
    assert first.first_time
    again = verify(tone_corpus, cache)
    assert (again.sound, again.first_time, again.compared) == (True, False, 36)
    audio = tone_corpus / "audio"
    changed, missing, broken, retagged = (audio / f"s{i}-sad-0.wav" for i in range(4))
    samples, _ = soundfile.read(changed)
    soundfile.write(changed, 0.5 * samples, 16_000)
    missing.unlink()
    broken.write_bytes(broken.read_bytes()[:20])
    samples, _ = soundfile.read(retagged, dtype="int16")
    retagged.unlink()
    soundfile.write(retagged, samples, 16_000, format="FLAC")  # the same sound, packed otherwise
    found = verify(tone_corpus, cache)
    assert not found.sound
    assert found.changed == ("audio/s0-sad-0.wav",)
    assert found.missing == ("audio/s1-sad-0.wav",)
    assert [u.clip_id for u in found.unreadable] == ["audio/s2-sad-0.wav"]
    assert verify(tone_corpus, cache) == found  # a fault stays one until it is mended
    Path(found.manifest).unlink()
    assert verify(tone_corpus, cache).changed == ()


def test_verifying_tells_dropped_new_and_unlisted_clips(cache: Path, tone_corpus: Path) -> None:
    verify(tone_corpus, cache)
    path = tone_corpus / "metadata.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    soundfile.write(tone_corpus / "audio" / "new.wav", np.full(8000, 0.1), 16_000)
    path.write_text("\n".join([*lines, "audio/new.wav,05,sad,ms"]) + "\n", encoding="utf-8")
    grown = verify(tone_corpus, cache)
    assert grown.sound
    assert grown.new == ("audio/new.wav",)
    assert verify(tone_corpus, cache).new == ()
    path.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    shrunk = verify(tone_corpus, cache)
    assert not shrunk.sound
    assert shrunk.dropped == ("audio/new.wav", lines[-1].split(",")[0])
    assert shrunk.unlisted == tuple(sorted(shrunk.dropped))


def test_a_change_that_keeps_size_and_time_is_seen_by_its_sound(cache: Path, tone_corpus: Path) -> None:
    describe(tone_corpus, cache)
    clip = tone_corpus / "audio" / "s0-sad-0.wav"
    before = clip.stat()
    samples, _ = soundfile.read(clip, dtype="int16")
    soundfile.write(clip, samples[::-1].copy(), 16_000)
    os.utime(clip, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert clip.stat().st_size == before.st_size
    assert verify(tone_corpus, cache).changed == ("audio/s0-sad-0.wav",)


def test_a_source_at_16_khz_mono_16_bit_passes_unchanged_and_others_are_brought_there(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = rng.integers(-30_000, 30_000, 1600).astype(np.int16)
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, samples, 16_000)
        assert pcm_hash(decode(tmp_path / name)) == pcm_hash(samples)
    time = np.arange(44_100) / 44_100
    left = 0.5 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, 0 * left], axis=1), 44_100, subtype="FLOAT")
    pcm = decode(tmp_path / "stereo.wav")
    assert len(pcm) == 16_000
    expected = 0.25 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000) * 32_768
    assert np.abs(pcm[800:-800] - expected[800:-800]).max() < 3


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "clips", "speakers"),
    [("emodb", 535, 10), ("crema-d-perceived", 1463, 91), ("indowave", 300, 10), ("nemo-subset", 477, 9)],
)
def test_the_shared_corpora_are_what_their_source_pages_say(
    real_data: list[Path],
    real_corpus: Callable[[str], Path],
    tmp_path: Path,
    name: str,
    clips: int,
    speakers: int,
) -> None:
    report = describe_corpus(name, real_data, tmp_path / "cache")
    assert (report.clips, report.speakers) == (clips, speakers)
    assert not report.undecodable
    assert not any("promises" in w for w in report.warnings)
    assert [t.folds for t in report.tasks] == [5]
    source = (real_corpus(name) / "SOURCE.md").read_text(encoding="utf-8")
    if name == "crema-d-perceived":
        assert "happy 282, sad 280, neutral 273, angry 248, fearful 232, disgusted 148" in source
        assert {x.raw: x.clips for x in report.labels} == {
            "happy": 282, "sad": 280, "neutral": 273, "angry": 248, "fearful": 232, "disgusted": 148,
        }  # fmt: skip
    if name == "indowave":
        assert any("clip length tells part of the label" in w for w in report.warnings)


def test_what_the_table_lacks_is_told_from_what_it_leaves_blank(tone_corpus: Path, cache: Path) -> None:
    rewrite(tone_corpus, gender="unknown", soft_votes="", transcript="None")
    report = describe(tone_corpus, cache)
    assert report.not_known == ("gender", "soft_votes")
    assert {"valence", "ratings", "session", "script"} <= set(report.not_carried)
    assert not {"gender", "soft_votes", "speaker", "emotion", "transcript"} & set(report.not_carried)
    said = " ".join(CliRunner().invoke(app, ["corpus", "describe", str(tone_corpus)]).output.split())
    assert "genders (clips) not known" in said
    assert "not known gender, soft_votes: columns that tell nothing of any clip" in said
    assert "ratings: no such columns here, whatever the owner knows" in said
