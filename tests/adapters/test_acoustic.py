"""openSMILE functionals under the suite's protocol."""

from __future__ import annotations

import numpy as np
import opensmile
import pytest

from adapters.acoustic import OpenSmile
from bench.errors import DataError, UsageError
from bench.protocols import Encoder

RATE = 16_000


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    t = np.arange(int(seconds * RATE)) / RATE
    harmonics = sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, 8))
    return (0.1 * np.asarray(harmonics)).astype(np.float32)


def test_a_clip_becomes_one_vector_of_opensmiles_own_functionals() -> None:
    encoder = OpenSmile()
    assert isinstance(encoder, Encoder)
    clips = [tone(150.0), tone(220.0, 0.7)]
    features = encoder.encode(clips)
    reference = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    for clip, ours in zip(clips, features, strict=True):
        assert ours.shape == (1, 1, 88)
        assert ours.dtype == np.float32
        assert np.array_equal(ours[0, 0], reference.process_signal(clip, RATE).to_numpy(dtype=np.float32)[0])


def test_the_pitch_feature_follows_the_pitch() -> None:
    names = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals).feature_names
    column = names.index("F0semitoneFrom27.5Hz_sma3nz_amean")
    low, high = (x[0, 0, column] for x in OpenSmile().encode([tone(150.0), tone(300.0)]))
    assert high - low == pytest.approx(12.0, abs=0.5), "an octave is twelve semitones"


def test_other_sets_and_levels_by_name() -> None:
    assert OpenSmile("GeMAPSv01b").encode([tone(150.0)])[0].shape == (1, 1, 62)
    frames = OpenSmile(level="lld").encode([tone(150.0)])[0]
    assert frames.shape[0] == 1
    assert frames.shape[2] == 25
    assert 90 <= frames.shape[1] <= 100


def test_very_short_and_silent_clips_have_finite_features() -> None:
    for clip in (tone(150.0)[:10], np.zeros(RATE, dtype=np.float32), tone(150.0)[:801]):
        assert np.isfinite(OpenSmile().encode([clip])[0]).all()


def test_mistakes_are_answered_in_words() -> None:
    with pytest.raises(UsageError, match="did you mean 'eGeMAPSv02'"):
        OpenSmile("eGeMAPS02")
    with pytest.raises(UsageError, match="level"):
        OpenSmile(level="frames")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no samples"):
        OpenSmile().encode([np.zeros(0, dtype=np.float32)])
