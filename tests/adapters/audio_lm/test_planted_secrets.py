"""A key, and a password in a server's address, are in nothing that a run writes, prints or raises, whatever the server says."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from adapters.audio_lm.model import store_path
from adapters.audio_lm.requests.client import Endpoint
from adapters.audio_lm.requests.reply_cache import ReplyStore
from bench.errors import BenchError, CannotRun
from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from bench.scoring.predictions import read_table
from tests.adapters.audio_lm.fault_server import Faults, running
from tests.command import command
from tests.conftest import write_tone_corpus

KEY, USER, PASSWORD = "sk-planted-key", "somebody", "planted p@ss/word"
SENT = {
    "key": (KEY,),
    "password": (
        PASSWORD,
        quote(PASSWORD, safe=""),
        base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(),
    ),
}
"""What a server was sent, in each form it may repeat it in."""
SECRETS = [secret for sent in SENT.values() for secret in sent]
CARD = """
name: one
family: audio-llm
track: released
adapter: adapters.audio_lm.model:AudioLanguageModel
params: {model: tiny, mode: free, request_seconds: 5, key_variable: TINY_KEY}
seeds: false
"""
MATRIX = "{name: asked, entries: [{systems: [./one.yaml], tasks: '*', protocol: zero-shot}]}"


@pytest.fixture(params=["key", "password"])
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A corpus, a card with a key or without one, and a matrix."""
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TINY_KEY", KEY)
    monkeypatch.delenv("SERBENCH_DATA", raising=False)
    card = CARD if request.param == "key" else CARD.replace(", key_variable: TINY_KEY", "")
    (tmp_path / "one.yaml").write_text(card)
    (tmp_path / "asked.yaml").write_text(MATRIX)
    write_tone_corpus(tmp_path / "data" / "tones", speakers=2)
    return tmp_path


@pytest.fixture
def echo(folder: Path) -> str:
    """An answer that repeats what the server was sent."""
    sent = SENT["key" if "key_variable" in (folder / "one.yaml").read_text() else "password"]
    return f"happy ({' '.join(sent)})"


def run(folder: Path, address: str) -> list[str]:
    """Run, with the password in the address where the card has no key; what the cells' failures say."""
    login = (
        "" if "key_variable" in (folder / "one.yaml").read_text() else f"{USER}:{quote(PASSWORD, safe='')}@"
    )
    carrying = address.replace("://", f"://{login}")
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
    folder: Path, echo: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[int] = []

    def refuses(body: dict[str, Any]) -> bool:
        seen.append(1)
        return len(seen) == 1

    with running(Faults(refuses=refuses, poison_words=echo, words=lambda body: echo)) as (_, address):
        errors = run(folder, address)
    printed = capsys.readouterr()
    statuses = [s for p in (folder / "run" / "tables").glob("*.parquet") for s in read_table(p).statuses]
    assert sorted(statuses) == ["failed", "ok", "ok", "ok"]
    assert found(folder, *errors, printed.out, printed.err) == []
    listed = command(monkeypatch, capsys)("replies", "list", folder / "one.yaml", "--json")
    assert found(folder, listed.out) == []


SICK: dict[str, Callable[[str], Faults]] = {
    "HTTP 400": lambda echo: Faults(refuses=lambda body: True, poison_words=echo),
    "error in a reply": lambda echo: Faults(reply=lambda body: {"error": {"message": echo}}),
    "names of models": lambda echo: Faults(models=(echo, "another")),
    "wrong key": lambda echo: Faults(key="another key"),
    "end of a reply": lambda echo: Faults(
        reply=lambda body: {
            "choices": [{"finish_reason": echo, "message": {"content": None, "reasoning": echo}}]
        }
    ),
}


@pytest.mark.parametrize("sick", SICK)
def test_no_failure_quotes_a_secret(
    folder: Path, echo: str, sick: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(SICK[sick](echo)) as (_, address):
        try:
            errors = run(folder, address)
        except BenchError as error:
            errors = [str(error), repr(error.__cause__), repr(error.__context__)]
    assert errors
    printed = capsys.readouterr()
    assert found(folder, *errors, printed.out, printed.err) == []


def test_an_address_with_a_user_and_a_card_with_a_key_are_one_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TINY_KEY", KEY)
    with pytest.raises(CannotRun, match="room for one") as caught:
        Endpoint(f"http://{USER}:{quote(PASSWORD, safe='')}@host/v1", "tiny", key_variable="TINY_KEY")
    assert not any(secret in str(caught.value) for secret in SECRETS)
