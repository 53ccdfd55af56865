"""What conditions do to samples: noise, rooms, codecs, speed, length. 16 kHz mono int16 in and out.

Every draw is seeded by the clip's own sound and the condition, so a clip is changed in the same way wherever it stands.
Rooms come from pyroomacoustics (image sources), codecs from FFmpeg by way of PyAV, rates from soxr.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.audio.conditions import FORMAT, Condition, noise_files
from bench.audio.decoding import Pcm, decode, to_float
from bench.audio.store import DecodedClip
from bench.errors import DataError
from bench.protocols import SAMPLE_RATE
from bench.storage.hashing import digest

Signal = NDArray[np.float64]
"""(samples,) in −1..1."""
FRAME = 320
"""20 ms."""
ACTIVE_DECIBELS = 30.0
"""Speech is active in frames that lie at most so far below the loudest one."""
BABBLE_VOICES = 6
ROOMS = 6
"""Rooms per reverberation time; the clip decides which is its own."""
PASS_BAND = (300.0, 3400.0)
"""Hertz, of a telephone line."""


def degrade(condition: Condition, pcm: Pcm, pcm_hash: str, voices: Sequence[DecodedClip] = ()) -> Pcm:
    """Put a clip through a condition.

    ``voices`` are clips of other speakers, for babble. A silent clip, which has no active speech to measure noise
    against, gets none. A sum louder than full scale is turned down as a whole, which keeps its signal-to-noise ratio.

    Args:
        condition: what to do.
        pcm: (samples,) int16, 16 kHz.
        pcm_hash: hash of these samples; seeds every draw.
        voices: clips of other speakers, for babble.

    Returns:
        (samples,) int16, 16 kHz; of another length for speed, cut, pad and tile.

    Raises:
        DataError: babble without another voice, or noise that cannot be read.
    """
    if condition.kind == "clean" or not len(pcm):
        return pcm
    if condition.kind in LENGTHS:
        return LENGTHS[condition.kind](pcm, condition.amount)
    rng = np.random.default_rng(int(digest(FORMAT, condition.name, pcm_hash), 16))
    signal = to_float(pcm).astype(np.float64)
    if condition.kind in NOISES:
        power = active_power(signal)
        if power == 0.0:
            return pcm
        noise = NOISES[condition.kind](len(signal), rng, voices)
        # Recorded noise may have silent stretches: its level is that of the stretch that was drawn.
        level = float(np.mean(noise**2))
        if level > 0.0:
            signal = signal + noise * np.sqrt(power / level / 10 ** (condition.amount / 10))
    else:
        signal = CHANNELS[condition.kind](signal, condition.amount, rng)
    return _to_pcm(signal)


def active_power(signal: Signal) -> float:
    """Mean power over the 20-ms frames in which somebody speaks: those within 30 dB of the loudest frame.

    >>> speech = np.concatenate([np.full(16_000, 0.5), np.zeros(16_000)])
    >>> round(active_power(speech), 3)
    0.25
    """
    frames = np.array([np.mean(signal[i : i + FRAME] ** 2) for i in range(0, len(signal), FRAME)])
    active = frames[frames >= frames.max() / 10 ** (ACTIVE_DECIBELS / 10)]
    return float(active.mean())


def _to_pcm(signal: Signal) -> Pcm:
    peak = float(np.abs(signal).max())
    scaled = signal / peak * (32767 / 32768) if peak > 32767 / 32768 else signal
    return np.clip(np.rint(scaled * 32768.0), -32768, 32767).astype(np.int16)


def _white(n: int, rng: np.random.Generator, voices: Sequence[DecodedClip]) -> Signal:
    return rng.standard_normal(n)


def _pink(n: int, rng: np.random.Generator, voices: Sequence[DecodedClip]) -> Signal:
    """Noise whose power falls with 1/f from 20 Hz up; below, where no microphone hears, there is nothing."""
    length = 1 << max(n - 1, SAMPLE_RATE // 20).bit_length()
    hertz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    weight = np.where(hertz >= 20.0, 1.0 / np.sqrt(np.maximum(hertz, 20.0)), 0.0)
    pink: Signal = np.fft.irfft(np.fft.rfft(rng.standard_normal(length)) * weight, length)[:n]
    return pink


def _babble(n: int, rng: np.random.Generator, voices: Sequence[DecodedClip]) -> Signal:
    """Six clips of other speakers, each at the same active level, from a drawn place on and repeated."""
    if not voices:
        raise DataError("babble needs clips of another speaker in the same task; use noise-…db instead")
    mixed = np.zeros(n)
    for i in rng.permutation(len(voices))[:BABBLE_VOICES]:
        voice = voices[i].read().astype(np.float64)
        power = active_power(voice)
        if power > 0.0:
            start = int(rng.integers(len(voice)))
            mixed += np.resize(np.roll(voice, -start), n) / np.sqrt(power)
    return mixed


def _recorded(n: int, rng: np.random.Generator, voices: Sequence[DecodedClip]) -> Signal:
    files = noise_files()
    noise = _recording(files[int(rng.integers(len(files)))])
    start = int(rng.integers(len(noise)))
    return np.resize(np.roll(noise, -start), n)


@functools.lru_cache(maxsize=16)
def _recording(path: Path) -> Signal:
    try:
        return to_float(decode(path)).astype(np.float64)
    except DataError as error:
        raise DataError(f"{path}: cannot serve as noise: {error}") from None


def _reverb(signal: Signal, seconds: float, rng: np.random.Generator) -> Signal:
    """Convolve with a room's response; length and active level stay, and the direct sound stays where it was."""
    from scipy.signal import fftconvolve

    response = room_response(seconds, int(rng.integers(ROOMS)))
    direct = int(np.abs(response).argmax())
    wet: Signal = fftconvolve(signal, response)[direct : direct + len(signal)]
    before, after = active_power(signal), active_power(wet)
    return wet * np.sqrt(before / after) if after > 0.0 else wet


@functools.lru_cache(maxsize=4 * ROOMS)
def room_response(seconds: float, number: int) -> Signal:
    """Impulse response of a shoebox room with a reverberation time by Sabine's formula; speaker and microphone 1 to 3 m apart."""
    import pyroomacoustics as pra

    pra.constants.set("num_threads", 1)
    rng = np.random.default_rng([number, round(seconds * 1000)])
    # Small rooms for short times: in a large one no absorption makes Sabine's time that short.
    size = np.array([4.0, 3.5, 2.6]) + rng.uniform(0, 1, 3) * np.array([3.0, 2.0, 0.6]) * min(
        1.0, 2 * seconds
    )
    absorption, order = pra.inverse_sabine(seconds, size)
    room = pra.ShoeBox(size, fs=SAMPLE_RATE, materials=pra.Material(absorption), max_order=order)
    mouth = np.array([rng.uniform(0.8, 1.4), rng.uniform(0.8, 1.4), 1.6])
    room.add_source(mouth)
    room.add_microphone(mouth + np.array([rng.uniform(0.8, 2.0), rng.uniform(0.5, 1.2), -0.4]))
    room.compute_rir()
    return np.asarray(room.rir[0][0], dtype=np.float64)


def _telephone(signal: Signal, amount: float, rng: np.random.Generator) -> Signal:
    """Band-pass, 8 kHz, eight bits by the µ-law of G.711, and back."""
    import soxr
    from scipy.signal import butter, sosfilt

    filtered = sosfilt(butter(4, PASS_BAND, "bandpass", fs=SAMPLE_RATE, output="sos"), signal)
    narrow = soxr.resample(filtered, SAMPLE_RATE, 8_000, quality="VHQ")
    back = _coded(narrow, 8_000, "pcm_mulaw", "wav", None)
    return _fitted(soxr.resample(back, 8_000, SAMPLE_RATE, quality="VHQ"), len(signal))


def _opus(signal: Signal, kilobits: float, rng: np.random.Generator) -> Signal:
    import soxr

    decoded = _coded(signal, SAMPLE_RATE, "libopus", "ogg", round(kilobits * 1000))
    return _fitted(soxr.resample(decoded, 48_000, SAMPLE_RATE, quality="VHQ"), len(signal))


def _mp3(signal: Signal, kilobits: float, rng: np.random.Generator) -> Signal:
    return _fitted(_coded(signal, SAMPLE_RATE, "libmp3lame", "mp3", round(kilobits * 1000)), len(signal))


def _coded(signal: Signal, rate: int, codec: str, container: str, bits: int | None) -> Signal:
    """Encode and decode again, in memory. What comes back has the decoder's own rate (Opus: 48 kHz)."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.layout = "mono"
        if bits is not None:
            stream.bit_rate = bits
        form = stream.codec_context.codec.audio_formats[-1].name if codec == "libmp3lame" else "s16"
        samples = np.clip(np.rint(signal * 32768.0), -32768, 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(
            samples[None], format="s16p" if form == "s16p" else "s16", layout="mono"
        )
        frame.sample_rate, frame.pts = rate, 0
        fifo = av.AudioFifo()
        fifo.write(frame)
        size = stream.codec_context.frame_size or 1024
        while (part := fifo.read(size, partial=True)) is not None:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    file.seek(0)
    blocks = []
    with av.open(file) as decoded:
        for piece in decoded.decode(audio=0):
            block = piece.to_ndarray().reshape(-1)
            blocks.append(block / 32768.0 if block.dtype.kind == "i" else block.astype(np.float64))
    return np.concatenate(blocks)


def _fitted(signal: Signal, n: int) -> Signal:
    """The first ``n`` samples, with silence where there are fewer: a codec's delay is gone, its padding goes too."""
    return np.pad(signal[:n], (0, max(0, n - len(signal))))


def _speed(signal: Signal, factor: float, rng: np.random.Generator) -> Signal:
    import soxr

    played: Signal = soxr.resample(signal, SAMPLE_RATE * factor, SAMPLE_RATE, quality="VHQ")
    return played


def _cut(pcm: Pcm, seconds: float) -> Pcm:
    n = round(seconds * SAMPLE_RATE)
    start = max(0, (len(pcm) - n) // 2)
    return pcm[start : start + n]


def _pad(pcm: Pcm, seconds: float) -> Pcm:
    return np.pad(pcm, (0, max(0, round(seconds * SAMPLE_RATE) - len(pcm))))


def _tile(pcm: Pcm, seconds: float) -> Pcm:
    return np.resize(pcm, max(len(pcm), round(seconds * SAMPLE_RATE)))


NOISES: Mapping[str, Callable[[int, np.random.Generator, Sequence[DecodedClip]], Signal]] = {
    "noise": _pink,
    "white": _white,
    "babble": _babble,
    "recorded": _recorded,
}
CHANNELS: Mapping[str, Callable[[Signal, float, np.random.Generator], Signal]] = {
    "reverb": _reverb,
    "telephone": _telephone,
    "opus": _opus,
    "mp3": _mp3,
    "speed": _speed,
}
LENGTHS: Mapping[str, Callable[[Pcm, float], Pcm]] = {"cut": _cut, "pad": _pad, "tile": _tile}
