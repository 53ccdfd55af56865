"""A folder that ``serbench train`` of version 0.1.0 kept opens, and answers as that version did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.meralion_ser import TrainedSer
from bench.audio.decoding import decode, to_float
from bench.errors import CannotRun
from bench.protocols import Clips, Examples, FitContext, Weights
from tests.old_versions.v0_1_0.make import write_clips

OLD = Path(__file__).parents[2] / "old_versions" / "v0_1_0"
SEVEN = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")


def opened(folder: Path, workdir: Path) -> TrainedSer:
    nothing = Examples(Clips((), (), np.zeros(0), (), lambda i: np.zeros(0)), (), np.zeros((0, 3)), ())
    system = TrainedSer(weights=Weights(folder, "hash"))
    system.fit(nothing, nothing, FitContext(labels=SEVEN, dimensions=True, seed=0, workdir=workdir))
    return system


def test_a_folder_of_the_first_version_answers_the_same(tmp_path: Path) -> None:
    waves = [to_float(decode(path)) for path in write_clips(tmp_path / "clips")]
    clips = Clips(("low", "high"), ("low", "high"), np.ones(2), ("ms",) * 2, waves.__getitem__)
    found = opened(OLD / "trained", tmp_path).predict(clips)
    then = json.loads((OLD / "answers.json").read_text(encoding="utf-8"))
    assert found.labels == tuple(row["label"] for row in then)
    np.testing.assert_allclose(
        found.probabilities, [[row["probabilities"][name] for name in SEVEN] for row in then], atol=1e-6
    )
    named = [[row[name] for name in ("valence", "arousal", "dominance")] for row in then]
    np.testing.assert_allclose(found.dimensions, np.array(named, dtype=float), atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"channels": "16"}, "channels is '16'; expected a whole number from 1 on"),
        ({"encoder": "ears"}, "encoder is 'ears'; use one of whisper, backbone, features, logmel"),
        ({"chanels": 16}, "no parameter 'chanels'; did you mean 'channels'"),
        ({"lora_rank": 2}, "lora_rank needs encoder 'whisper' or 'backbone'"),
    ],
)
def test_settings_that_no_network_has_are_one_sentence(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    folder = Path(shutil.copytree(OLD / "trained", tmp_path / "trained"))
    facts = json.loads((folder / "serbench.json").read_text(encoding="utf-8"))
    facts["architecture"] |= changed
    (folder / "serbench.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(CannotRun) as refused:
        opened(folder, tmp_path)
    sentence = str(refused.value)
    assert f"serbench.json: not what serbench train wrote ({message}" in sentence
    assert "pydantic" not in sentence
    assert "\n" not in sentence
