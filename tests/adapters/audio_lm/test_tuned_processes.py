"""Several processes train one Audio-LLM as one does: their gradients and losses add up to its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adapters.audio_lm.tuning import loop
from adapters.audio_lm.tuning.processes import Processes, launched, own_device
from tests.adapters.audio_lm.tiny_tuned import taught, training, write_weights


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("tiny") / "model")


class Alone(Processes):
    """One of several processes whose others are not there: sums are its own part."""

    def added(self, values: Sequence[float], device: str) -> list[float]:
        return list(values)

    def add_gradients(self, parameters: Sequence[Tensor]) -> None:
        pass


def test_gradients_and_losses_of_the_processes_add_up_to_those_of_one(model: Path, tmp_path: Path) -> None:
    """Two clips over two processes, and over three, of which one reads nothing; class weights are those of the whole batch."""
    clips = taught(2, seed=1)
    found = {}
    for count in (1, 2, 3):
        values, sums, dev = 0.0, [], 0.0
        for index in range(count):
            run = training(
                model, tmp_path, train=clips, lora_dropout=0.0, clip_norm=0, lora_lr=1e-12, projector_lr=1e-12
            )
            run = type(run)(**{**vars(run), "processes": Alone(index, count)})
            chosen = range(2)
            rows = [
                (run.teacher.judged(clips.labels[i], "en", len(clips.rows[i])), clips.rows[i]) for i in chosen
            ]
            optimiser = torch.optim.SGD(run.network.groups())
            weights = loop.class_weights(("neutral", *clips.labels))
            values += loop._update(run, chosen, rows, weights, optimiser)
            learning = [p for group in optimiser.param_groups for p in group["params"]]
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
            sums = [a + b for a, b in zip(sums, gradients, strict=True)] if sums else gradients
            assert run.dev is not None
            dev += loop.dev_loss(run, run.dev)
        found[count] = values, sums, dev
    for count in (2, 3):
        assert found[count][0] == pytest.approx(found[1][0], rel=1e-5)
        assert found[count][2] == pytest.approx(found[1][2], rel=1e-5)
        for ours, whole in zip(found[count][1], found[1][1], strict=True):
            torch.testing.assert_close(ours, whole, atol=1e-5, rtol=1e-3)


def test_shares_cover_a_batch_once_and_one_process_is_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    for items, count in ((16, 8), (7, 2), (3, 8)):
        read = [i for p in range(count) for i in range(items)[Processes(p, count).share(items)]]
        assert read == list(range(items))
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert launched("cpu") == Processes(0, 1)
    assert own_device("cuda:1") == "cuda:1"
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert (own_device("cuda"), own_device("cpu")) == ("cuda:3", "cpu")
