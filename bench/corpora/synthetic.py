"""The synthetic corpus: generated vocal sounds (:mod:`bench.audio.synthesis`) of several speakers, as a prepared corpus.

For a machine without real recordings, and for tests that must know the truth.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.audio.synthesis import (
    DEFAULT_DIFFICULTY,
    EMOTIONS,
    LANGUAGES,
    Voice,
    draw_sentence,
    find_emotion,
    find_language,
    synthetic_clip,
    typical_length,
)
from bench.errors import DataError, UsageError
from bench.protocols import DIMENSIONS, SAMPLE_RATE
from bench.storage.atomic import clear_os_errors
from bench.storage.hashing import digest

__all__ = [
    "DEFAULT_DIFFICULTY",
    "EMOTIONS",
    "Voice",
    "synthetic_clip",
    "write_synthetic_corpus",
    "write_tiny_corpus",
]

GENERATOR_VERSION = 1
"""Raised whenever the same parameters give other samples: a folder of an older version is built anew."""
RAW_SCALE = (1.0, 7.0)
"""Ends of the rating scale in ``metadata.csv``."""
# Kinds of draws. Each stands before the numbers in a seed, because NumPy pads short seeds with zeros: (s, 0) = (s, 0, 0).
_SENTENCES, _VOICE, _CLIP, _VOTES = 1, 2, 3, 4


@dataclass(frozen=True)
class _Recipe:
    """Everything a corpus follows from; written beside it, to know a finished folder again."""

    seed: int
    speakers_per_language: int
    clips_per_emotion: int
    difficulty: float
    languages: tuple[str, ...]
    emotions: tuple[str, ...]
    seconds: tuple[float, float]
    scatter: float = 0.14
    """Standard deviation of a clip's own dimensions around its emotion's centre, in 0..1."""
    scripts_per_language: int = 6
    generator: int = GENERATOR_VERSION


@dataclass(frozen=True)
class _Utterance:
    file_name: str
    speaker: str
    voice: Voice
    emotion: str
    language: str
    script: str
    syllables: tuple[str, ...]
    place: tuple[float, ...]
    """Valence, arousal, dominance, 0..1."""
    key: tuple[int, int, int, int]
    """Language, speaker, emotion, take, as numbers."""


def write_synthetic_corpus(
    folder: Path,
    *,
    seed: int = 0,
    speakers_per_language: int = 8,
    clips_per_emotion: int = 3,
    difficulty: float = DEFAULT_DIFFICULTY,
    languages: Sequence[str] = ("qaa", "qab"),
    emotions: Sequence[str] = tuple(EMOTIONS),
    seconds: tuple[float, float] = (0.9, 1.5),
) -> None:
    """Write a prepared corpus of generated clips: ``audio/*.flac``, ``metadata.csv`` and ``recipe.json``.

    The folder appears whole or not at all. A finished one of the same recipe is left alone; a torn one, or one of an
    older generator, is built anew. Dimensions stand on the raw scale 1..7.

    Args:
        folder: where it is put.
        seed: same seed and recipe, same samples.
        speakers_per_language: voices of each language.
        clips_per_emotion: takes of each speaker and emotion.
        difficulty: how far clips stray from what is typical of their emotion, 0 or more.
        languages: made-up languages (private-use codes of BCP 47).
        emotions: canonical names.
        seconds: shortest and longest clip.

    Raises:
        UsageError: an unknown language or emotion, or numbers that give no corpus.
        DataError: the folder holds anything else.
    """
    recipe = _Recipe(
        seed, speakers_per_language, clips_per_emotion, difficulty, tuple(languages), tuple(emotions), seconds
    )
    _check(recipe)
    folder = Path(folder)
    if _is_finished(folder, recipe):
        return
    _refuse_what_is_not_ours(folder, recipe)
    with clear_os_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            fresh = Path(scratch) / "fresh"
            _write(fresh, recipe)
            _put_in_place(fresh, folder, Path(scratch) / "torn", recipe)


def write_tiny_corpus(folder: Path, *, seed: int = 0) -> None:
    """Write the smallest corpus that still has folds: 4 speakers × 2 emotions × 2 clips of half a second, in one language."""
    write_synthetic_corpus(
        folder, seed=seed, speakers_per_language=4, clips_per_emotion=2, languages=("qaa",),
        emotions=("neutral", "angry"), seconds=(0.5, 0.5),
    )  # fmt: skip


def _check(recipe: _Recipe) -> None:
    for language in recipe.languages:
        find_language(language)
    for emotion in recipe.emotions:
        find_emotion(emotion)
    if not (recipe.languages and recipe.emotions):
        raise UsageError("a synthetic corpus needs at least one language and one emotion; got none")
    shortest, longest = recipe.seconds
    if min(recipe.speakers_per_language, recipe.clips_per_emotion) < 1 or recipe.difficulty < 0:
        raise UsageError(
            "a synthetic corpus needs at least one speaker and one clip, and a difficulty of 0 or more; got "
            f"speakers_per_language={recipe.speakers_per_language}, clips_per_emotion={recipe.clips_per_emotion}, "
            f"difficulty={recipe.difficulty}"
        )
    if not 0.2 <= shortest <= longest:
        raise UsageError(
            f"seconds={recipe.seconds} is no range of durations: expected (shortest, longest), from 0.2 s on"
        )


def _utterances(recipe: _Recipe) -> Iterator[_Utterance]:
    for number, (language, index) in enumerate(
        ((language, index) for language in recipe.languages for index in range(recipe.speakers_per_language)),
        start=1,
    ):
        key = (tuple(LANGUAGES).index(language), index)
        rng = np.random.default_rng((recipe.seed, _VOICE, *key))
        voice = _draw_voice(index, rng)
        sentences = _sentences(recipe, language)
        order = rng.permutation(len(sentences))
        names = rng.permutation(len(recipe.emotions) * recipe.clips_per_emotion)
        takes = ((e, take) for e in range(len(recipe.emotions)) for take in range(recipe.clips_per_emotion))
        for (e, take), name in zip(takes, names, strict=True):
            emotion = recipe.emotions[e]
            script = int(order[(e + take) % len(order)])
            place = np.clip(rng.normal(EMOTIONS[emotion].centre, recipe.scatter), 0.02, 0.98)
            yield _Utterance(
                file_name=f"audio/{language}-{number:02d}-{name:03d}.flac", speaker=f"{number:02d}", voice=voice,
                emotion=emotion, language=language, script=f"{language}-{script:02d}", syllables=sentences[script],
                place=tuple(float(x) for x in place), key=(*key, e, take),
            )  # fmt: skip


def _sentences(recipe: _Recipe, language: str) -> list[tuple[str, ...]]:
    """Draw the language's sentences, one syllable shorter, as long as, and one longer than what fills the duration."""
    rng = np.random.default_rng((recipe.seed, _SENTENCES, tuple(LANGUAGES).index(language)))
    typical = typical_length(recipe.seconds)
    lengths = (max(1, typical + i % 3 - 1) for i in range(recipe.scripts_per_language))
    return [draw_sentence(LANGUAGES[language], n, rng) for n in lengths]


def _draw_voice(index: int, rng: np.random.Generator) -> Voice:
    """Draw a speaker: women and men alternate; level and brightness vary so that neither alone tells arousal."""
    female = index % 2 == 0
    return Voice(
        f0=float((195 if female else 125) * 2 ** rng.uniform(-0.2, 0.2)),
        formant_scale=float((1.10 if female else 0.98) * 2 ** rng.uniform(-0.05, 0.05)),
        gain_db=float(rng.normal(0, 4)),
        tilt_db=float(rng.normal(0, 1.0)),
        gender="female" if female else "male",
    )


def _votes(utterance: _Utterance, recipe: _Recipe) -> str:
    """Ten simulated listeners as JSON counts: six hear the emotion meant, four what lies near the clip's own place."""
    distance = np.array(
        [np.sum((np.array(EMOTIONS[e].centre) - utterance.place) ** 2) for e in recipe.emotions]
    )
    weight = np.exp(-distance / (2 * 0.2**2))
    rng = np.random.default_rng((recipe.seed, _VOTES, *utterance.key))
    counts = rng.multinomial(4, weight / weight.sum()) + 6 * np.array(
        [e == utterance.emotion for e in recipe.emotions]
    )
    return json.dumps({e: int(n) for e, n in zip(recipe.emotions, counts, strict=True) if n})


def _write(folder: Path, recipe: _Recipe) -> None:
    """Write audio first, then the table, then the recipe that declares the folder finished."""
    import soundfile

    (folder / "audio").mkdir(parents=True)
    rows = []
    for utterance in _utterances(recipe):
        valence, arousal, dominance = utterance.place
        waveform = synthetic_clip(
            utterance.emotion, valence=valence, arousal=arousal, dominance=dominance, voice=utterance.voice,
            language=utterance.language, syllables=utterance.syllables, seconds=recipe.seconds,
            difficulty=recipe.difficulty, seed=(recipe.seed, _CLIP, *utterance.key),
        )  # fmt: skip
        samples = np.round(waveform * 32768).astype(np.int16)
        soundfile.write(folder / utterance.file_name, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        rows.append(_row(utterance, recipe, waveform.size))
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: row["file_name"]))
    (folder / "metadata.csv").write_text(table.getvalue(), encoding="utf-8")
    finished = {"recipe": asdict(recipe), "contents": _contents(folder)}
    (folder / "recipe.json").write_text(json.dumps(finished, indent=1) + "\n", encoding="utf-8")


def _row(utterance: _Utterance, recipe: _Recipe, samples: int) -> dict[str, str]:
    low, high = RAW_SCALE
    ratings = (f"{low + (high - low) * x:.3f}" for x in utterance.place)
    return {
        "file_name": utterance.file_name,
        "speaker": utterance.speaker,
        "emotion": utterance.emotion,
        **dict(zip(DIMENSIONS, ratings, strict=True)),
        "language": utterance.language,
        "transcript": " ".join(utterance.syllables),
        "gender": utterance.voice.gender,
        "soft_votes": _votes(utterance, recipe),
        "script": utterance.script,
        "duration_s": f"{samples / SAMPLE_RATE:.4f}",
    }


def _contents(folder: Path) -> str:
    """Hash the names and sizes of the corpus's files: enough to notice a lost or cut one, without reading audio."""
    files = [*sorted((folder / "audio").iterdir()), folder / "metadata.csv"]
    return digest(*(part for f in files for part in (f.name, str(f.stat().st_size))))


def _is_finished(folder: Path, recipe: _Recipe) -> bool:
    try:
        stated = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        return bool(
            stated == {"recipe": json.loads(json.dumps(asdict(recipe))), "contents": _contents(folder)}
        )
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False


def _refuse_what_is_not_ours(folder: Path, recipe: _Recipe) -> None:
    """Never delete what this generator did not write, nor swap a corpus for one of another recipe unasked."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; a synthetic corpus needs a folder: give another path")
    ours = re.compile(r"audio|metadata\.csv|recipe\.json|audio/q\w\w-\d+-\d+\.flac")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not ours.fullmatch(name):
            raise DataError(
                f"{folder} holds {name}, which is not of a synthetic corpus: give an empty or a new folder"
            )
    try:
        stated = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))["recipe"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return
    wanted = json.loads(json.dumps(asdict(recipe)))
    differing = [k for k in wanted if k != "generator" and stated.get(k) != wanted[k]]
    if differing:
        differences = ", ".join(f"{k} {stated.get(k)} (asked for {wanted[k]})" for k in differing)
        raise DataError(
            f"{folder} holds a synthetic corpus of another recipe: {differences}; remove it or give another folder"
        )


def _put_in_place(fresh: Path, folder: Path, aside: Path, recipe: _Recipe) -> None:
    """Rename the finished folder into place; where another process was faster, keep its equal one."""
    if folder.exists() and not _is_finished(folder, recipe):
        folder.rename(aside)
    try:
        fresh.rename(folder)
    except OSError as error:
        if not _is_finished(folder, recipe):
            raise DataError(
                f"cannot put the synthetic corpus at {folder}: {error.strerror}; remove that folder"
            ) from error
