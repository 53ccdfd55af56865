"""What users get wrong, and what they are told: one sentence, exit code 1 or 2, never a traceback."""

from __future__ import annotations

import csv
import errno
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.scoring.predictions import read_table
from tests.command import Command
from tests.conftest import write_tone_corpus

MATRIX = """\
name: small
entries:
  - systems: [majority, chance]
plan: {resamples: 1000, permutations: 1000}
"""


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(MATRIX)
    return path


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "metadata.csv"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_data_folder_that_is_not_there(serbench: Command, matrix: Path, tmp_path: Path) -> None:
    result = serbench("run", matrix, "--data", tmp_path / "nowhere", "--dry-run")
    assert result.code == 2
    assert "nowhere: no such folder (--data must name folders" in result.sentence


def test_a_data_folder_without_corpora(serbench: Command, matrix: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = serbench("run", matrix, "--data", tmp_path / "empty", "--dry-run")
    assert "holds no prepared corpus (expected a metadata.csv" in result.sentence


def test_a_corpus_without_clips(serbench: Command, matrix: Path, tone_corpus: Path) -> None:
    (tone_corpus / "metadata.csv").write_text("file_name,speaker,emotion\n")
    for arguments in (
        ("run", matrix, "--data", tone_corpus, "--dry-run"),
        ("corpus", "describe", tone_corpus),
    ):
        assert "the corpus is empty (a header and no clips)" in serbench(*arguments).sentence
    (tone_corpus / "metadata.csv").write_text("")
    assert "has no column 'file_name'" in serbench("corpus", "describe", tone_corpus).sentence


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("file_name,", "filename,", "has no column 'file_name'; did you mean 'filename'?"),
        (",emotion,", ",feeling,", "has neither a column 'emotion' nor one of valence, arousal, dominance"),
        ("05,angry", "05,angrry", "unknown emotion name 'angrry' (2 clips, first in clip 35)"),
        ("05,angry", "05,angrry", "did you mean 'angry'?"),
        ("angry-0.wav", "angry-1.wav", "6 file_name(s) are listed more than once"),
        ("audio/s0-angry-0.wav", "../s0-angry-0.wav", "must be a path inside the corpus folder"),
        ("05,angry,ms", "05,angry,malay", "language 'malay' is no BCP 47 language tag"),
        ("05,angry,ms", "05,angry,ta", "language 'ta' is not on the card of 'tones' (ms)"),
        ("05,angry,ms", "05,angry", "line 36: has not the 4 cells of the header"),
    ],
)
def test_metadata_that_cannot_be_meant(
    serbench: Command, matrix: Path, tone_corpus: Path, old: str, new: str, part: str
) -> None:
    edit(tone_corpus, old, new)
    result = serbench("run", matrix, "--data", tone_corpus, "--dry-run")
    assert part in result.sentence
    assert "metadata.csv" in result.err


@pytest.mark.parametrize(
    ("value", "card", "part"),
    [
        ("6", "scale: [1, 5]", "valence is 6, outside the card's scale 1 to 5"),
        ("high", "scale: [1, 5]", "valence is 'high', expected a number or nothing"),
        ("3", "", "has valence from 3 to 3, but the card gives no scale; add e.g. 'scale: [1, 5]'"),
    ],
)
def test_dimensions_that_cannot_be_meant(
    serbench: Command, tone_corpus: Path, value: str, card: str, part: str
) -> None:
    (tone_corpus / "metadata.csv").write_text(f"file_name,valence\naudio/s0-sad-0.wav,{value}\n")
    (tone_corpus / "card.yaml").write_text(f"name: tones\n{card}\n")
    assert part in serbench("corpus", "describe", tone_corpus).sentence


def test_a_speaker_on_both_sides_of_the_cards_own_split(
    serbench: Command, matrix: Path, tone_corpus: Path
) -> None:
    path = tone_corpus / "metadata.csv"
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    folds = itertools.cycle("abc")
    path.write_text("\n".join([f"{header},part", *(f"{line},{next(folds)}" for line in lines)]) + "\n")
    (tone_corpus / "card.yaml").write_text("name: tones\nlanguages: [ms]\ncolumns: {split: part}\n")
    result = serbench("run", matrix, "--data", tone_corpus, "--out", matrix.parent / "run", "--workers", "1")
    assert "6 speaker(s) stand on several sides of the split, first 'tones/00'" in result.sentence
    assert not list((matrix.parent / "run").glob("records/*"))


def test_a_card_with_a_key_nobody_knows(serbench: Command, matrix: Path, tone_corpus: Path) -> None:
    (tone_corpus / "card.yaml").write_text("name: tones\n\nlanguage: [ms]\n")
    result = serbench("run", matrix, "--data", tone_corpus, "--dry-run")
    assert result.code == 2
    expected = f"{tone_corpus / 'card.yaml'}, line 3: unknown key 'language'; did you mean 'languages'?"
    assert expected in result.sentence


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("majority, chance", "unknown system 'majorty'; did you mean 'majority'?"),
        ("entries:", "line 2: unknown key 'entrys'; did you mean 'entries'?"),
        ("plan: {", "plan.metric"),
    ],
)
def test_a_matrix_with_a_slip(
    serbench: Command, matrix: Path, tone_corpus: Path, text: str, part: str
) -> None:
    slip = {"majority, chance": "majorty", "entries:": "entrys:", "plan: {": "plan: {metric: ua, "}[text]
    matrix.write_text(MATRIX.replace(text, slip))
    result = serbench("run", matrix, "--data", tone_corpus, "--dry-run")
    assert result.code == 2
    assert part in result.sentence


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["run", "quik"], "unknown matrix 'quik'; did you mean 'quick'?"),
        (["run", "none.yaml"], "none.yaml: no such file"),
        (["corpus", "describe", "indowav"], "no corpus 'indowav'; did you mean 'indowave'?"),
        (["corpus", "verify", "indowave"], "has a card but no prepared folder"),
        (["check", "majorty"], "did you mean 'majority'?"),
        (["score", "no-run"], "is no run"),
    ],
)
def test_names_that_do_not_exist(serbench: Command, tmp_path: Path, arguments: list[str], part: str) -> None:
    assert part in serbench(*arguments).sentence


def test_an_output_folder_that_cannot_be_made(serbench: Command, matrix: Path, tone_corpus: Path) -> None:
    result = serbench("run", matrix, "--data", tone_corpus, "--out", matrix / "run", "--workers", "1")
    assert result.code == 1
    assert "cannot be written, a file stands where a folder is needed" in result.sentence


def test_a_cache_folder_that_cannot_be_made(
    serbench: Command, matrix: Path, tone_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERBENCH_CACHE", str(matrix / "cache"))
    for arguments in (
        ("run", matrix, "--data", tone_corpus, "--out", matrix.parent / "run", "--workers", "1"),
        ("corpus", "describe", tone_corpus),
        ("run", "quick", "--dry-run"),  # on the built-in corpus, which is made in the cache
    ):
        assert "cannot be written, a file stands where a folder is needed" in serbench(*arguments).sentence


@pytest.mark.parametrize(
    ("number", "part"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "no permission")],
)
def test_a_disk_that_refuses(
    serbench: Command,
    matrix: Path,
    tone_corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    part: str,
) -> None:
    assert serbench("corpus", "describe", tone_corpus).code == 0  # decoded: the run itself is what is refused

    def refuse(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", refuse)
    result = serbench("run", matrix, "--data", tone_corpus, "--out", matrix.parent / "run", "--workers", "1")
    assert part in result.sentence
    assert not list((matrix.parent / "run").glob(".*.tmp"))  # nothing half written stays behind


def test_clips_without_sound_are_rows_and_the_run_goes_on(
    serbench: Command, matrix: Path, tone_corpus: Path
) -> None:
    audio, out = tone_corpus / "audio", matrix.parent / "run"
    (audio / "s0-sad-0.wav").write_bytes(b"RIFF and then nothing")
    (audio / "s1-sad-0.wav").write_bytes(b"")
    (audio / "s2-sad-0.wav").unlink()
    soundfile.write(audio / "s3-sad-0.wav", np.zeros((0, 1)), 16_000)
    soundfile.write(audio / "s4-sad-0.wav", np.full(8000, np.nan), 16_000, subtype="FLOAT")
    result = serbench("run", matrix, "--data", tone_corpus, "--out", out, "--workers", "1")
    assert result.code == 0, result.err + result.out
    tables = [read_table(p) for p in sorted((out / "tables").glob("*.parquet"))]
    majority = [t for t in tables if t.identity["system"] == "majority"]
    rows = {c: (s, a) for t in majority for c, s, a in zip(t.clip_ids, t.statuses, t.answers, strict=True)}
    assert len(rows) == sum(len(t.clip_ids) for t in majority) == 36
    silent = {f"audio/s{i}-sad-0.wav" for i in range(5)}
    assert {c for c, (status, _) in rows.items() if status == "undecodable"} == silent
    assert all(rows[c][1] is None for c in silent)
    assert all(status == "ok" for c, (status, _) in rows.items() if c not in silent)
    score = next(
        s for s in serbench("score", out, "--json").json
        if (s["system"], s["metric"], s["rows"], s["view"]) == ("majority", "ua", "all", "native")
    )  # fmt: skip
    assert score["coverage"] == pytest.approx(31 / 36)


def test_a_users_own_folder_runs_end_to_end(serbench: Command, tmp_path: Path) -> None:
    folder = own_folder(tmp_path / "data" / "our-calls")
    matrix = tmp_path / "ours.yaml"
    matrix.write_text(MATRIX.replace("majority, chance", "majority, chance, egemaps-linear"))
    result = serbench("run", matrix, "--data", folder.parent, "--out", tmp_path / "run", "--workers", "1")
    assert result.code == 0, result.err + result.out
    scores = [s for s in serbench("score", tmp_path / "run", "--json").json if s["rows"] == "all"]
    assert {s["task"] for s in scores} == {"our-calls.ms", "our-calls.en-SG"}
    assert {s["metric"] for s in scores} >= {"ua", "wa", "macro_f1", "ccc"}
    ua = {
        (s["task"], s["system"]): s["estimate"]
        for s in scores
        if (s["metric"], s["view"]) == ("ua", "native")
    }
    for task in ("our-calls.ms", "our-calls.en-SG"):
        assert ua[task, "majority"] == pytest.approx(0.5)
        assert (
            ua[task, "egemaps-linear"] > 0.9
        )  # pitch tells the label; whoever loses it on the way is at chance


def own_folder(folder: Path) -> Path:
    """Somebody's own recordings: 44.1 kHz stereo, own label names, a 1..5 scale, two languages, one session per file."""
    rng = np.random.default_rng(0)
    time = np.arange(int(0.5 * 44_100)) / 44_100
    folder.mkdir(parents=True)
    rows = []
    for speaker, label, take in itertools.product(range(8), ("gembira", "marah-marah"), range(2)):
        pitch = (140 if label == "gembira" else 260) + 3 * speaker
        voice = sum(0.2 / k * np.sin(2 * np.pi * k * pitch * time) for k in range(1, 8))
        both = np.stack([voice, 0.5 * voice], axis=1) + 0.003 * rng.standard_normal((len(time), 2))
        name = f"call {speaker}-{take} {label}.wav"
        soundfile.write(folder / name, both, 44_100)
        valence = 4 if label == "gembira" else 2
        rows.append(
            {"file_name": name, "speaker": speaker, "emotion": label, "valence": valence, "arousal": 3 + take,
             "dominance": "", "language": ("ms", "en-SG")[speaker % 2], "session": f"call-{len(rows)}"}
        )  # fmt: skip
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "card.yaml").write_text(
        "name: our-calls\nlanguages: [ms, en-SG]\nlabels: {gembira: happy, marah-marah: angry}\nscale: [1, 5]\n"
        "licence: ours, not for publication\n"
    )
    return folder


def test_one_sentence_even_from_a_fresh_process_and_a_foreign_folder(tmp_path: Path) -> None:
    write_tone_corpus(tmp_path / "tones")
    (tmp_path / "tones" / "card.yaml").write_text("nmae: tones\n")
    done = subprocess.run(
        [sys.executable, "-m", "bench.cli", "corpus", "describe", "tones"],
        cwd=tmp_path, env=os.environ | {"SERBENCH_CACHE": str(tmp_path / "cache")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert "line 1: unknown key 'nmae'; did you mean 'name'?" in done.stderr
