"""``serbench train`` under torchrun: two processes learn what one would have learnt, and one of them writes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from safetensors.torch import load_file

from bench.registry import load_system
from bench.synthetic import write_synthetic_corpus

# No dropout: it is drawn per process, so that two processes cannot repeat what one does. Batches of 9 cannot be halved
# evenly: a plain average over processes would show.
CARD = """\
name: tiny-logmel
family: trained
track: adapted
adapter: adapters.meralion_ser:MeralionSerPredictor
params: {encoder: logmel, frame_stack: 4, channels: 16, epochs: 2, average: 2, batch: 9, dev: select, dropout: 0.0, embedding_dropout: 0.0}
licence: MIT
training_corpora: []
"""
CONFIG = """\
name: tiny-ser
system: tiny-logmel.yaml
tasks: [synthetic.qaa]
log: {log}
"""
LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "synthetic"
    write_synthetic_corpus(
        folder, speakers_per_language=5, clips_per_emotion=1, languages=("qaa",), emotions=("neutral", "angry")
    )  # fmt: skip
    return folder


def training(folder: Path, corpus: Path, *launcher: str, log: str = "null") -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "tiny-logmel.yaml").write_text(CARD, encoding="utf-8")
    config = folder / "tiny-ser.yaml"
    config.write_text(CONFIG.format(log=log), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "bench.cli", "train", str(config), "--out", str(folder / "out"),
         "--data", str(corpus), "--json"],
        env={**os.environ, "SERBENCH_CACHE": str(corpus.parent / "cache"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finished(running: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = running.communicate(timeout=240)
    assert running.returncode == 0, err
    said: dict[str, Any] = json.loads(out)
    return said


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("two") / "run"
    return folder, finished(training(folder, corpus, *LAUNCHER, log="tensorboard"))


def test_two_processes_learn_what_one_learns(
    by_two: tuple[Path, dict[str, Any]], tmp_path: Path, corpus: Path
) -> None:
    folder, two = by_two
    one = finished(training(tmp_path / "one", corpus))
    # The same sums in another order, through two epochs of Adam, whose first steps divide by small numbers.
    np.testing.assert_allclose(two["training_losses"], one["training_losses"], rtol=1e-3)
    np.testing.assert_allclose(two["dev_losses"], one["dev_losses"], rtol=1e-3)
    assert load_system(str(folder / "out" / "system.yaml")).name == "tiny-ser"
    assert {p.name for p in (folder / "out").glob("*.safetensors")} == {
        "model.safetensors",
        "epoch-2.safetensors",
    }


def test_one_process_writes_the_log(by_two: tuple[Path, dict[str, Any]]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = list((by_two[0] / "out" / "work" / "serbench").rglob("events.*"))
    found = {}
    for file in files:
        events = EventAccumulator(str(file)).Reload()
        for tag in events.Tags()["scalars"]:
            assert tag not in found  # each process would have written its own
            found[tag] = [e.value for e in events.Scalars(tag)]
    np.testing.assert_allclose(found["training loss"], by_two[1]["training_losses"], atol=1e-5)
    np.testing.assert_allclose(found["dev loss"], by_two[1]["dev_losses"], atol=1e-5)


def test_two_processes_killed_go_on_to_the_same_bytes(
    by_two: tuple[Path, dict[str, Any]], tmp_path: Path, corpus: Path
) -> None:
    running = training(tmp_path / "killed", corpus, *LAUNCHER, log="tensorboard")
    kept = tmp_path / "killed" / "out" / "work" / "training.pt"
    until = time.monotonic() + 120
    while not kept.exists() and running.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    for process in [*psutil.Process(running.pid).children(recursive=True), running]:
        process.kill()
    running.communicate()
    assert kept.exists()
    assert not (tmp_path / "killed" / "out" / "system.yaml").exists()
    finished(training(tmp_path / "killed", corpus, *LAUNCHER, log="tensorboard"))
    for name in ("model.safetensors", "epoch-2.safetensors"):
        ours = load_file(tmp_path / "killed" / "out" / name)
        theirs = load_file(by_two[0] / "out" / name)
        assert all(np.array_equal(ours[k], theirs[k]) for k in theirs)
