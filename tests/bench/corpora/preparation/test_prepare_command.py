"""``serbench corpus prepare`` as a user meets it."""

from __future__ import annotations

import functools
import http.server
import json
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.corpora.preparation.sources import write_file, write_sound
from tests.command import Command

CARD = r"""
name: toy
languages: [ta]
access: open
verification: layout
clips: 4
layout:
  cites: a published listing
  parts:
    - audio: ["**/*.wav"]
      pattern: '(?P<speaker>\w+)_(?P<emotion>[a-z]+)\.wav'
"""


def source(folder: Path) -> Path:
    for name in ("1_happy.wav", "1_sad.wav", "2_happy.wav", "2_sad.wav"):
        write_sound(folder, name)
    return folder


def test_a_download_becomes_a_corpus_among_the_data(serbench: Command, tmp_path: Path) -> None:
    own = write_file(tmp_path, "toy.yaml", CARD)
    (tmp_path / "data").mkdir()
    result = serbench(
        "corpus", "prepare", own, "--source", source(tmp_path / "s"), "--data", tmp_path / "data"
    )
    assert result.code == 0, result.err
    assert "toy: 4 of 4 clips, 2 speakers" in result.out
    assert "0 faults" in result.out
    listed = serbench("list", "tasks", "--data", tmp_path / "data", "--json")
    assert "toy.ta" in listed.out
    assert serbench("corpus", "verify", "toy", "--data", tmp_path / "data").code == 0


def test_a_folder_with_its_card_needs_no_more_words(serbench: Command, tmp_path: Path) -> None:
    write_file(source(tmp_path / "s"), "card.yaml", CARD)
    assert serbench("corpus", "prepare", tmp_path / "s", "--out", tmp_path / "out").code == 0
    write_file(tmp_path / "s", "other.yaml", CARD)
    assert (
        "holds 2 YAML files"
        in serbench("corpus", "prepare", tmp_path / "s", "--out", tmp_path / "o").sentence
    )
    inside = (
        "corpus",
        "prepare",
        tmp_path / "s/card.yaml",
        "--source",
        tmp_path / "s",
        "--out",
        tmp_path / "s/out",
    )
    assert "lies inside the source" in serbench(*inside).sentence


def test_faults_are_a_table_and_an_exit_code(serbench: Command, tmp_path: Path) -> None:
    own = write_file(tmp_path, "toy.yaml", CARD)
    folder = source(tmp_path / "s")
    (folder / "1_sad.wav").write_bytes(b"")
    (folder / "2_sad.wav").unlink()
    result = serbench("corpus", "prepare", own, "--source", folder, "--out", tmp_path / "out")
    assert result.code == 1
    assert "undecodable" in result.out
    assert "the file is empty (0 bytes)" in result.out
    assert "found 3, the card promises 4" in result.out
    again = serbench("corpus", "prepare", own, "--source", folder, "--out", tmp_path / "out", "--json")
    assert (again.code, again.json["faults"], again.json["folder"]) == (1, 2, str(tmp_path / "out"))
    report = json.loads((tmp_path / "out/prepare-report.json").read_text(encoding="utf-8"))
    assert report["problems"] == again.json["problems"]


def test_the_destination_is_said_and_no_second_copy_is_made(
    serbench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = write_file(tmp_path, "toy.yaml", CARD)
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    made = serbench("corpus", "prepare", own, "--source", source(tmp_path / "s"), "--data", second)
    assert f"preparing toy in {second / 'toy'}" in made.out
    monkeypatch.setenv("SERBENCH_DATA", f"{first}:{second}")
    result = serbench("corpus", "prepare", own, "--source", tmp_path / "s")
    assert result.code == 2
    assert f"holds a corpus 'toy' already, and a second copy would go to {first / 'toy'}" in result.err
    assert not any(first.iterdir())
    assert serbench("corpus", "prepare", own, "--source", tmp_path / "s", "--data", first).code == 0


def test_a_shipped_corpus_may_be_prepared_in_a_folder_of_another_name(
    serbench: Command, tmp_path: Path
) -> None:
    write_sound(tmp_path / "s", "Actor_01/03-01-04-01-01-01-01.wav")
    serbench("corpus", "prepare", "ravdess", "--source", tmp_path / "s", "--out", tmp_path / "mine")
    assert serbench("corpus", "verify", tmp_path / "mine").code == 0
    assert "ravdess" in serbench("corpus", "describe", tmp_path / "mine").out


def test_odd_file_names_are_told_and_lose_nothing(serbench: Command, tmp_path: Path) -> None:
    own = write_file(tmp_path, "toy.yaml", CARD)
    folder = source(tmp_path / "s")
    for name in (b"caf\xe9_sad.mp3.wav", "caf\u00e9_sad.wav".encode(), "cafe\u0301_sad.wav".encode()):
        (folder / os.fsdecode(name)).write_bytes((folder / "1_sad.wav").read_bytes())
    result = serbench("corpus", "prepare", own, "--source", folder, "--out", tmp_path / "out", "--json")
    assert result.code == 1
    # Composed and decomposed spelling are two files; the pattern takes no combining mark, so one is told.
    shown = {p["where"] for p in result.json["problems"]}
    assert {r"caf\xe9_sad.mp3.wav", "cafe\u0301_sad.wav"} <= shown
    assert result.json["found"]["clips"] == 5


def test_refusals_are_one_sentence(serbench: Command, tmp_path: Path) -> None:
    assert (
        "did you mean 'synthetic'" in serbench("corpus", "prepare", "synthetc", "--source", tmp_path).sentence
    )
    own = write_file(
        tmp_path, "toy.yaml", CARD.replace("open", "form").replace("cites", "obtain: write to us\n  cites")
    )
    assert "write to us" in serbench("corpus", "prepare", own, "--out", tmp_path / "out").sentence
    guessed = write_file(
        tmp_path, "toy.yaml", CARD.replace("verification: layout", "verification: described")
    )
    result = serbench(
        "corpus", "prepare", guessed, "--source", source(tmp_path / "s"), "--out", tmp_path / "out"
    )
    assert "--unverified" in result.sentence
    again = (
        "corpus",
        "prepare",
        guessed,
        "--source",
        tmp_path / "s",
        "--out",
        tmp_path / "out",
        "--unverified",
    )
    assert serbench(*again).code == 0
    assert (
        "name a folder with --data"
        in serbench("corpus", "prepare", own, "--source", tmp_path).sentence.lower()
    )


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server on this machine that gives out what lies in ``web``."""
    (tmp_path / "web").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


def test_an_open_corpus_is_fetched_checked_unpacked_and_prepared(
    serbench: Command, tmp_path: Path, address: str, cache: Path
) -> None:
    folder = source(tmp_path / "s")
    with zipfile.ZipFile(tmp_path / "web/toy.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"toy/{path.name}")
    size = (tmp_path / "web/toy.zip").stat().st_size
    card = CARD.replace("  parts", f'  downloads: [{{url: "{address}/toy.zip", bytes: {size}}}]\n  parts')
    result = serbench("corpus", "prepare", write_file(tmp_path, "toy.yaml", card), "--out", tmp_path / "out")
    assert result.code == 0, result.err
    assert [p.name for p in (cache / "downloads/toy").iterdir()] == ["toy.zip"]
    assert len(list((tmp_path / "out").rglob("*.flac"))) == 4
    assert {p.name for p in (tmp_path / "out/.prepare").iterdir()} == {"clips.jsonl", "lock"}
