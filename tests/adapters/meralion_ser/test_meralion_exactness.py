"""What training must not change: views through the cached prefix, batches of one clip, MUSAN's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from adapters.meralion_ser import MeralionSerPredictor, hybrid_loss
from adapters.meralion_ser import predictor as predictor_module
from adapters.meralion_ser.training.augmentation import AudioViews
from adapters.meralion_ser.training.loop import TrainingRun
from adapters.meralion_ser.training.losses import HybridMasks, HybridTargets
from adapters.meralion_ser.training.session import TrainingSession
from adapters.transformers_encoder import TransformersEncoder
from bench.protocols import Weights
from tests.adapters.meralion_ser.test_meralion_options import LOGMEL, SIZES, context, tone_examples


def test_views_in_the_prefix_cache_are_what_encoding_each_anew_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    whole = AutoModel.from_config(AutoConfig.for_model("wavlm", **SIZES)).eval()
    whole.save_pretrained(tmp_path / "encoder")
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path / "encoder")
    weights, examples = Weights(tmp_path / "encoder", "hash"), tone_examples(4)
    stored = TransformersEncoder(weights, layers=[1])
    features = {x: stored.encode([examples.clips.read(i)])[0] for i, x in enumerate(examples.clips.ids)}
    settings: dict[str, Any] = {
        "encoder": "backbone",
        "frame_stack": 1,
        "layer": 3,
        "stored_layer": 1,
        "views": 3,
    }
    learnt: list[TrainingRun] = []
    real = predictor_module.train

    def watched(run: TrainingRun, session: TrainingSession) -> TrainingSession:
        learnt.append(run)
        return real(run, session)

    monkeypatch.setattr(predictor_module, "train", watched)
    MeralionSerPredictor(**(LOGMEL | settings), weights=weights).fit(
        examples, tone_examples(0), context(tmp_path / "fit", features=features)
    )
    cached = learnt[0].stages[0].train

    def anew(waveform: Any) -> Tensor:
        with torch.no_grad():
            given = torch.from_numpy(np.asarray(waveform, dtype=np.float32))[None]
            found: Tensor = whole(given, output_hidden_states=True).hidden_states[3][0]
        return found

    for i, clip in enumerate(cached.ids):
        where = examples.clips.ids.index(clip)
        takes = AudioViews(3)(examples.clips.read(where), examples.clips.pcm_hashes[where])
        assert len(cached.views[i]) == 3
        # The store keeps half precision.
        for ours, take in zip(cached.views[i], takes, strict=True):
            torch.testing.assert_close(ours, anew(take), atol=2e-2, rtol=2e-2)


def test_a_batch_of_one_clip_learns_its_category_and_has_no_concordance(tmp_path: Path) -> None:
    """One clip has no variance: the CCC term is left out, unless earlier batches are remembered."""
    logits, dimensions = torch.randn(1, 2, requires_grad=True), torch.rand(1, 3, requires_grad=True)
    known = HybridMasks(torch.tensor([True]), torch.ones(1, 3, dtype=torch.bool))
    loss = hybrid_loss(logits, dimensions, HybridTargets(torch.tensor([1]), torch.rand(1, 3)), known)
    assert loss.dimensional is None
    loss.total.backward()
    assert logits.grad is not None
    assert bool(logits.grad.abs().sum() > 0)
    for name, settings in (("alone", {}), ("remembered", {"concordance_steps": 3})):
        predictor = MeralionSerPredictor(**(LOGMEL | {"batch": 1, "mixup": 1.0} | settings))
        predictor.fit(tone_examples(4), tone_examples(0), context(tmp_path / name))
        assert np.isfinite(predictor.notes["training_losses"]).all()


def test_noise_is_found_in_the_folders_of_musan(tmp_path: Path) -> None:
    import soundfile

    for kind, source in (("noise", "free-sound"), ("music", "fma"), ("speech", "librivox")):
        folder = tmp_path / "musan" / kind / source
        folder.mkdir(parents=True)
        (folder / "ANNOTATIONS").write_text("not audio")
        soundfile.write(folder / f"{kind}-0000.wav", np.random.default_rng(0).normal(0, 0.1, 8000), 16000)
    found = []
    for noise_folder in (str(tmp_path / "musan"), None):
        predictor = MeralionSerPredictor(**(LOGMEL | {"views": 1, "noise_folder": noise_folder}))
        predictor.fit(tone_examples(8), tone_examples(0), context(tmp_path / str(len(found))))
        found.append(predictor.notes["training_losses"])
    assert found[0] != found[1]
