"""The one decode path: any audio file to 16 kHz mono 16-bit samples, and their hash.

soundfile reads wav, flac, ogg and mp3; PyAV reads what it cannot (mp4, m4a, webm …). Channels are averaged, the rate
is changed by soxr at its highest quality, samples are rounded to int16: a 16 kHz mono 16-bit source passes unchanged.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.protocols import SAMPLE_RATE, Waveform
from bench.storage.hashing import digest

DECODER = "soundfile+pyav/soxr-vhq/mean/int16/1"
"""Version of the decode path; part of every audio key."""
AUDIO_SUFFIXES = (
    ".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".aiff", ".aif", ".webm", ".wma", ".amr",
    ".avi", ".mkv", ".mov", ".sph", ".au",
)  # fmt: skip
"""Suffixes of files that are audio, or video with an audio track."""
MAX_SECONDS = 3600.0
"""A longer clip is refused: it is a recording session, to be cut into clips first."""
LENGTH_ESTIMATE = 0.25
"""Seconds by which the length that an MP3 or MP4 header gives is off in healthy files: encoders pad both ends."""

Pcm = NDArray[np.int16]


@dataclass(frozen=True)
class Recording:
    """A file as it was recorded: ``samples`` (samples, channels) in −1..1, and what its header promised."""

    samples: NDArray[np.float64]
    rate: int
    promised: int
    """Samples the header promises; more than there are when the file was cut off."""


def decode(path: Path) -> Pcm:
    """Decode a file to 16 kHz mono int16 samples (samples,).

    Raises:
        DataError: missing, empty, unreadable, over-long, or not finite; the message says which.
    """
    recording = read_recording(path)
    return to_pcm(recording.samples.mean(axis=1), recording.rate)


def read_recording(source: Path | bytes) -> Recording:
    """Read a file, or the bytes of one, at its own rate and with all its channels.

    Raises:
        DataError: missing, empty, unreadable, over-long, or not finite; the message says which.
    """
    if isinstance(source, Path) and not source.is_file():
        raise DataError("the file is missing")
    if (source.stat().st_size if isinstance(source, Path) else len(source)) == 0:
        raise DataError("the file is empty (0 bytes)")
    recording = _read(source)
    samples, rate = recording.samples, recording.rate
    if samples.shape[0] == 0:
        raise DataError("the clip has no samples")
    _refuse_endless(samples.shape[0], rate)
    if not np.isfinite(samples).all():
        raise DataError("the clip holds NaN or infinite samples")
    return recording


def to_pcm(mono: NDArray[np.float64], rate: int) -> Pcm:
    """Bring mono samples in −1..1 to 16 kHz int16.

    Raises:
        DataError: too short to hold one sample at 16 kHz.
    """
    if rate != SAMPLE_RATE:
        import soxr

        mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="VHQ")
    if mono.shape[0] == 0:
        raise DataError("the clip is too short to hold one sample at 16 kHz")
    pcm: Pcm = np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)
    return pcm


def pcm_hash(pcm: Pcm) -> str:
    """Hash decoded samples: the identity of a clip's sound, whatever its file is called or how it was packed."""
    return digest(np.ascontiguousarray(pcm, dtype="<i2").tobytes())


def to_float(pcm: Pcm) -> Waveform:
    """Turn int16 samples into float32 in −1..1."""
    return pcm.astype(np.float32) / np.float32(32768.0)


def _opened(source: Path | bytes) -> str | io.BytesIO:
    return str(source) if isinstance(source, Path) else io.BytesIO(source)


def _read(source: Path | bytes) -> Recording:
    import soundfile

    try:
        with soundfile.SoundFile(_opened(source)) as file:
            frames, rate = int(file.frames), int(file.samplerate)
            _refuse_endless(frames, rate)  # before memory is asked for what a damaged header claims
            samples = file.read(dtype="float64", always_2d=True)
            if file.format == "MP3":
                frames = _promised(frames, samples.shape[0], rate)
    except soundfile.LibsndfileError as error:
        return _read_container(source, str(error))
    return Recording(samples, rate, max(frames, _riff_frames(source) or 0))


def _promised(length: int, found: int, rate: int) -> int:
    """Return the samples a compressed file promises, where that is clearly more than were found."""
    return length if length - found > LENGTH_ESTIMATE * rate else found


def _refuse_endless(frames: int, rate: int) -> None:
    if frames > MAX_SECONDS * rate:
        raise DataError(
            f"the clip lasts {frames / rate:.0f} s; at most {MAX_SECONDS:.0f} s are taken, cut it first"
        )


def _riff_frames(source: Path | bytes) -> int | None:
    """Return the samples per channel a RIFF header promises; libsndfile quietly trusts the file's length instead."""
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as stream:
        head = stream.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return None
        width = 0
        while len(chunk := stream.read(8)) == 8:
            name, size = chunk[:4], int.from_bytes(chunk[4:], "little")
            if name == b"data":
                # A recorder that streams writes 0 or the largest size, which promises nothing.
                return size // width if width and size < 0x7FFF0000 else None
            body = stream.read(16) if name == b"fmt " else b""
            if body:
                width = int.from_bytes(body[12:14], "little")  # nBlockAlign: bytes per sample of all channels
            stream.seek(size + size % 2 - len(body), io.SEEK_CUR)
    return None


def _read_container(source: Path | bytes, first_error: str) -> Recording:
    import av

    blocks: list[NDArray[np.float64]] = []
    frames = 0
    try:
        with av.open(_opened(source)) as container:
            if not container.streams.audio:
                raise DataError("the file has no audio track")
            stream = container.streams.audio[0]
            rate = int(getattr(stream, "rate", 0) or 0)
            if rate == 0:
                raise DataError("the audio track is of no kind that FFmpeg knows")
            length = int((stream.duration or 0) * (stream.time_base or 0) * rate)
            resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
            for frame in container.decode(stream):
                blocks += [f.to_ndarray().T.astype(np.float64) for f in resampler.resample(frame)]
                frames += frame.samples
                _refuse_endless(frames, rate)
            blocks += [f.to_ndarray().T.astype(np.float64) for f in resampler.resample(None)]
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise DataError(
            f"not audio that soundfile or FFmpeg can read ({first_error.rstrip('.')}; {error})"
        ) from None
    if not blocks:
        raise DataError("the clip has no samples")
    samples = np.concatenate(blocks)
    return Recording(samples, rate, _promised(length, samples.shape[0], rate))
