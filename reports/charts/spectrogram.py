"""A small picture of what a clip sounds like: loudness by time and pitch, as a PNG of a few kilobytes.

A page on disk may play an audio file but not read it, so the picture cannot be drawn in the browser.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from bench.protocols import SAMPLE_RATE, Waveform

COLUMNS, BANDS = 128, 48
LEVELS = 16
"""Shades of grey, four bits each."""
DEPTH = 60.0
"""Decibels below the clip's loudest point that are drawn; anything softer is white."""
WINDOW, HOP = 400, 160
"""25 ms every 10 ms, samples."""
POINTS = 2048
LOWEST = 60.0
"""Hertz at the lower edge; the upper is half the sampling rate."""
VERSION = "1"
"""Of the picture: another makes every file of pictures anew."""


def spectrogram_png(wave: Waveform) -> bytes:
    """Draw a waveform: time from left to right over its whole length, pitch on the mel scale from 60 Hz up to 8 kHz, dark is loud.

    Args:
        wave: (samples,) at 16 kHz.

    Returns:
        A grey PNG of 128 by 48 points; white where there is no sample.
    """
    return _png(LEVELS - 1 - _levels(wave))


def mel(hertz: float) -> float:
    """Pitch on the mel scale (O'Shaughnessy 1987).

    >>> round(mel(1000.0))
    1000
    """
    return float(2595 * np.log10(1 + hertz / 700))


def height_of(hertz: float) -> float:
    """Where a frequency stands in the picture, from 0 at its lower edge to 1 at its upper.

    >>> height_of(60.0), height_of(8000.0)
    (0.0, 1.0)
    """
    low, high = mel(LOWEST), mel(SAMPLE_RATE / 2)
    return (mel(hertz) - low) / (high - low)


def _levels(wave: Waveform) -> NDArray[np.int64]:
    """Loudness in steps, (bands, columns), the highest band first; 0 is silence."""
    power = _mel_power(wave)
    loudest = power.max(initial=0.0)
    if loudest <= 0:
        return np.zeros((BANDS, COLUMNS), dtype=np.int64)
    decibels = 10 * np.log10(np.maximum(power / loudest, 1e-12))
    steps = np.rint((LEVELS - 1) * np.clip(1 + decibels / DEPTH, 0, 1)).astype(np.int64)
    return np.ascontiguousarray(steps.T[::-1])


def _mel_power(wave: Waveform) -> NDArray[np.float64]:
    """Mean power by column and band, (columns, bands)."""
    padded = np.pad(np.asarray(wave, dtype=np.float32), WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(WINDOW).astype(np.float32), POINTS)) ** 2
    pitch = np.linspace(mel(LOWEST), mel(SAMPLE_RATE / 2), BANDS + 1)
    hertz = 700 * (10 ** (pitch / 2595) - 1)
    bins = np.rint(hertz * POINTS / SAMPLE_RATE).astype(int)
    bands = np.add.reduceat(spectrum, bins[:-1], axis=1) / np.diff(bins)
    edges = np.linspace(0, len(bands), COLUMNS + 1)
    first, last = np.floor(edges[:-1]).astype(int), np.ceil(edges[1:]).astype(int)
    total = np.vstack([np.zeros((1, BANDS)), np.cumsum(bands, axis=0)])
    mean: NDArray[np.float64] = (total[last] - total[first]) / (last - first)[:, np.newaxis]
    return np.maximum(mean, 0.0)


def _png(shades: NDArray[np.int64]) -> bytes:
    """A grey picture of four bits a point, (rows, columns) of 0 (black) to 15 (white).

    Source: Portable Network Graphics, third edition (W3C 2025), sections 5 and 7.
    """
    rows, columns = shades.shape
    packed = (shades[:, 0::2] << 4 | shades[:, 1::2]).astype(np.uint8)
    unfiltered = np.hstack([np.zeros((rows, 1), dtype=np.uint8), packed])
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 4, 0, 0, 0, 0)),
            _chunk(b"IDAT", zlib.compress(unfiltered.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
