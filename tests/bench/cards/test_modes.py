"""A card with several modes: each is found by its own name."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cards.registry import load_system
from bench.errors import UsageError

CARD = """\
name: amb
family: encoder
track: probed
features:
  encoder: adapters.acoustic:Egemaps
  pooled: true
modes:
  balanced-linear: {probe: linear, params: {class_weight: balanced}}
  linear: {probe: linear}
  svm: {probe: svm}
"""


@pytest.mark.parametrize(
    ("mode", "name"),
    [("linear", "amb-linear"), ("balanced-linear", "amb-balanced-linear"), ("svm", "amb-svm")],
)
def test_the_mode_that_is_named_is_the_one_that_runs(tmp_path: Path, mode: str, name: str) -> None:
    (tmp_path / "amb.yaml").write_text(CARD)
    assert load_system(f"amb.yaml:{mode}", base=tmp_path).name == name


@pytest.mark.parametrize("mode", ["lin", "", "balanced"])
def test_a_part_of_a_modes_name_is_none(tmp_path: Path, mode: str) -> None:
    (tmp_path / "amb.yaml").write_text(CARD)
    with pytest.raises(UsageError, match=r"amb-balanced-linear, amb-linear, amb-svm"):
        load_system(f"amb.yaml:{mode}", base=tmp_path)
