"""The one decode path: any audio file to 16 kHz mono 16-bit samples, their hash, and what the samples say about the clip.

soundfile reads wav, flac, ogg and mp3; PyAV reads what it cannot (mp4, m4a, webm …). Channels are averaged, the rate
is changed by soxr at its highest quality, samples are rounded to int16: a 16 kHz mono 16-bit source passes unchanged.
Files are read in blocks: memory grows with what comes out, not with rate and channels of what goes in.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.audio.examination import Examination, Examiner
from bench.errors import DataError
from bench.protocols import SAMPLE_RATE, Waveform
from bench.storage.file_kinds import HEAD, kind_of
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

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
"""Hertz. A rate outside is a damaged header: at 7 Hz a file would grow two thousand times."""
MOST_VALUES = 1_000_000_000
"""Frames × channels of a file; an hour of stereo at 96 kHz has 0.7 billion."""
BLOCK_VALUES = 1 << 19
"""Frames × channels that are read at a time: 4 MiB."""

Pcm = NDArray[np.int16]


@dataclass(frozen=True)
class Recording:
    """A file at its own rate: ``mono`` (frames,) is the mean of its channels in −1..1."""

    mono: NDArray[np.float64]
    rate: int
    channels: int
    promised: int
    """Frames the header promises; more than there are when the file was cut off."""
    examined: Examination


def decode(path: Path) -> Pcm:
    """Decode a file to 16 kHz mono int16 samples (samples,).

    Raises:
        DataError: missing, empty, unreadable, over-long, or not finite; the message says which.
    """
    return decode_examined(path)[0]


def decode_examined(source: Path | bytes) -> tuple[Pcm, Examination]:
    """Decode a file, or the bytes of one, and examine what it holds.

    Returns:
        Samples at 16 kHz (samples,), int16, and what the recording says about itself.

    Raises:
        DataError: missing, empty, unreadable, over-long, or not finite; the message says which.
    """
    heard = _heard(source, _Resampled)
    missing = max(heard.promised - heard.frames, 0) / heard.rate
    return heard.pcm(), heard.examiner.result.short_of(missing)


def read_recording(source: Path | bytes) -> Recording:
    """Read a file, or the bytes of one, at its own rate.

    Raises:
        DataError: missing, empty, unreadable, over-long, or not finite; the message says which.
    """
    heard = _heard(source, _Kept)
    return Recording(
        np.concatenate(heard.blocks), heard.rate, heard.channels, heard.promised, heard.examiner.result
    )


def to_pcm(mono: NDArray[np.float64], rate: int) -> Pcm:
    """Bring mono samples in −1..1 to 16 kHz int16.

    Raises:
        DataError: too short to hold one sample at 16 kHz.
    """
    if rate != SAMPLE_RATE:
        import soxr

        mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="VHQ")
    if mono.shape[0] == 0:
        raise DataError(TOO_SHORT)
    return _rounded(mono)


TOO_SHORT = "the clip is too short to hold one sample at 16 kHz"


def _rounded(mono: NDArray[np.float64]) -> Pcm:
    pcm: Pcm = np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)
    return pcm


def pcm_hash(pcm: Pcm) -> str:
    """Hash decoded samples: the identity of a clip's sound, whatever its file is called or how it was packed."""
    return digest(np.ascontiguousarray(pcm, dtype="<i2").tobytes())


def to_float(pcm: Pcm) -> Waveform:
    """Turn int16 samples into float32 in −1..1."""
    return pcm.astype(np.float32) / np.float32(32768.0)


class _Heard:
    """Takes a file's blocks (frames, channels): averages the channels, examines both, and bounds them."""

    def __init__(self, rate: int, channels: int) -> None:
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise DataError(
                f"its header gives a rate of {rate} Hz; expected {LOWEST_RATE:,} to {HIGHEST_RATE:,} Hz"
            )
        self.rate, self.channels = rate, channels
        self.frames = self.promised = 0
        self.examiner = Examiner()

    def expect(self, frames: int) -> None:
        """Refuse a length before anything of it is read, or once it is exceeded."""
        if frames > MAX_SECONDS * self.rate:
            raise DataError(
                f"the clip lasts {frames / self.rate:.0f} s; at most {MAX_SECONDS:.0f} s are taken, cut it first"
            )
        if frames * self.channels > MOST_VALUES:
            raise DataError(
                f"the clip holds {frames * self.channels / 1e9:.1f} billion samples ({frames / self.rate:.0f} s of {self.channels} "
                f"channels at {self.rate} Hz); at most {MOST_VALUES / 1e9:.0f} billion are taken, mix it down or cut it first"
            )

    def add(self, block: NDArray[np.float64]) -> None:
        self.frames += block.shape[0]
        self.expect(self.frames)
        mono: NDArray[np.float64] = block.mean(axis=1)
        if not np.isfinite(mono).all():
            raise DataError("the clip holds NaN or infinite samples")
        self.examiner.add(block, mono, self.rate)
        self.take(mono)

    def take(self, mono: NDArray[np.float64]) -> None:
        raise NotImplementedError


class _Kept(_Heard):
    """Keeps the average at the file's own rate."""

    def __init__(self, rate: int, channels: int) -> None:
        super().__init__(rate, channels)
        self.blocks: list[NDArray[np.float64]] = []

    def take(self, mono: NDArray[np.float64]) -> None:
        self.blocks.append(mono)


class _Resampled(_Heard):
    """Brings the average to 16 kHz and 16 bits as it comes; in blocks or at once, soxr gives the same samples."""

    def __init__(self, rate: int, channels: int) -> None:
        super().__init__(rate, channels)
        self._done: list[Pcm] = []
        self._stream: Any = None
        if rate != SAMPLE_RATE:
            import soxr

            self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float64", quality="VHQ")

    def take(self, mono: NDArray[np.float64]) -> None:
        self._done.append(_rounded(mono if self._stream is None else self._stream.resample_chunk(mono)))

    def pcm(self) -> Pcm:
        """The samples, once all blocks are in."""
        if self._stream is not None:
            self._done.append(_rounded(self._stream.resample_chunk(np.empty(0), last=True)))
        pcm = np.concatenate(self._done)
        if pcm.shape[0] == 0:
            raise DataError(TOO_SHORT)
        return pcm


_H = TypeVar("_H", bound=_Heard)


def _heard(source: Path | bytes, sink: Callable[[int, int], _H]) -> _H:
    """Read all of a file into a sink.

    Args:
        source: file, or the bytes of one.
        sink: made from rate and channels; a second time, where a file is damaged on the way and another library tries.
    """
    if isinstance(source, Path) and not source.is_file():
        raise DataError("the file is missing")
    if (source.stat().st_size if isinstance(source, Path) else len(source)) == 0:
        raise DataError("the file is empty (0 bytes)")
    heard = _read(source, sink)
    if heard.frames == 0:
        raise DataError("the clip has no samples")
    return heard


def _opened(source: Path | bytes) -> str | io.BytesIO:
    return str(source) if isinstance(source, Path) else io.BytesIO(source)


def _read(source: Path | bytes, sink: Callable[[int, int], _H]) -> _H:
    import soundfile

    try:
        with soundfile.SoundFile(_opened(source)) as file:
            frames, rate, channels = int(file.frames), int(file.samplerate), int(file.channels)
            heard = sink(rate, channels)
            heard.expect(frames)  # before memory is asked for what a damaged header claims
            while len(block := file.read(max(BLOCK_VALUES // channels, 1), dtype="float64", always_2d=True)):
                heard.add(block)
            if file.format == "MP3":
                frames = _promised(frames, heard.frames, rate)
    except soundfile.LibsndfileError as error:
        if (kind := kind_of(_head(source))) is not None:
            raise DataError(f"is {kind.sentence}") from None
        return _read_container(source, str(error), sink)
    heard.promised = max(frames, _riff_frames(source) or 0)
    return heard


def _head(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:HEAD]
    with source.open("rb") as stream:
        return stream.read(HEAD)


def _promised(length: int, found: int, rate: int) -> int:
    """Return the samples a compressed file promises, where that is clearly more than were found."""
    return length if length - found > LENGTH_ESTIMATE * rate else found


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


def _read_container(source: Path | bytes, first_error: str, sink: Callable[[int, int], _H]) -> _H:
    import av

    heard: _H | None = None
    waiting: list[NDArray[np.float64]] = []

    def flush(at_least: int) -> None:
        if heard is not None and waiting and sum(b.size for b in waiting) >= at_least:
            heard.add(np.concatenate(waiting))
            waiting.clear()

    try:
        with av.open(_opened(source)) as container:
            if not container.streams.audio:
                raise DataError("the file has no audio track")
            stream = container.streams.audio[0]
            rate = int(getattr(stream, "rate", 0) or 0)
            if rate == 0:
                raise DataError("the audio track is of no kind that FFmpeg knows")
            length = int((stream.duration or 0) * (stream.time_base or 0) * rate)
            heard = sink(rate, stream.channels)
            resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
            for frame in itertools.chain(container.decode(stream), [None]):
                waiting += [f.to_ndarray().T.astype(np.float64) for f in resampler.resample(frame)]
                flush(BLOCK_VALUES)
            flush(1)
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise DataError(
            f"not audio that soundfile or FFmpeg can read ({first_error.rstrip('.')}; {error})"
        ) from None
    if heard is None or not heard.frames:
        raise DataError("the clip has no samples")
    heard.promised = _promised(length, heard.frames, rate)
    return heard
