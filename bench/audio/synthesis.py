"""Generated vocal sounds whose emotion, valence, arousal and dominance are known.

Source and filter: a jittered pulse train and aspiration noise pass through formant resonators that move from frame
to frame. What a clip expresses is in the sound twice. *Static* cues (pitch, tempo, spectral tilt, level, breath) follow
valence, arousal and dominance loosely, under nuisance that grows with ``difficulty``. *Dynamic* cues follow them
exactly: inside each syllable the spectral tilt opens or closes with arousal, the second formant glides up or down
with valence, the first formant and the breath with dominance. Their averages over a clip say nothing, so that
functionals stay below what a model of short-time order reaches, as they do on real speech.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError, nearest
from bench.protocols import SAMPLE_RATE, Array, Waveform

DEFAULT_DIFFICULTY = 1.0


@dataclass(frozen=True)
class Emotion:
    """Where an emotion lies (valence, arousal, dominance in 0..1), and how it sounds beyond that place."""

    centre: tuple[float, float, float]
    jitter: float = 0.01
    """Standard deviation of a pulse's time, in periods."""
    tremor_semitones: float = 0.0
    final_rise_semitones: float = 0.0
    range_semitones: float = 2.0
    """Pitch movement within a syllable."""
    back_vowels: float = 0.0
    """Octaves by which F2 is lowered."""


EMOTIONS = {
    "neutral": Emotion((0.50, 0.35, 0.50), range_semitones=1.5),
    "happy": Emotion((0.85, 0.68, 0.65), range_semitones=3.0),
    "sad": Emotion((0.22, 0.20, 0.25), final_rise_semitones=-1.5),
    "angry": Emotion((0.20, 0.82, 0.85), jitter=0.018),
    "fearful": Emotion((0.25, 0.72, 0.20), tremor_semitones=0.5),
    "disgusted": Emotion((0.25, 0.45, 0.62), jitter=0.022, back_vowels=0.12),
    "surprised": Emotion((0.70, 0.80, 0.45), final_rise_semitones=3.0),
}
"""The seven emotions by canonical name."""


@dataclass(frozen=True)
class Language:
    """Sounds and rhythm of an invented language."""

    vowels: dict[str, tuple[float, float, float]]
    """F1, F2, F3 in hertz, for a vocal tract of ordinary length."""
    consonants: dict[str, float]
    """Centre of the onset's noise in hertz."""
    rhythm: tuple[float, ...]
    """Relative lengths of successive syllables."""


LANGUAGES = {
    "qaa": Language(
        vowels={"a": (750, 1300, 2500), "e": (500, 1800, 2500), "i": (320, 2200, 2900), "o": (500, 950, 2400),
                "u": (350, 800, 2300)},
        consonants={"s": 5500.0, "t": 4200.0, "k": 2200.0},
        rhythm=(1.0,),
    ),
    "qab": Language(
        vowels={"ä": (680, 1650, 2450), "ö": (420, 1500, 2250), "ü": (330, 1750, 2200), "ə": (520, 1450, 2450)},
        consonants={"x": 1800.0, "f": 6500.0, "p": 1100.0, "ʃ": 3300.0},
        rhythm=(1.3, 0.7),
    ),
}  # fmt: skip
"""Invented languages under private-use codes (BCP 47)."""


@dataclass(frozen=True)
class Voice:
    """A speaker: pitch in hertz, formant scale (short vocal tract > 1), level and brightness of voice and microphone."""

    f0: float = 150.0
    formant_scale: float = 1.0
    gain_db: float = 0.0
    tilt_db: float = 0.0
    gender: str = "female"


_HOP, _WINDOW, _FFT = 128, 512, 1024
_FREQUENCIES = np.arange(_FFT // 2 + 1, dtype=np.float64) * (SAMPLE_RATE / _FFT)
_MARGIN_S = 0.05
"""Seconds of silence before and after the syllables."""

_RATE = 4.2
"""Syllables per second of a calm voice."""

# Static cues, per unit of a dimension centred to −1..1 …
_F0_SEMITONES_PER_AROUSAL, _F0_SEMITONES_PER_VALENCE = 1.5, 1.5
_RATE_OCTAVES_PER_AROUSAL = 0.2
_TILT_DB_PER_AROUSAL = 1.0
_LEVEL_DB_PER_AROUSAL = 1.5
_FORMANT_OCTAVES_PER_VALENCE = 0.06
_BREATH_DB_PER_DOMINANCE = -3.0
# … and their nuisance (standard deviations at difficulty 1), drawn for each clip.
_F0_NUISANCE, _RATE_NUISANCE, _TILT_NUISANCE, _LEVEL_NUISANCE = 3.0, 0.22, 2.0, 5.0
_FORMANT_NUISANCE, _BREATH_NUISANCE = 0.07, 6.0
# Dynamic cues: change over a syllable, per unit of the centred dimension.
_TILT_SWING_DB = 8.0
"""Decibels per octave."""
_F2_GLIDE_OCTAVES = 0.35
_F1_GLIDE_OCTAVES = 0.45
_BREATH_SWING_DB = 16.0


def synthetic_clip(
    emotion: str = "neutral",
    *,
    valence: float | None = None,
    arousal: float | None = None,
    dominance: float | None = None,
    voice: Voice | None = None,
    language: str = "qaa",
    syllables: Sequence[str] = (),
    seconds: tuple[float, float] = (0.9, 1.5),
    difficulty: float = DEFAULT_DIFFICULTY,
    seed: int | Sequence[int] = 0,
) -> Waveform:
    """Synthesise one clip: float32 (samples,), 16 kHz, whose values are exact 16-bit steps.

    Dimensions are 0..1 and default to the emotion's centre. ``syllables`` are onset and vowel of the language, such
    as ``"sa"``; without them about four a second are drawn. The tempo decides where in the range ``seconds`` the
    duration lies. ``difficulty`` scales the nuisance in the static cues (0: none).

    Args:
        emotion: one of the seven canonical names.
        valence: 0..1; None for the emotion's own.
        arousal: 0..1; None for the emotion's own.
        dominance: 0..1; None for the emotion's own.
        voice: the speaker; None for an ordinary one.
        language: code of an invented language.
        syllables: what is said; empty to draw it.
        seconds: shortest and longest duration, s.
        difficulty: scale of the nuisance in the static cues.
        seed: decides all that is drawn.

    Returns:
        float32 (samples,), 16 kHz.

    Raises:
        UsageError: an unknown emotion, language or syllable.

    >>> synthetic_clip("angry", seconds=(0.5, 0.5)).shape
    (8000,)
    """
    rng = np.random.default_rng(seed)
    style, inventory, voice = find_emotion(emotion), find_language(language), voice or Voice()
    centre = zip((valence, arousal, dominance), style.centre, strict=True)
    v, a, d = (2 * (c if given is None else given) - 1 for given, c in centre)
    static = _StaticCues.of(v, a, d, difficulty * rng.standard_normal(6))
    words = tuple(syllables) or draw_sentence(inventory, typical_length(seconds), rng)

    length = float(np.clip(len(words) / static.rate + 2 * _MARGIN_S, *seconds))
    timing = _Timing.draw(round(length * SAMPLE_RATE), len(words), inventory, rng)
    pulses = _pulse_train(voice.f0 * 2 ** (static.f0_semitones / 12), style, timing, rng)
    noise = rng.standard_normal(pulses.size)
    sound = _filter_frames(
        pulses, noise, _articulate((v, a, d), static, style, voice, inventory, words, timing)
    )
    return _quantise(sound, static.level_db + voice.gain_db, rng)


@dataclass(frozen=True)
class _StaticCues:
    """What is the same throughout a clip."""

    rate: float
    """Syllables per second."""
    f0_semitones: float
    formant_octaves: float
    tilt_db: float
    """Per octave."""
    breath_db: float
    level_db: float

    @classmethod
    def of(cls, v: float, a: float, d: float, nuisance: Array) -> _StaticCues:
        n = nuisance.tolist()
        return cls(
            rate=_RATE * 2 ** (_RATE_OCTAVES_PER_AROUSAL * a + _RATE_NUISANCE * n[0]),
            f0_semitones=_F0_SEMITONES_PER_AROUSAL * a + _F0_SEMITONES_PER_VALENCE * v + _F0_NUISANCE * n[1],
            formant_octaves=_FORMANT_OCTAVES_PER_VALENCE * v + _FORMANT_NUISANCE * n[2],
            tilt_db=-6 + _TILT_DB_PER_AROUSAL * a + _TILT_NUISANCE * n[3],
            breath_db=-20 + _BREATH_DB_PER_DOMINANCE * d + _BREATH_NUISANCE * n[4],
            level_db=-26 + _LEVEL_DB_PER_AROUSAL * a + _LEVEL_NUISANCE * n[5],
        )


@dataclass(frozen=True)
class _Articulation:
    """What the mouth does, frame by frame."""

    formants: Array
    """(frames, 3), hertz."""
    tilt_db: Array
    breath: Array
    """Amplitude of the aspiration noise."""
    loudness: Array
    onset: Array
    """Share of a consonant's noise, 0..1."""
    onset_hz: Array


def _articulate(
    place: tuple[float, float, float], static: _StaticCues, style: Emotion, voice: Voice, language: Language,
    words: Sequence[str], timing: _Timing,
) -> _Articulation:  # fmt: skip
    """Lay the dynamic cues over the static ones: each runs from −1 to 1 over a syllable, after its onset."""
    v, a, d = place
    frames = timing.frames()
    ramp = np.clip((frames.position - 0.15) / 0.85, 0, 1) * 2 - 1
    vowels = np.array([_vowel(language, w) for w in words])[frames.syllable]
    formants = vowels * voice.formant_scale * 2**static.formant_octaves
    formants[:, 0] *= 2 ** (_F1_GLIDE_OCTAVES * d * ramp)
    formants[:, 1] *= 2 ** (_F2_GLIDE_OCTAVES * v * ramp - style.back_vowels)
    return _Articulation(
        formants=formants,
        tilt_db=static.tilt_db + voice.tilt_db + _TILT_SWING_DB / 2 * a * ramp,
        breath=10 ** ((static.breath_db + _BREATH_SWING_DB / 2 * d * ramp) / 20),
        loudness=frames.loudness,
        onset=np.clip(1 - frames.position / 0.18, 0, 1) * (frames.loudness > 0),
        onset_hz=np.array([language.consonants[w[0]] for w in words])[frames.syllable],
    )


def find_emotion(name: str) -> Emotion:
    """Return an emotion by its canonical name."""
    try:
        return EMOTIONS[name]
    except KeyError:
        raise UsageError(f"the synthetic corpus has no emotion {name!r}: {nearest(name, EMOTIONS)}") from None


def find_language(code: str) -> Language:
    """Return an invented language by its code."""
    try:
        return LANGUAGES[code]
    except KeyError:
        raise UsageError(
            f"the synthetic corpus has no language {code!r}: {nearest(code, LANGUAGES)}"
        ) from None


def _vowel(language: Language, syllable: str) -> tuple[float, float, float]:
    if syllable[:1] in language.consonants and syllable[1:] in language.vowels:
        return language.vowels[syllable[1:]]
    raise UsageError(
        f"{syllable!r} is no syllable of this synthetic language: expected one of the onsets "
        f"{', '.join(language.consonants)} and one of the vowels {', '.join(language.vowels)}"
    )


def typical_length(seconds: tuple[float, float]) -> int:
    """Syllables that fill the middle of a range of durations."""
    return max(1, round(_RATE * (sum(seconds) / 2 - 2 * _MARGIN_S)))


def draw_sentence(language: Language, length: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Draw syllables of a language.

    Args:
        language: whose syllables.
        length: how many.
        rng: the source of the draws.

    Returns:
        (length,) syllables, onset and vowel.
    """
    onsets, vowels = tuple(language.consonants), tuple(language.vowels)
    return tuple(onsets[rng.integers(len(onsets))] + vowels[rng.integers(len(vowels))] for _ in range(length))


@dataclass(frozen=True)
class _Place:
    """For each of some instants: which syllable, where in it (0..1), and how loud (0..1)."""

    syllable: NDArray[np.intp]
    position: Array
    loudness: Array


@dataclass(frozen=True)
class _Timing:
    """Where the syllables of a clip lie (samples), and at what share of a syllable its loudness peaks."""

    samples: int
    edges: Array
    peak: float

    @classmethod
    def draw(cls, samples: int, count: int, language: Language, rng: np.random.Generator) -> _Timing:
        lengths = np.resize(language.rhythm, count) * (1 + 0.1 * rng.uniform(-1, 1, count))
        margin = min(_MARGIN_S * SAMPLE_RATE, samples / 10)
        edges = margin + np.concatenate([[0.0], np.cumsum(lengths / lengths.sum())]) * (samples - 2 * margin)
        return cls(samples, edges, float(rng.uniform(0.2, 0.8)))

    def at(self, instants: Array) -> _Place:
        count = self.edges.size - 1
        index = np.clip(np.searchsorted(self.edges, instants, side="right") - 1, 0, count - 1)
        position = (instants - self.edges[index]) / np.diff(self.edges)[index]
        inside = (position >= 0) & (position <= 1)
        position = np.clip(position, 0, 1)
        rise = np.where(position < self.peak, position / self.peak, (1 - position) / (1 - self.peak))
        return _Place(index, position, np.where(inside, 0.05 + 0.95 * np.sin(np.pi / 2 * rise), 0.0))

    def frames(self) -> _Place:
        """Places of the centres of the analysis frames."""
        return self.at(np.arange(_frame_count(self.samples), dtype=np.float64) * _HOP - _WINDOW / 2 + _HOP)


def _frame_count(samples: int) -> int:
    return samples // _HOP + _WINDOW // _HOP


def _pulse_train(f0: float, style: Emotion, timing: _Timing, rng: np.random.Generator) -> Array:
    """Glottal pulses (samples,) of unit power: one impulse per period, jittered, its movement drawn anew per syllable."""
    instants = np.arange(timing.samples, dtype=np.float64)
    place = timing.at(instants)
    count = timing.edges.size - 1
    move = style.range_semitones * rng.standard_normal(count)[place.syllable] * (place.position - 0.5)
    final = style.final_rise_semitones * place.position * (place.syllable == count - 1)
    tremor = style.tremor_semitones * np.sin(2 * np.pi * (7.0 * instants / SAMPLE_RATE + rng.uniform()))
    contour = np.clip(f0 * 2 ** ((move + final + tremor) / 12), 60, 500)
    cycles = np.cumsum(contour) / SAMPLE_RATE
    times = np.interp(np.arange(1, int(cycles[-1])), cycles, instants)
    period = SAMPLE_RATE / contour[times.astype(int)]
    times = np.clip(times + style.jitter * period * rng.standard_normal(times.size), 0, timing.samples - 2)
    heights = np.sqrt(period) * (1 + 0.03 * rng.standard_normal(times.size))
    whole = times.astype(int)
    share = times - whole
    train = np.zeros(timing.samples)
    np.add.at(train, whole, heights * (1 - share))
    np.add.at(train, whole + 1, heights * share)
    return train


def _resonate(formants: Array) -> NDArray[np.complex128]:
    """Response (frames, frequencies) of two-pole resonators at the formants (frames, 3) and a fixed fourth.

    Unit gain at 0 Hz: H(z) = (1 − 2 r cos θ + r²) / (1 − 2 r cos θ z⁻¹ + r² z⁻²), r = exp(−π B / fs) (Klatt 1980).
    """
    centres = np.concatenate([formants, np.full((len(formants), 1), 3700.0)], axis=1)
    bandwidths = np.array([80.0, 100.0, 140.0, 220.0])
    r = np.exp(-np.pi * bandwidths / SAMPLE_RATE)
    b = 2 * r * np.cos(2 * np.pi * centres / SAMPLE_RATE)
    z1 = np.exp(-2j * np.pi * _FREQUENCIES / SAMPLE_RATE)
    response = np.ones((len(formants), _FREQUENCIES.size), np.complex128)
    for k in range(centres.shape[1]):
        response *= (1 - b[:, k, None] + r[k] ** 2) / (1 - b[:, k, None] * z1 + r[k] ** 2 * z1**2)
    return response


def _audibility() -> Array:
    """Power weight per frequency, A-weighting (IEC 61672): what loudness measures roughly hear."""
    f2 = _FREQUENCIES**2
    return (
        12194**2 * f2**2 / ((f2 + 20.6**2) * np.sqrt((f2 + 107.7**2) * (f2 + 737.9**2)) * (f2 + 12194**2))
    ) ** 2


def _filter_frames(pulses: Array, noise: Array, mouth: _Articulation) -> Array:
    """Filter the sources frame by frame and add the frames up: (samples,).

    Each frame is scaled to the loudness asked for, so that tilt, formants and breath do not show in the energy.
    """
    octaves = np.log2(np.maximum(_FREQUENCIES, 60) / 500)
    response = _resonate(mouth.formants)
    onset, onset_hz = mouth.onset[:, None], mouth.onset_hz[:, None]
    voiced = response * 10 ** (mouth.tilt_db[:, None] * octaves / 20) * (1 - onset)
    bump = np.exp(-0.5 * ((_FREQUENCIES - onset_hz) / (0.25 * onset_hz)) ** 2)
    aspiration = mouth.breath[:, None] * response * 2.0 ** np.clip(octaves, 0, 3) * (1 - onset)
    hiss = aspiration + 4 * onset * bump
    heard = (np.abs(voiced) ** 2 + np.abs(hiss) ** 2) @ _audibility()
    gain = mouth.loudness / np.sqrt(heard + 1e-12)
    window = np.hanning(_WINDOW + 1)[:-1]
    padded = np.pad(np.stack([pulses, noise]), ((0, 0), (_WINDOW - _HOP, 2 * _WINDOW)))
    pieces = (
        np.lib.stride_tricks.sliding_window_view(padded, _WINDOW, axis=1)[:, ::_HOP][:, : len(gain)] * window
    )
    spectra = np.fft.rfft(pieces, _FFT)
    made = np.fft.irfft((spectra[0] * voiced + spectra[1] * hiss) * gain[:, None], _FFT)
    starts = np.arange(len(gain))[:, None] * _HOP + np.arange(_FFT)
    summed: Array = np.bincount(starts.ravel(), made.ravel()).astype(np.float64)
    return summed[_WINDOW - _HOP :][: pulses.size]


def _quantise(sound: Array, level_db: float, rng: np.random.Generator) -> Waveform:
    """Set the level (decibels of RMS re full scale), add a quiet room, and round to 16 bits."""
    scaled = sound * (10 ** (level_db / 20) / np.sqrt(np.mean(sound**2)))
    scaled = scaled + 10 ** (-62 / 20) * rng.standard_normal(scaled.size)
    scaled = scaled / max(1.0, float(np.abs(scaled).max()) / 0.98)
    return np.asarray(np.round(scaled * 32767) / 32768, dtype=np.float32)
