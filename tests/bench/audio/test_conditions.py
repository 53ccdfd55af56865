"""Conditions: their grammar, what they do to samples, and that they do the same every time."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from bench.audio.conditioned import condition_facts, plan_condition
from bench.audio.conditions import EXAMPLES, parse_condition
from bench.audio.decoding import pcm_hash
from bench.audio.degradation import active_power, degrade, room_response
from bench.audio.store import DecodedClip
from bench.errors import CannotRun, DataError
from bench.execution.in_process import load_task
from bench.execution.planning.matrix import Entry, Matrix
from bench.storage.hashing import hash_json
from bench.tasks import Task
from tests.conftest import write_tone_corpus

SECOND = 16_000


def speech(seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    """Bursts of a harmonic sound with pauses between them, int16."""
    time = np.arange(int(seconds * SECOND)) / SECOND
    voice = sum(np.sin(2 * np.pi * 160 * k * time) / k for k in range(1, 12))
    bursts = (np.sin(2 * np.pi * 1.5 * time + seed) > 0).astype(float)
    sound = 0.1 * voice * bursts + 1e-4 * np.random.default_rng(seed).standard_normal(time.size)
    return np.clip(np.rint(sound * 32768), -32768, 32767).astype(np.int16)


def changed(name: str, pcm: np.ndarray) -> np.ndarray:
    return degrade(parse_condition(name), pcm, pcm_hash(pcm))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nose-20db", "did you mean 'noise-20db'"),
        ("noise-20", "expected noise-NUMBERdb"),
        ("noise", "expected noise-NUMBERdb"),
        ("noise-90db", "-20 to 60"),
        ("noise-20.0db", "write 'noise-20db'"),
        ("reverb-0.5s", "write 'reverb'"),
        ("telephone-8k", "takes no number"),
        ("mp3-33k", "MP3 has 8, 16"),
        ("speed-3", "0.5 to 2"),
        ("pad-30", "expected pad-NUMBERs"),
    ],
)
def test_a_mistyped_condition_is_answered_with_the_right_one(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        parse_condition(text)


def test_every_example_parses_to_its_own_name() -> None:
    assert [parse_condition(e).name for e in EXAMPLES] == list(EXAMPLES)
    assert parse_condition("noise--5db").amount == -5


def test_a_matrix_refuses_a_condition_twice_and_a_training_without_transfer() -> None:
    with pytest.raises(ValidationError, match="must differ"):
        Matrix(name="m", entries=(Entry(systems=("majority",)),), conditions=("clean", "clean"))
    with pytest.raises(ValidationError, match="did you mean 'telephone'"):
        Entry(systems=("majority",), conditions=("telefone",))
    with pytest.raises(ValidationError, match="needs training"):
        Entry(systems=("majority",), protocol="transfer")
    with pytest.raises(ValidationError, match="belongs to protocol: transfer"):
        Entry(systems=("majority",), training=("other-pools",))
    with pytest.raises(ValidationError, match="nothing is trained"):
        Entry(systems=("majority",), protocol="zero-shot", train_condition="noise-10db")


@pytest.mark.parametrize("kind", ["noise", "white"])
@pytest.mark.parametrize("snr", [20, 10, 0, -5])
def test_noise_has_the_ratio_it_is_named_after(kind: str, snr: int) -> None:
    pcm = speech()
    noisy = changed(f"{kind}-{snr}db", pcm).astype(float)
    clean = pcm.astype(float)
    # A sum above full scale is turned down as a whole: find by how much before the speech is taken out again.
    gain = float(noisy @ clean / (clean @ clean))
    noise = noisy - gain * clean
    active = clean[np.repeat(frames_power(clean) > frames_power(clean).max() / 1000, 320)]
    measured = 10 * np.log10(gain**2 * np.mean(active**2) / np.mean(noise**2))
    assert measured == pytest.approx(snr, abs=0.5)


def frames_power(signal: np.ndarray) -> np.ndarray:
    return np.mean(signal.reshape(-1, 320) ** 2, axis=1)


def test_level_is_measured_where_somebody_speaks() -> None:
    sound = speech().astype(float)
    padded = np.concatenate([sound, np.zeros(5 * SECOND)])
    assert active_power(padded) == pytest.approx(active_power(sound), rel=1e-9)


def test_pink_noise_falls_by_three_decibels_an_octave() -> None:
    pcm = speech(8.0)
    noise = changed("noise--20db", pcm).astype(float)
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    hertz = np.fft.rfftfreq(len(noise), 1 / SECOND)

    def band(low: float) -> float:
        return float(spectrum[(hertz >= low) & (hertz < 2 * low)].mean())

    assert 10 * np.log10(band(500) / band(1000)) == pytest.approx(3.0, abs=0.7)
    assert 10 * np.log10(band(1000) / band(2000)) == pytest.approx(3.0, abs=0.7)


@pytest.mark.parametrize("name", [e for e in EXAMPLES if not e.startswith(("clean", "babble", "recorded"))])
def test_a_condition_gives_the_same_samples_again_and_others_than_before(name: str) -> None:
    pcm = speech(2.5)
    first = changed(name, pcm)
    assert first.dtype == np.int16
    assert pcm_hash(changed(name, pcm)) == pcm_hash(first) != pcm_hash(pcm)


def test_another_clip_gets_another_noise() -> None:
    a, b = speech(seed=1), speech(seed=2)
    noise_a = changed("white-0db", a).astype(float) - a
    noise_b = changed("white-0db", b).astype(float) - b
    assert abs(np.corrcoef(noise_a, noise_b)[0, 1]) < 0.1


def test_lengths_and_speeds_are_what_they_say() -> None:
    pcm = speech(2.5)
    assert np.array_equal(changed("cut-2s", pcm), pcm[4000:36_000])
    assert np.array_equal(changed("cut-10s", pcm), pcm)
    padded = changed("pad-30s", pcm)
    assert len(padded) == 30 * SECOND
    assert np.array_equal(padded[: len(pcm)], pcm)
    assert not padded[len(pcm) :].any()
    tiled = changed("tile-30s", pcm)
    assert len(tiled) == 30 * SECOND
    assert np.array_equal(tiled[len(pcm) : 2 * len(pcm)], pcm)
    assert len(changed("speed-1.25", pcm)) == pytest.approx(2.0 * SECOND, abs=2)
    slow = np.abs(np.fft.rfft(changed("speed-0.5", pcm)))
    assert np.fft.rfftfreq(5 * SECOND, 1 / SECOND)[slow.argmax()] == pytest.approx(
        80, abs=2
    )  # an octave down


def test_codecs_change_the_sound_but_neither_its_length_nor_its_timing() -> None:
    pcm = speech(2.0)
    for name in ("opus-16k", "mp3-32k"):
        coded = changed(name, pcm).astype(float)
        assert len(coded) == len(pcm)
        correlation = [
            float(np.corrcoef(np.roll(coded, s)[2000:-2000], pcm[2000:-2000])[0, 1]) for s in range(-40, 41)
        ]
        assert int(np.argmax(correlation)) - 40 == 0
        assert 0.9 < max(correlation) < 1.0


def test_a_telephone_passes_the_voice_band_only() -> None:
    rng = np.random.default_rng(0)
    pcm = np.rint(2000 * rng.standard_normal(4 * SECOND)).astype(np.int16)
    spectrum = np.abs(np.fft.rfft(changed("telephone", pcm).astype(float))) ** 2
    hertz = np.fft.rfftfreq(len(pcm), 1 / SECOND)
    inside = spectrum[(hertz > 500) & (hertz < 3000)].mean()
    assert spectrum[hertz < 100].mean() < inside / 100
    assert spectrum[hertz > 4200].mean() < inside / 1000


def test_a_room_rings_for_about_as_long_as_it_is_named_after() -> None:
    for number in range(2):
        response = room_response(0.3, number)
        energy = np.cumsum(response[::-1] ** 2)[::-1]
        decay = 10 * np.log10(energy / energy[0] + 1e-12)
        start, end = (int(np.argmax(decay < level)) for level in (-5, -25))
        assert 3 * (end - start) / SECOND == pytest.approx(0.3, abs=0.12)


def test_a_silent_or_empty_clip_stays_as_it_is() -> None:
    silence = np.zeros(SECOND, np.int16)
    assert np.array_equal(changed("noise-0db", silence), silence)
    assert len(changed("opus-16k", silence[:0])) == 0


@pytest.fixture
def task(tmp_path: Path, cache: Path) -> Task:
    return load_task("tones.ms", data=[write_tone_corpus(tmp_path / "tones")])


def test_babble_is_made_of_other_speakers(task: Task, tmp_path: Path) -> None:
    shard = plan_condition("babble-0db", task.decoded, task.speakers, tmp_path)[0]
    assert {s for s, _ in shard.voices} == set(task.speakers)
    clip = task.decoded[0]
    others = [v for s, v in shard.voices if s != task.speakers[0]]
    condition = parse_condition("babble-0db")
    mixed = degrade(condition, clip.read_pcm(), clip.pcm_hash, others)
    assert pcm_hash(mixed) != clip.pcm_hash
    with pytest.raises(DataError, match="another speaker"):
        degrade(condition, clip.read_pcm(), clip.pcm_hash, [])


def test_recorded_noise_comes_from_the_users_folder_and_its_content_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SERBENCH_NOISE", raising=False)
    with pytest.raises(CannotRun, match="SERBENCH_NOISE"):
        condition_facts("recorded-10db", "")
    identities = []
    for seed in (1, 2):
        folder = tmp_path / f"noise{seed}"
        folder.mkdir()
        noise = 0.1 * np.random.default_rng(seed).standard_normal(SECOND)
        soundfile.write(folder / "street.wav", noise, SECOND)
        monkeypatch.setenv("SERBENCH_NOISE", str(folder))
        identities.append(hash_json(condition_facts("recorded-10db", "")))
        assert pcm_hash(changed("recorded-10db", speech())) == pcm_hash(changed("recorded-10db", speech()))
    assert identities[0] != identities[1]


def test_shards_are_found_by_what_clips_sound_like(task: Task, tmp_path: Path) -> None:
    def paths(name: str, clips: tuple[DecodedClip, ...]) -> list[Path]:
        return [s.target.samples_path for s in plan_condition(name, clips, task.speakers, tmp_path)]

    assert paths("noise-10db", task.decoded) == paths("noise-10db", task.decoded)
    assert paths("noise-10db", task.decoded) != paths("noise-20db", task.decoded)
