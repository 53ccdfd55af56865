"""The generated corpus: its truth is in the sound, it is the same everywhere, and it never harms a folder."""

from __future__ import annotations

import csv
import functools
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from numpy.typing import NDArray

import bench.corpora.synthetic as synthetic
from bench.cards.labels import label_table
from bench.corpora.synthetic import EMOTIONS, Voice, synthetic_clip, write_synthetic_corpus, write_tiny_corpus
from bench.errors import DataError, UsageError
from bench.execution.driver import run_matrix
from bench.execution.in_process import load_task
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from bench.scoring.records import read_records

CARD = Path(__file__).parents[3] / "tasks" / "corpora" / "synthetic.yaml"
one_syllable = functools.partial(synthetic_clip, syllables=["sa"], seconds=(0.6, 0.6), difficulty=0.0)
"""A clip in which nothing moves but what the test moves."""


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def sound_hash(folder: Path) -> str:
    """Hash the table and the decoded samples, in the table's order."""
    h = hashlib.sha256((folder / "metadata.csv").read_bytes())
    for row in rows_of(folder):
        h.update(soundfile.read(folder / row["file_name"], dtype="int16")[0].tobytes())
    return h.hexdigest()


def spectrum(waveform: NDArray[np.float32]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    windowed = waveform.astype(np.float64) * np.hanning(waveform.size)
    return np.fft.rfftfreq(waveform.size, 1 / 16000), np.abs(np.fft.rfft(windowed)) ** 2


def pitch(waveform: NDArray[np.float32]) -> float:
    """Hertz of the highest peak of the autocorrelation between 70 and 400 Hz."""
    power = np.abs(np.fft.rfft(waveform.astype(np.float64), 2 * waveform.size)) ** 2
    correlation = np.fft.irfft(power)[: waveform.size]
    lags = np.arange(16000 // 400, 16000 // 70)
    return 16000 / float(lags[np.argmax(correlation[lags])])


def brightness(waveform: NDArray[np.float32]) -> float:
    """Decibels between the band around F1 of the vowel a (600–1100 Hz) and the first harmonics (100–400 Hz)."""
    frequencies, power = spectrum(waveform)
    high = power[(frequencies > 600) & (frequencies < 1100)].sum()
    return float(10 * np.log10(high / power[(frequencies > 100) & (frequencies < 400)].sum()))


def opening(waveform: NDArray[np.float32]) -> float:
    """How much brighter the late half of a one-syllable clip is than the early half (after the consonant), decibels."""
    late, early = waveform[5600:8000], waveform[2900:4800]
    return brightness(late) - brightness(early)


def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    write_tiny_corpus(tmp_path / "here", seed=3)
    write_tiny_corpus(tmp_path / "other seed", seed=4)
    code = "import sys, pathlib, bench.corpora.synthetic as s; s.write_tiny_corpus(pathlib.Path(sys.argv[1]), seed=3)"
    there = tmp_path / "there"
    environment = os.environ | {"PYTHONHASHSEED": "17", "PYTHONPATH": str(CARD.parents[2])}
    # As on an older processor: numpy's and OpenBLAS's code for machines of before 2013.
    environment |= {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4", "OPENBLAS_CORETYPE": "Nehalem"}
    subprocess.run([sys.executable, "-c", code, str(there)], check=True, env=environment)
    assert sound_hash(tmp_path / "here") == sound_hash(there)
    assert sound_hash(tmp_path / "here") != sound_hash(tmp_path / "other seed")


@pytest.fixture(scope="module")
def default_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "synthetic"
    write_synthetic_corpus(folder)
    return folder


def test_the_default_corpus_is_what_its_card_says(default_corpus: Path) -> None:
    rows = rows_of(default_corpus)
    card = yaml.safe_load(CARD.read_text(encoding="utf-8"))
    assert len(rows) == card["clips"]
    assert len({r["speaker"] for r in rows}) == card["speakers"]
    assert sorted({r["language"] for r in rows}) == card["languages"]
    assert {card["labels"][r["emotion"]] for r in rows} == set(label_table().views["seven"])
    languages_of = {r["speaker"]: {x["language"] for x in rows if x["speaker"] == r["speaker"]} for r in rows}
    assert all(len(languages) == 1 for languages in languages_of.values())
    for dimension, (low, high) in card["scale"].items():
        ratings = np.array([float(r[dimension]) for r in rows])
        assert low <= ratings.min() < low + 1.5, dimension
        assert high - 1.5 < ratings.max() <= high, dimension
    for row in rows:
        votes = json.loads(row["soft_votes"])
        assert sum(votes.values()) == 10
        assert max(votes, key=votes.get) == row["emotion"]
        assert row["emotion"] not in row["file_name"]
        info = soundfile.info(default_corpus / row["file_name"])
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert 0.9 <= info.duration <= 1.5
        assert info.duration == pytest.approx(float(row["duration_s"]), abs=1e-4)


@pytest.mark.slow
def test_functionals_hear_part_of_the_truth(default_corpus: Path) -> None:
    """Ridge on eGeMAPS, speakers left out: more than a trace of arousal, never CCC 0.6 in any dimension."""
    import opensmile
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = rows_of(default_corpus)
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    waveforms = (soundfile.read(default_corpus / r["file_name"], dtype="float32")[0] for r in rows)
    features = np.stack([smile.process_signal(w, 16000).to_numpy()[0] for w in waveforms])
    truth = np.array([[float(r[d]) for d in ("valence", "arousal", "dominance")] for r in rows])
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 16)))
    speakers = [r["speaker"] for r in rows]
    predicted = cross_val_predict(ridge, features, truth, groups=speakers, cv=GroupKFold(5))
    shared = ((truth - truth.mean(0)) * (predicted - predicted.mean(0))).mean(0)
    ccc = 2 * shared / (truth.var(0) + predicted.var(0) + (truth.mean(0) - predicted.mean(0)) ** 2)
    assert ccc.max() < 0.6
    assert ccc[1] > 0.25


def test_each_clip_has_its_own_dimensions_around_the_emotions_centre(tmp_path: Path) -> None:
    write_synthetic_corpus(
        tmp_path / "c",
        languages=("qaa",),
        emotions=("sad", "angry"),
        clips_per_emotion=10,
        seconds=(0.2, 0.2),
    )
    for emotion in ("sad", "angry"):
        arousal = np.array(
            [(float(r["arousal"]) - 1) / 6 for r in rows_of(tmp_path / "c") if r["emotion"] == emotion]
        )
        assert arousal.mean() == pytest.approx(EMOTIONS[emotion].centre[1], abs=0.05)
        assert arousal.std() == pytest.approx(0.13, abs=0.04)


def test_sentences_are_shared_by_speakers_and_emotions(tmp_path: Path) -> None:
    write_synthetic_corpus(
        tmp_path / "c", languages=("qab",), clips_per_emotion=6, speakers_per_language=2, seconds=(0.3, 0.3)
    )
    rows = rows_of(tmp_path / "c")
    sentences = {(r["script"], r["transcript"]) for r in rows}
    assert len(sentences) == len({r["script"] for r in rows}) == 6
    for emotion in EMOTIONS:
        assert {r["script"] for r in rows if r["emotion"] == emotion} == {r["script"] for r in rows}


def test_the_hugging_face_loader_opens_the_folder(tmp_path: Path) -> None:
    """With the paths left as text: making an Audio column needs torchcodec, which this suite does without."""
    import datasets

    write_tiny_corpus(tmp_path / "tiny")
    rows = rows_of(tmp_path / "tiny")
    loaded = datasets.load_dataset(
        "audiofolder",
        data_dir=str(tmp_path / "tiny"),
        split="train",
        features=datasets.Features(dict.fromkeys(rows[0], datasets.Value("string"))),
        cache_dir=str(tmp_path / "cache"),
    )
    assert {x["file_name"]: x["emotion"] for x in loaded} == {r["file_name"]: r["emotion"] for r in rows}
    found = {Path(str(f)).name for f in datasets.load_dataset_builder(
        "audiofolder", data_dir=str(tmp_path / "tiny"), cache_dir=str(tmp_path / "cache")
    ).config.data_files["train"]}  # fmt: skip
    assert {Path(r["file_name"]).name for r in rows} | {"metadata.csv"} <= found


def test_pitch_follows_voice_and_arousal() -> None:
    """Without nuisance a pitch tracker reads the truth: 1.5 semitones from the middle to the top of arousal."""
    still = functools.partial(one_syllable, valence=0.5, dominance=0.5)
    for f0 in (110.0, 200.0):
        middle = np.median([pitch(still(arousal=0.5, voice=Voice(f0), seed=i)) for i in range(9)])
        high = np.median([pitch(still(arousal=1.0, voice=Voice(f0), seed=i)) for i in range(9)])
        assert middle == pytest.approx(f0, rel=0.03)
        assert 12 * np.log2(high / middle) == pytest.approx(1.5, abs=0.6)


def test_arousal_quickens_the_tempo() -> None:
    words = ["sa", "to", "ki", "se"]
    low, high = (synthetic_clip(arousal=a, syllables=words, difficulty=0.0).size for a in (0.1, 0.9))
    assert high < 0.9 * low


def test_a_syllable_opens_or_closes_with_arousal() -> None:
    """The dynamic cue: its sign is arousal's, at equal means."""

    def mean_opening(arousal: float) -> float:
        clips = (one_syllable(valence=0.5, dominance=0.5, arousal=arousal, seed=i) for i in range(6))
        return float(np.mean([opening(c) for c in clips]))

    low, middle, high = (mean_opening(a) for a in (0.1, 0.5, 0.9))
    assert high - middle > 3
    assert middle - low > 3


def test_a_speakers_gain_changes_the_level_and_nothing_else() -> None:
    quiet, loud = (one_syllable("sad", voice=Voice(gain_db=g)).astype(np.float64) for g in (0.0, 6.0))
    assert 10 * np.log10(np.mean(loud**2) / np.mean(quiet**2)) == pytest.approx(6, abs=0.1)
    assert np.corrcoef(quiet, loud)[0, 1] > 0.999


def test_difficulty_scatters_the_static_cues() -> None:
    def spread(difficulty: float) -> float:
        clips = (one_syllable("neutral", seed=i, difficulty=difficulty) for i in range(12))
        return float(np.std([np.log2(pitch(c)) for c in clips]))

    assert spread(1.0) > 2 * spread(0.0)


def test_waveforms_are_exact_16_bit_steps_within_range() -> None:
    clip = synthetic_clip("surprised", voice=Voice(gain_db=40.0))
    assert clip.dtype == np.float32
    assert np.abs(clip).max() <= 1
    assert np.array_equal(clip * 32768, np.round(clip * 32768))


def test_a_finished_corpus_is_left_alone_and_a_torn_one_rebuilt(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    write_tiny_corpus(folder)
    before, written = sound_hash(folder), (folder / "metadata.csv").stat().st_mtime_ns
    write_tiny_corpus(folder)
    assert (folder / "metadata.csv").stat().st_mtime_ns == written

    next((folder / "audio").iterdir()).unlink()
    write_tiny_corpus(folder)
    assert sound_hash(folder) == before
    (folder / "recipe.json").unlink()
    write_tiny_corpus(folder)
    assert sound_hash(folder) == before
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]


def test_a_run_that_dies_midway_leaves_no_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def dying(*args: object, **options: object) -> NDArray[np.float32]:
        made.append(1)
        if len(made) == 5:
            raise KeyboardInterrupt
        return np.zeros(8000, np.float32)

    monkeypatch.setattr(synthetic, "synthetic_clip", dying)
    with pytest.raises(KeyboardInterrupt):
        write_tiny_corpus(tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_someone_elses_recordings_is_refused_and_kept(tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "interview.wav"
    mine.parent.mkdir()
    mine.write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"interview\.wav"):
        write_tiny_corpus(mine.parent)
    assert mine.read_bytes() == b"RIFF"


def test_another_recipe_never_replaces_a_corpus(tmp_path: Path) -> None:
    write_tiny_corpus(tmp_path / "tiny", seed=0)
    before = sound_hash(tmp_path / "tiny")
    with pytest.raises(DataError, match=r"seed 0 \(asked for 1\)"):
        write_tiny_corpus(tmp_path / "tiny", seed=1)
    assert sound_hash(tmp_path / "tiny") == before


def test_wrong_requests_name_what_exists(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'angry'"):
        synthetic_clip("angy")
    with pytest.raises(UsageError, match="qaa, qab"):
        write_synthetic_corpus(tmp_path / "c", languages=("xx",))
    with pytest.raises(UsageError, match="at least one speaker"):
        write_synthetic_corpus(tmp_path / "c", speakers_per_language=0)
    with pytest.raises(UsageError, match="no syllable"):
        synthetic_clip(syllables=["zz"])
    assert list(tmp_path.iterdir()) == []


def test_a_generated_corpus_of_ones_own_is_not_passed_over_for_the_built_in_one(
    tmp_path: Path, cache: Path
) -> None:
    write_synthetic_corpus(tmp_path / "data" / "synthetic", speakers_per_language=5, clips_per_emotion=1)
    assert len(set(load_task("synthetic.qaa", data=[tmp_path / "data"]).speakers)) == 5
    assert len(set(load_task("synthetic.qaa").speakers)) == 8
    matrix = tmp_path / "both.yaml"
    matrix.write_text(
        "name: both\nsynthetic: always\nentries: [{systems: majority, tasks: 'synthetic.qaa'}]\n"
    )
    run_matrix(RunSettings(str(matrix), (tmp_path / "data",), tmp_path / "run", workers=1), Reporter())
    (record,) = read_records(tmp_path / "run" / "records")
    assert record.facts.speakers == 5
