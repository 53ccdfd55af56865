"""The gate through ``serbench run``: a cell without an answer fails, and the same folder asks again when the server is well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.audio_lm.model import store_path
from adapters.audio_lm.requests.reply_cache import ReplyStore
from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings, RunSummary
from bench.execution.progress import Reporter
from bench.scoring.predictions import read_table
from tests.adapters.audio_lm.asked_model import clip_sent
from tests.adapters.audio_lm.fault_server import Faults, completion, running
from tests.adapters.audio_lm.unusable_replies import NO_REPLY
from tests.command import command
from tests.conftest import write_tone_corpus

CARD = """
name: one
family: audio-llm
track: released
adapter: adapters.audio_lm.model:AudioLanguageModel
params: {model: tiny, mode: free, request_seconds: 5}
seeds: false
"""
MATRIX = "{name: asked, entries: [{systems: [./one.yaml], tasks: '*', protocol: zero-shot}]}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus, a card and a matrix."""
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SERBENCH_DATA", raising=False)
    (tmp_path / "one.yaml").write_text(CARD)
    (tmp_path / "asked.yaml").write_text(MATRIX)
    write_tone_corpus(tmp_path / "data" / "tones", speakers=2)
    return tmp_path


def run(folder: Path, address: str | None) -> RunSummary:
    settings = RunSettings(
        str(folder / "asked.yaml"),
        (folder / "data",),
        folder / "run",
        workers=1,
        settings={"one": {"server": address}} if address else {},
        limit=4,
    )
    return run_matrix(settings, Reporter())


def statuses(folder: Path) -> list[str]:
    return sorted(s for p in (folder / "run" / "tables").glob("*.parquet") for s in read_table(p).statuses)


def test_a_cell_without_an_answer_fails_and_the_same_folder_asks_again(folder: Path) -> None:
    sick, well = NO_REPLY["error"][0], completion("happy")
    with running(Faults(reply=lambda body: sick())) as (server, address):
        for _ in range(2):
            summary = run(folder, address)
            assert (summary.computed, len(summary.failed)) == (0, 1)
            assert "no usable answer in 4 of 4" in str(summary.failed[0].error)
            assert "Internal Server Error" in str(summary.failed[0].error)
        assert server.asked.total() == 2 * 4 * 3
    assert not list((folder / "run" / "records").glob("*.json"))
    with running(Faults(reply=lambda body: well)) as (server, address):
        summary = run(folder, address)
        assert (summary.computed, len(summary.failed), server.asked.total()) == (1, 0, 4)
    assert statuses(folder) == ["ok"] * 4


def test_what_failed_in_a_finished_cell_is_asked_again_and_the_cell_stays_while_that_fails(
    folder: Path,
) -> None:
    first: list[int] = []

    def reply(body: dict[str, Any]) -> dict[str, Any]:
        sound = hash(json.dumps(body["messages"]))
        first[:] = first or [sound]
        return NO_REPLY["null"][0]() if sound == first[0] else completion("happy")

    with running(Faults(reply=reply)) as (_, address):
        assert run(folder, address).computed == 1
        assert statuses(folder) == ["failed", "ok", "ok", "ok"]
    summary = run(folder, None)
    assert (summary.computed, summary.kept, summary.failed) == (0, 1, ())
    assert statuses(folder) == ["failed", "ok", "ok", "ok"]
    with running(Faults(words=lambda body: "happy")) as (server, address):
        assert run(folder, address).computed == 1
        assert server.asked.total() == 1
        assert statuses(folder) == ["ok"] * 4
        assert run(folder, address).computed == 0
        assert server.asked.total() == 1


def test_a_request_that_was_refused_is_not_asked_again_and_again(folder: Path) -> None:
    seen: list[int] = []

    def poisoned(body: dict[str, Any]) -> bool:
        seen.append(clip_sent(body)[1])
        return len(seen) == 1

    with running(Faults(refuses=poisoned)) as (server, address):
        assert run(folder, address).computed == 1
        assert sorted(statuses(folder)) == ["failed", "ok", "ok", "ok"]
        assert run(folder, address).computed == 0
        assert server.asked.total() == 4


def test_stored_replies_are_listed_and_forgotten(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serbench = command(monkeypatch, capsys)
    card = folder / "one.yaml"
    assert serbench("replies", "list", card, "--json").json == []
    with ReplyStore(store_path("tiny")) as store:
        for i, (made, _) in enumerate(NO_REPLY.values()):
            store.put(f"bad {i}", made(), 0.1)
        store.put("letter", completion("B", finish_reason="length"), 0.1)
        store.put("happy", completion("Happy!"), 0.1)
        store.put("sad", completion("sad"), 0.1)
        store.put("text", {"tokens": [1]}, 0.0)
    (listed,) = serbench("replies", "list", card, "--json").json
    assert listed["replies"] == len(NO_REPLY) + 3
    assert listed["unusable"] == len(NO_REPLY) + 1 == sum(listed["causes"].values())
    assert listed["causes"]["the reply has no choices"] == 1
    assert listed["causes"]["the reply holds no log-probabilities"] == 1
    assert "tiny" in serbench("replies", "list").out
    assert "--unusable" in serbench("replies", "forget", card).sentence
    assert "majority has no stored replies" in serbench("replies", "forget", "majority", "--all").sentence
    forgotten = serbench("replies", "forget", card, "--unusable", "--json").json
    assert (forgotten["forgotten"], forgotten["left"]) == (len(NO_REPLY) + 1, 3)
    assert serbench("replies", "forget", card, "--containing", "HAPPY", "--json").json["forgotten"] == 1
    assert "2 forgotten, 0 left" in serbench("replies", "forget", card, "--all").out
