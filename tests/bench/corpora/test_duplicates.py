"""One recording under two names: found by its sound, whatever was done to it, and two takes are not one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from bench.corpora.decoded import decode_missing, open_table
from bench.corpora.duplicates import DecodedCorpus, duplicate_warnings, find_duplicates
from bench.corpora.prepared import find_corpora
from bench.tasks.corpus_report import describe_corpus
from tests.command import Command

RATE = 16_000


def speechlike(seed: int, seconds: float = 3.0) -> np.ndarray:  # type: ignore[type-arg]
    """Harmonic sound that moves the way speech does: no two seeds alike."""
    rng = np.random.default_rng(seed)
    n = int(seconds * RATE)
    knots = np.linspace(0, n, int(seconds * 6) + 2)
    pitch = np.interp(np.arange(n), knots, rng.uniform(100, 260, size=len(knots)))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    out = np.zeros(n)
    for k in range(1, 15):
        out += np.interp(np.arange(n), knots, rng.uniform(0, 1, size=len(knots))) * np.sin(k * phase) / k
    return 0.15 * out / np.abs(out).max() + 0.001 * rng.standard_normal(n)


def corpus(folder: Path, sounds: dict[str, tuple[str, np.ndarray]], pool: str = "") -> None:  # type: ignore[type-arg]
    folder.mkdir(parents=True)
    lines = ["file_name,speaker,emotion,language"]
    for name, (speaker, sound) in sounds.items():
        soundfile.write(folder / name, sound, RATE)
        lines.append(f"{name},{speaker},{'sad' if len(lines) % 2 else 'happy'},ms")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    card = f"name: {folder.name}\nlanguages: [ms]\n" + (f"pool: {pool}\n" if pool else "")
    (folder / "card.yaml").write_text(card, encoding="utf-8")


def decoded_corpora(root: Path, cache: Path) -> list[DecodedCorpus]:
    made = []
    for found in find_corpora([root])[0]:
        table = open_table(found, cache)
        decode_missing(table)
        made.append(DecodedCorpus.of(table))
    return made


def write_copies(root: Path, pool: str = "") -> None:
    originals = {f"a{i}.wav": (f"s{i}", speechlike(i)) for i in range(6)}
    corpus(root / "whole", originals, pool)
    sounds = [s for _, s in originals.values()]
    resampled = soxr.resample(soxr.resample(sounds[1], RATE, 22_050), 22_050, RATE)
    corpus(
        root / "pieces",
        {
            "cut.wav": ("x0", sounds[0][: 2 * RATE]),
            "resampled.wav": ("x1", 0.5 * resampled),
            "middle.wav": ("x2", sounds[2][12_345 : 12_345 + RATE]),
            "same.wav": ("x3", sounds[3]),
            "later.wav": ("x4", np.concatenate([np.zeros(5_000), sounds[4]])),
            "other.wav": ("x5", speechlike(99)),
        },
        pool,
    )


def test_copies_are_found_by_name_whatever_was_done_to_them(cache: Path, tmp_path: Path) -> None:
    write_copies(tmp_path / "data")
    corpora = decoded_corpora(tmp_path / "data", cache)
    found = find_duplicates(corpora, cache)
    by_clips = {d.clips: d for d in found}
    assert {(*d.clips, d.kind) for d in found} == {
        ("cut.wav", "a0.wav", "cut"),
        ("resampled.wav", "a1.wav", "copy"),
        ("middle.wav", "a2.wav", "cut"),
        ("same.wav", "a3.wav", "equal"),
        ("later.wav", "a4.wav", "copy"),
    }
    assert by_clips["middle.wav", "a2.wav"].start == pytest.approx(-12_345 / RATE, abs=1e-3)
    assert by_clips["later.wav", "a4.wav"].start == pytest.approx(5_000 / RATE, abs=1e-3)
    (undeclared,) = duplicate_warnings(corpora, found)["whole"]
    assert "pieces and whole hold 5 recording(s) in common" in undeclared
    assert "though their cards name the pools 'pieces' and 'whole': an undeclared copy" in undeclared
    assert find_duplicates(corpora, cache) == found  # from stored fingerprints


def test_a_cut_copy_in_another_corpus_of_the_pool_is_named_by_describe_and_run(
    serbench: Command, cache: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    write_copies(data, pool="bells")
    first = describe_corpus("whole", [data], cache)
    assert any("not compared with pieces, which is not decoded yet" in w for w in first.warnings)
    report = describe_corpus("pieces", [data], cache)
    assert Counter(d.kind for d in report.shared) == {"cut": 2, "copy": 2, "equal": 1}
    (message,) = [w for w in report.warnings if "recording(s) in common" in w]
    assert "first 'cut.wav' and 'a0.wav'; their cards declare the shared pool" in message
    assert "'cut.wav' and 'a0.wav'" in serbench("corpus", "verify", "pieces", "--data", data).out
    matrix = tmp_path / "m.yaml"
    matrix.write_text("name: m\nentries: [{systems: [majority], tasks: '*'}]\n", encoding="utf-8")
    done = serbench("run", matrix, "--data", data, "--out", tmp_path / "run")
    assert "pieces and whole hold 5 recording(s) in common" in done.out + done.err
    record = (tmp_path / "run/records/majority__whole.ms__within__clean.json").read_text(encoding="utf-8")
    assert "pieces and whole hold 5 recording(s) in common" in record


@pytest.mark.real
def test_every_clip_of_a_shortened_emodb_is_found_in_the_whole_one(
    cache: Path, real_corpus: Callable[[str], Path], tmp_path: Path
) -> None:
    source = real_corpus("emodb")
    sounds = {}
    for path in sorted((source / "audio").iterdir())[::5]:
        samples, rate = soundfile.read(path)
        assert rate == RATE
        sounds[f"{path.stem}.wav"] = (path.stem[:2], samples[: 2 * RATE])
    corpus(tmp_path / "short", sounds)
    made = [*decoded_corpora(tmp_path, cache), *decoded_corpora(source, cache)]
    across = [d for d in find_duplicates(made, cache) if len({*d.corpora}) == 2]
    assert len(across) == len(sounds) == 107
    assert all(Path(a).stem == Path(b).stem for a, b in (d.clips for d in across))
    assert {d.kind for d in across} == {"cut", "copy", "equal"}


@pytest.mark.real
def test_one_recording_of_indowave_stands_in_it_twice(
    cache: Path, real_corpus: Callable[[str], Path]
) -> None:
    found = find_duplicates(decoded_corpora(real_corpus("indowave"), cache), cache)
    assert [d.corpora for d in found] == [("indowave", "indowave")]
