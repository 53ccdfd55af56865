"""A key, and a password in a server's address, are in nothing that a run writes, prints or raises, whatever the server says."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from adapters.audio_lm.model import store_path
from adapters.audio_lm.requests.reply_cache import ReplyStore
from bench.errors import BenchError
from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from bench.scoring.predictions import read_table
from tests.adapters.audio_lm.fault_server import Faults, running
from tests.command import command
from tests.conftest import write_tone_corpus

KEY, USER, PASSWORD = "sk-planted-key", "somebody", "planted p@ss/word"
SECRETS = (KEY, PASSWORD, quote(PASSWORD, safe=""), base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
ECHO = f"happy ({' '.join(SECRETS)})"
CARD = """
name: one
family: audio-llm
track: released
adapter: adapters.audio_lm.model:AudioLanguageModel
params: {model: tiny, mode: free, request_seconds: 5, key_variable: TINY_KEY}
seeds: false
"""
MATRIX = "{name: asked, entries: [{systems: [./one.yaml], tasks: '*', protocol: zero-shot}]}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus, a card with a key, and a matrix."""
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TINY_KEY", KEY)
    monkeypatch.delenv("SERBENCH_DATA", raising=False)
    (tmp_path / "one.yaml").write_text(CARD)
    (tmp_path / "asked.yaml").write_text(MATRIX)
    write_tone_corpus(tmp_path / "data" / "tones", speakers=2)
    return tmp_path


def run(folder: Path, address: str) -> list[str]:
    """Run with the password in the address; what the cells' failures say."""
    carrying = address.replace("://", f"://{USER}:{quote(PASSWORD, safe='')}@")
    settings = RunSettings(
        str(folder / "asked.yaml"),
        (folder / "data",),
        folder / "run",
        workers=1,
        settings={"one": {"server": carrying}},
        limit=4,
    )
    return [str(cell.error) for cell in run_matrix(settings, Reporter()).failed]


def told(folder: Path) -> Iterator[tuple[str, str]]:
    """Everything that lies there, by file; tables and databases opened."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        yield path.name, path.read_bytes().decode("utf-8", errors="replace")
        if path.parent.name == "tables" and path.suffix == ".parquet":
            yield path.name, str(read_table(path))
        if path.suffix in (".sqlite", ".db"):
            with sqlite3.connect(path) as database:
                yield path.name, "\n".join(database.iterdump())
    with ReplyStore(store_path("tiny")) as store:
        yield "replies", str([s.reply for s in store.stored()])


def found(folder: Path, *texts: str) -> list[tuple[str, str]]:
    return [
        (name, secret)
        for name, text in [*told(folder), ("said", " ".join(texts))]
        for secret in SECRETS
        if secret in text
    ]


def test_a_server_that_repeats_what_it_was_sent_gives_nothing_away(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[int] = []

    def refuses(body: dict[str, Any]) -> bool:
        seen.append(1)
        return len(seen) == 1

    with running(Faults(refuses=refuses, poison_words=ECHO, words=lambda body: ECHO)) as (_, address):
        errors = run(folder, address)
    printed = capsys.readouterr()
    statuses = [s for p in (folder / "run" / "tables").glob("*.parquet") for s in read_table(p).statuses]
    assert sorted(statuses) == ["failed", "ok", "ok", "ok"]
    assert found(folder, *errors, printed.out, printed.err) == []
    listed = command(monkeypatch, capsys)("replies", "list", folder / "one.yaml", "--json")
    assert found(folder, listed.out) == []


@pytest.mark.parametrize(
    "faults",
    [
        Faults(refuses=lambda body: True, poison_words=ECHO),
        Faults(reply=lambda body: {"error": {"message": ECHO}}),
        Faults(models=(ECHO, KEY)),
        Faults(key="another key"),
        Faults(
            reply=lambda body: {
                "choices": [{"finish_reason": ECHO, "message": {"content": None, "reasoning": ECHO}}]
            }
        ),
    ],
    ids=["HTTP 400", "error in a reply", "names of models", "wrong key", "words under reasoning"],
)
def test_no_failure_quotes_a_secret(folder: Path, faults: Faults, capsys: pytest.CaptureFixture[str]) -> None:
    with running(faults) as (_, address):
        try:
            errors = run(folder, address)
        except BenchError as error:
            errors = [str(error), repr(error.__cause__), repr(error.__context__)]
    assert errors
    printed = capsys.readouterr()
    assert found(folder, *errors, printed.out, printed.err) == []
