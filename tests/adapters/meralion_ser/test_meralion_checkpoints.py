"""Checkpoints in other wrappings, and the released network beside its matched self: what is read, and what only when asked."""

from __future__ import annotations

import pickle
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adapters.meralion_ser import MatchedSer, MeralionSer, MeralionSerConfig, MeralionSerPredictor, TrainedSer
from bench.cards.registry import load_system
from bench.cards.system import WeightsSpec
from bench.cards.weights import local_weights
from bench.errors import CannotRun, DataError, UsageError
from bench.execution.planning.systems import resolve_system
from bench.protocols import Answers, Examples, FitContext, Weights
from tests.adapters.meralion_ser.test_meralion_network import assert_same_network
from tests.adapters.meralion_ser.test_meralion_options import LOGMEL, context, tone_examples

WHISPER = {"d_model": 64, "encoder_layers": 1, "encoder_attention_heads": 1, "encoder_ffn_dim": 64}


@pytest.fixture
def network() -> Any:
    torch.manual_seed(0)
    return MeralionSer(MeralionSerConfig(whisper=WHISPER, channels=32)).eval()


def test_a_pickle_is_read_when_it_is_asked_for(network: Any, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    torch.save({"step": 3}, tmp_path / "optimizer.pt")  # a trainer leaves more than weights
    with pytest.raises(DataError, match=r"only pickled weights \(pytorch_model.bin\).*allow_pickle=True"):
        MeralionSer.from_released(tmp_path)
    assert_same_network(
        MeralionSer.from_released(tmp_path, allow_pickle=True), network, torch.randn(1, 80, 50)
    )
    torch.save({"state_dict": network.state_dict(), "epoch": 1}, tmp_path / "pytorch_model.bin")
    assert_same_network(
        MeralionSer.from_released(tmp_path, allow_pickle=True), network, torch.randn(1, 80, 50)
    )


class Trap:
    """A pickle that would run code."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle ran code",))


@pytest.mark.parametrize("held", [{"a": Trap()}, {"a": 1.0}, [torch.ones(2)], b"no pickle"])
def test_a_pickle_of_anything_but_tensors_is_refused_though_asked_for(held: Any, tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(held if isinstance(held, bytes) else pickle.dumps(held, protocol=2))
    with pytest.raises(DataError, match=r"tensors.*convert it to safetensors"):
        MeralionSer.from_released(tmp_path, allow_pickle=True)


def test_a_card_asks_for_a_pickle(network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net").mkdir()
    torch.save(network.state_dict(), tmp_path / "net" / "pytorch_model.bin")
    monkeypatch.setenv("SERBENCH_WEIGHTS", str(tmp_path))
    unasked = local_weights(WeightsSpec(local="net"))
    assert unasked is not None
    with pytest.raises(DataError, match="pickled: true under weights"):
        TrainedSer(weights=unasked).fit(
            tone_examples(0), tone_examples(0), FitContext(("happy", "sad"), True, 0, tmp_path)
        )
    (tmp_path / "net" / "pytorch_model.bin").rename(tmp_path / "net" / "net.pth")
    with pytest.raises(CannotRun, match="pickled: true"):
        local_weights(WeightsSpec(local="net"))
    found = local_weights(WeightsSpec(local="net", pickled=True))
    assert found is not None
    system = TrainedSer(weights=found)
    system.fit(tone_examples(0), tone_examples(0), FitContext(("happy", "sad"), True, 0, tmp_path))
    assert set(system.predict(tone_examples(2).clips).statuses) == {"ok"}


def test_a_shard_that_is_missing_is_named(network: Any, tmp_path: Path) -> None:
    network.save_pretrained(tmp_path, max_shard_size="400KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert_same_network(MeralionSer.from_released(tmp_path), network, torch.randn(1, 80, 50))
    shards[-1].unlink()
    with pytest.raises(DataError, match=rf"1 of {len(shards)} shards are missing: {shards[-1].name}"):
        MeralionSer.from_released(tmp_path)


def test_shards_that_no_index_names_are_not_read(network: Any, tmp_path: Path) -> None:
    network.save_pretrained(tmp_path, max_shard_size="400KB")
    save_file({"stale": torch.ones(1)}, tmp_path / "model-00001-of-00099.safetensors")
    assert_same_network(MeralionSer.from_released(tmp_path), network, torch.randn(1, 80, 50))
    (tmp_path / "model.safetensors.index.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="names no file of weights"):
        MeralionSer.from_released(tmp_path)


@pytest.mark.parametrize("shape", [(80, 50), (1, 128, 50), (1, 80, 0), (1, 1, 80, 50)])
def test_an_input_of_another_shape_is_one_sentence(network: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"input_features has the shape .*; expected \(batch, 80, frames\)"):
        network(torch.zeros(shape))


def test_others_may_read_a_kept_folder(tmp_path: Path) -> None:
    predictor = MeralionSerPredictor(**(LOGMEL | {"epochs": 2, "average": 2}))
    predictor.fit(tone_examples(4), tone_examples(0), context(tmp_path))
    predictor.save(tmp_path / "kept")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "kept").iterdir()}
    assert len(modes) == 1


# The released network and its matched self


def told(system: TrainedSer, train: Examples, dev: Examples, folder: Path) -> Answers:
    system.fit(train, dev, FitContext(("happy", "sad"), True, 0, folder))
    return system.predict(train.clips)


def test_matching_moves_dimensions_to_the_training_speakers_truth_and_leaves_the_rest(
    network: Any, tmp_path: Path
) -> None:
    network.save_pretrained(tmp_path)
    weights = Weights(tmp_path, "hash")
    train = tone_examples(8)
    raw = told(TrainedSer(weights=weights), train, tone_examples(0), tmp_path)
    matched = told(MatchedSer(weights=weights), train, tone_examples(0), tmp_path)
    assert raw.dimensions is not None
    assert matched.dimensions is not None
    assert raw.probabilities is not None
    # Bit for bit: both read one file, so their tensors lie alike.
    np.testing.assert_array_equal(matched.probabilities, raw.probabilities)
    truth = train.dimensions[:, 1]
    assert matched.dimensions[:, 1].mean() == pytest.approx(truth.mean(), abs=1e-6)
    assert matched.dimensions[:, 1].std() == pytest.approx(truth.std(), abs=1e-6)
    assert raw.dimensions[:, 1].std() < 0.1 * truth.std()
    np.testing.assert_array_equal(
        matched.dimensions[:, 0], raw.dimensions[:, 0]
    )  # of which no truth is known
    assert matched.notes["dimension_scales"][0] == 1
    # Its own speakers are heard alike whoever else is heard: nothing is taken from the clips that are asked about.
    system = MatchedSer(weights=weights)
    system.fit(train, tone_examples(0), FitContext(("happy", "sad"), True, 0, tmp_path))
    np.testing.assert_array_equal(system.predict(tone_examples(2).clips).dimensions, matched.dimensions[:2])


def test_without_dimensions_there_is_nothing_to_match(network: Any, tmp_path: Path) -> None:
    network.save_pretrained(tmp_path)
    for unrated in (tone_examples(4), tone_examples(0)):
        unrated.dimensions[:] = np.nan
        with pytest.raises(DataError, match="nothing to match to"):
            told(MatchedSer(weights=Weights(tmp_path, "hash")), unrated, tone_examples(0), tmp_path)


def test_it_is_a_system_of_its_own_in_the_adapted_track() -> None:
    raw, matched = load_system("meralion-ser-v1"), load_system("meralion-ser-v1-matched")
    assert (raw.track, matched.track) == ("released", "adapted")
    assert raw.weights == matched.weights
    assert raw.training_corpora == matched.training_corpora
    assert resolve_system(matched).identity != resolve_system(raw).identity
