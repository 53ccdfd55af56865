"""A clip's picture shows where its sound is, in time and in pitch, and is small."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from reports.charts.spectrogram import BANDS, COLUMNS, height_of, spectrogram_png

TIME = np.arange(32_000) / 16_000


def drawn(wave: np.ndarray) -> np.ndarray:
    """How dark each point is, 0 (white) to 15, the lowest pitch first."""
    image = Image.open(io.BytesIO(spectrogram_png(wave.astype(np.float32))))
    assert image.size == (COLUMNS, BANDS)
    grey = np.asarray(image.convert("L")).astype(int)
    return 15 - grey[::-1] // 17


@pytest.mark.parametrize("hertz", [150, 440, 1000, 3500, 7000])
def test_a_tone_is_a_line_at_its_height(hertz: float) -> None:
    dark = drawn(np.sin(2 * np.pi * hertz * TIME))
    row = dark.mean(axis=1).argmax()
    assert abs(row + 0.5 - BANDS * height_of(hertz)) < 1.5
    assert dark[row].min() >= 14


def test_time_runs_over_the_whole_clip_whatever_its_length() -> None:
    for seconds in (0.3, 2, 40):
        wave = np.sin(2 * np.pi * 500 * np.arange(int(16_000 * seconds)) / 16_000)
        wave[: len(wave) // 2] = 0
        loud = drawn(wave).max(axis=0)
        middle = COLUMNS // 2
        margin = max(2, round(0.03 / seconds * COLUMNS))
        assert loud[: middle - margin].max() == 0, seconds
        assert loud[middle + margin : -margin].min() >= 13, seconds


def test_silence_and_nothing_at_all_are_white_and_speech_is_small() -> None:
    assert drawn(np.zeros(16_000)).max() == 0
    assert drawn(np.zeros(0)).max() == 0
    noise = np.random.default_rng(0).normal(size=32_000)
    assert len(spectrogram_png(noise.astype(np.float32))) < 3500
