"""How much audio an encoder gets at a time: settable, told in the sidecar, and without effect on any answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from tests.conftest import write_tone_corpus

ENCODER = '''
import os
import numpy as np

class Loud:
    """Loudness of a clip, and a note of how many clips came together."""
    def __init__(self, device="cpu"):
        pass
    def encode(self, waveforms):
        with open(os.environ["NOTED"], "a") as noted:
            noted.write(f"{len(waveforms)}\\n")
        return [np.full((1, 2, 3), float(np.abs(w).mean()), dtype=np.float32) for w in waveforms]
'''
CARD = """\
name: loud
family: encoder
track: probed
features: {encoder: "loud_encoder:Loud"}
probe: linear
licence: none
"""


def test_it_is_set_by_hand_and_changes_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loud_encoder.py").write_text(ENCODER)
    (tmp_path / "loud.yaml").write_text(CARD)
    (tmp_path / "m.yaml").write_text("name: m\nentries:\n  - systems: [./loud.yaml]\n    tasks: '*'\n")
    write_tone_corpus(tmp_path / "data" / "tones")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("SERBENCH_DATA", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    tables = {}
    for seconds in (0.1, 1000.0):
        monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / f"cache-{seconds}"))
        monkeypatch.setenv("NOTED", str(tmp_path / f"noted-{seconds}"))
        out = tmp_path / f"run-{seconds}"
        done = run_matrix(
            RunSettings(
                str(tmp_path / "m.yaml"),
                (tmp_path / "data" / "tones",),
                out,
                workers=1,
                batch_seconds=seconds,
            ),
            Reporter(),
        )
        assert not done.failed
        tables[seconds] = {p.name: p.read_bytes() for p in (out / "tables").iterdir()}
        assert json.loads((out / "sidecar.json").read_text())["sessions"][0]["batch_seconds"] == seconds
    assert tables[0.1] == tables[1000.0]
    alone, together = (list(map(int, (tmp_path / f"noted-{s}").read_text().split())) for s in (0.1, 1000.0))
    assert set(alone) == {1}
    assert max(together) > 1
    assert sum(alone) == sum(together), "one pass per clip, however many go together"
