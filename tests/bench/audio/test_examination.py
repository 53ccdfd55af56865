"""What a clip's samples say about it; files that are no audio; containers that claim what nobody recorded."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.audio.decoding import decode, pcm_hash, read_recording, to_pcm
from bench.audio.examination import Examination, Examiner, odd_lengths
from bench.audio.store import decode_shard, plan_shards, read_shard
from bench.corpora.soundness import ClipSound, examine
from bench.errors import DamagedStore, DataError

Samples = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
RNG = np.random.default_rng(7)


def voice(seconds: float = 1.0, rate: int = 16_000, level: float = 0.2) -> Samples:
    return level * np.clip(RNG.standard_normal(round(seconds * rate)), -3, 3) / 3


def examined(samples: Samples, rate: int = 16_000) -> Examination:
    block = samples if samples.ndim == 2 else samples[:, None]
    examiner = Examiner()
    for part in np.array_split(block, 3):
        examiner.add(part, part.mean(axis=1), rate)
    return examiner.result


@pytest.mark.parametrize(
    ("make", "kinds", "said"),
    [
        (lambda x: x, [], ""),
        (lambda x: np.stack([x, x], 1), [], ""),
        (lambda x: np.stack([voice(), voice()], 1), [], ""),
        (lambda x: x * 32768, ["clipped"], "divide by 32768"),
        (lambda x: np.clip(20 * x, -1, 1), ["clipped"], "at full scale on"),
        (lambda x: np.stack([x, -x], 1), ["channels cancel"], "its 2 channels cancel"),
        (lambda x: np.stack([x, -0.9 * x], 1), ["channels cancel"], "cancel"),
        (lambda x: np.stack([x, 0 * x], 1), ["dead channel"], "1 of its 2 channels is silent"),
        (lambda x: np.stack([x, *[0 * x] * 5], 1), ["dead channel"], "5 of its 6 channels are silent"),
        (lambda x: 0 * x, ["silent"], "every sample is zero"),
        (lambda x: 1e-5 * x, ["silent"], "dB below full scale"),
        (lambda x: np.where(np.arange(len(x)) < 100, x, 0), ["silent"], "silent but for moments"),
        (lambda x: 0 * x + 0.5, ["offset"], "holds a constant (0.50"),
        (lambda x: x / 2 + 0.3, ["offset"], "about 0.30 of full scale"),
        (lambda x: x[:160], ["short"], "lasts 10 ms (160 samples)"),
        (lambda x: x[:1], ["short"], "(1 sample)"),
    ],
)
def test_each_fault_is_found_with_its_cause(
    make: Callable[[Samples], Samples], kinds: list[str], said: str
) -> None:
    found = examined(make(voice())).findings
    assert [f.kind for f in found] == kinds
    assert all(said in f.message for f in found)


@given(st.floats(0.02, 0.9), st.integers(1, 6), st.floats(0.3, 3))
def test_healthy_speech_is_never_accused(level: float, channels: int, seconds: float) -> None:
    rng = np.random.default_rng(round(1e6 * level))
    mono = level * np.sin(2 * np.pi * 150 * np.arange(round(16_000 * seconds)) / 16_000)
    block = mono[:, None] * rng.uniform(0.5, 1, channels) + 0.01 * rng.standard_normal((len(mono), channels))
    assert examined(np.clip(block, -0.99, 0.99)).findings == ()


@given(st.floats(0.05, 1), st.integers(2, 8), st.data())
def test_a_turned_channel_is_found_in_any_company(level: float, channels: int, data: st.DataObject) -> None:
    signs = [1, -1] * (channels // 2)
    mono = level * np.sin(2 * np.pi * 200 * np.arange(8000) / 16_000)
    found = examined(mono[:, None] * np.array(data.draw(st.permutations(signs))))
    assert [f.kind for f in found.findings] == ["channels cancel"]


def test_an_examination_survives_the_disk() -> None:
    found = examined(np.stack([voice(), 0 * voice()], 1), 44_100)
    again = Examination.from_json(json.loads(json.dumps(found.as_json())))
    assert again.findings == found.findings
    assert (again.rates, again.channels) == ((44_100,), (2,))


@settings(max_examples=15)
@given(
    st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]),
    st.integers(1, 3),
    st.integers(1, 40_000),
)
def test_blocks_give_the_samples_of_one_go(
    tmp_path_factory: pytest.TempPathFactory, rate: int, channels: int, frames: int
) -> None:
    path = tmp_path_factory.mktemp("b") / "x.wav"
    rng = np.random.default_rng(frames)
    soundfile.write(path, rng.uniform(-0.5, 0.5, (frames, channels)), rate)
    whole, _ = soundfile.read(path, always_2d=True)
    try:
        expected = to_pcm(whole.mean(axis=1), rate)
    except DataError as error:
        with pytest.raises(DataError, match=str(error)):
            decode(path)
        return
    assert np.array_equal(decode(path), expected)
    assert np.array_equal(read_recording(path).mono, whole.mean(axis=1))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "a Git LFS pointer.*git lfs pull"),
        (b"\xef\xbb\xbf\n <!DOCTYPE HTML PUBLIC><html></html>", "an HTML page"),
        (b"<!-- moved -->\n<html lang=en>", "an HTML page"),
        (b"<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code></Error>", "a server's error message"),
        (b'{"error": "not found"}', "a server's error message"),
        (b"../.git/annex/objects/ab/cd/SHA256E-s1--00.wav", "git annex get"),
        (b"PK\x03\x04 and more", "an archive"),
        (b"%PDF-1.4", "a PDF document"),
        (b"just words", "not audio that soundfile or FFmpeg can read"),
    ],
)  # fmt: skip
def test_what_is_no_audio_is_called_by_its_name(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(DataError, match=said):
        decode(tmp_path / "x.wav")


def header(rate: int, channels: int, frames: int, data: bytes = b"") -> bytes:
    width = 2 * channels
    head = (
        b"WAVEfmt " + (16).to_bytes(4, "little") + (1).to_bytes(2, "little") + channels.to_bytes(2, "little")
    )
    head += (
        rate.to_bytes(4, "little")
        + (rate * width).to_bytes(4, "little")
        + width.to_bytes(2, "little")
        + (16).to_bytes(2, "little")
    )
    body = head + b"data" + (frames * width).to_bytes(4, "little") + (data or bytes(frames * width))
    return b"RIFF" + len(body).to_bytes(4, "little") + body


@pytest.mark.parametrize("rate", [1, 7, 500, 1_000_000])
def test_a_rate_that_nobody_records_at_is_refused(rate: int, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(header(rate, 1, 4000))
    with pytest.raises(DataError, match=f"a rate of {rate} Hz"):
        decode(tmp_path / "x.wav")


def test_a_small_file_that_holds_gigabytes_is_refused_before_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    with soundfile.SoundFile(path, "w", 96_000, 8, format="FLAC", subtype="PCM_16") as file:
        for _ in range(4):  # 40 s of silence; the bound is lowered to fit a test
            file.write(np.zeros((960_000, 8), np.int16))
    assert path.stat().st_size < 500_000
    import bench.audio.decoding as decoding

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pcm = decode(path)
    assert len(pcm) == 40 * 16_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 120_000, (
        "kilobytes: in blocks, not 245 MB"
    )
    most, decoding.MOST_VALUES = decoding.MOST_VALUES, 20_000_000
    try:
        with pytest.raises(DataError, match="8 channels at 96000 Hz"):
            decode(path)
    finally:
        decoding.MOST_VALUES = most


def test_lengths_are_held_against_the_table_and_the_median() -> None:
    fine = examined(voice())
    clips = [ClipSound(f"{i}.wav", 1.0 + i / 50, fine, None, 1.0) for i in range(20)]
    assert examine(clips) == []
    long, cut = ClipSound("long.wav", 200.0, fine, None, 1.0), ClipSound("cut.wav", 0.9, fine, None, 2.7)
    assert [(f.clip, f.kind) for f in examine([*clips, long, cut])] == [
        ("long.wav", "unlike table"),
        ("cut.wav", "unlike table"),
    ]
    assert [(f.clip, f.kind) for f in examine([*clips, ClipSound("x.wav", 30.0, fine)])] == [
        ("x.wav", "length")
    ]
    milliseconds = [ClipSound(c.clip, c.seconds, fine, None, 1000.0) for c in clips]
    (one,) = examine(milliseconds)
    assert "in another unit" in one.message
    missing = ClipSound("half.wav", 1.0, fine.short_of(1.0))
    assert [f.kind for f in examine([missing])] == ["cut off"]


@given(st.lists(st.floats(0.5, 20), min_size=5, max_size=60))
def test_natural_lengths_are_not_odd(lengths: list[float]) -> None:
    median, odd = odd_lengths(lengths)
    assert all(max(lengths[i] / median, median / lengths[i]) > 5 for i in odd)


def test_one_flipped_bit_is_never_used(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    soundfile.write(folder / "x.wav", voice(), 16_000)
    (shard,) = plan_shards(folder, ["x.wav"], tmp_path / "cache")
    decode_shard(shard)
    (clip,) = read_shard(shard) or []
    assert clip.examined is not None
    data = bytearray(shard.samples_path.read_bytes())
    data[4321] ^= 1
    shard.samples_path.write_bytes(bytes(data))
    with pytest.raises(DamagedStore, match="are not those that were stored"):
        clip.read()
    assert read_shard(shard) is None, "the next run decodes it anew"
    decode_shard(shard)
    (again,) = read_shard(shard) or []
    assert pcm_hash(again.read_pcm()) == clip.pcm_hash == again.pcm_hash
