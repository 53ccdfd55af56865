"""Settings changed by hand in a folder that ``serbench train`` of version 0.1.0 kept; its answers: tests/old_versions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.meralion_ser import TrainedSer
from bench.errors import CannotRun
from bench.protocols import Clips, Examples, FitContext, Weights

OLD = Path(__file__).parents[2] / "old_versions" / "v0_1_0"
SEVEN = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")


def opened(folder: Path, workdir: Path) -> TrainedSer:
    nothing = Examples(Clips((), (), np.zeros(0), (), lambda i: np.zeros(0)), (), np.zeros((0, 3)), ())
    system = TrainedSer(weights=Weights(folder, "hash"))
    system.fit(nothing, nothing, FitContext(labels=SEVEN, dimensions=True, seed=0, workdir=workdir))
    return system


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
