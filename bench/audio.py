"""The one decode path: any audio file to 16 kHz mono 16-bit samples, and their hash.

soundfile reads wav, flac, ogg and mp3; PyAV reads what it cannot (mp4, m4a, webm …). Channels are averaged, the rate
is changed by soxr at its highest quality, samples are rounded to int16: a 16 kHz mono 16-bit source passes unchanged.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.identity import digest
from bench.protocols import SAMPLE_RATE, Waveform

DECODER = "soundfile+pyav/soxr-vhq/mean/int16/1"
"""Version of the decode path; part of every audio key."""
MAX_SECONDS = 3600.0
"""A longer clip is refused: it is a recording session, to be cut into clips first."""

Pcm = NDArray[np.int16]


def decode(path: Path) -> Pcm:
    """Decode a file to 16 kHz mono int16 samples (samples,).

    Raises:
        DataError: missing, empty, unreadable, over-long, or not finite; the message says which.
    """
    if not path.is_file():
        raise DataError("the file is missing")
    if path.stat().st_size == 0:
        raise DataError("the file is empty (0 bytes)")
    samples, rate = _read(path)
    if samples.shape[0] == 0:
        raise DataError("the clip has no samples")
    if samples.shape[0] > MAX_SECONDS * rate:
        raise DataError(
            f"the clip lasts {samples.shape[0] / rate:.0f} s; at most {MAX_SECONDS:.0f} s are taken, cut it first"
        )
    if not np.isfinite(samples).all():
        raise DataError("the clip holds NaN or infinite samples")
    mono = samples.mean(axis=1)
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


def _read(path: Path) -> tuple[NDArray[np.float64], int]:
    """Read (samples, channels) and the rate in hertz."""
    import soundfile

    try:
        samples, rate = soundfile.read(str(path), dtype="float64", always_2d=True)
    except soundfile.LibsndfileError as error:
        return _read_container(path, str(error))
    return samples, int(rate)


def _read_container(path: Path, first_error: str) -> tuple[NDArray[np.float64], int]:
    import av

    blocks: list[NDArray[np.float64]] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise DataError("the file has no audio track")
            stream = container.streams.audio[0]
            rate = int(stream.rate)
            resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
            for frame in container.decode(stream):
                blocks += [f.to_ndarray().T.astype(np.float64) for f in resampler.resample(frame)]
            blocks += [f.to_ndarray().T.astype(np.float64) for f in resampler.resample(None)]
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise DataError(
            f"not audio that soundfile or FFmpeg can read ({first_error.rstrip('.')}; {error})"
        ) from None
    if not blocks:
        raise DataError("the clip has no samples")
    return np.concatenate(blocks), rate
