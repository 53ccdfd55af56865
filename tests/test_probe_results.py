"""The committed records of the four probes: whose they are, and that layers have their curve."""

from __future__ import annotations

from pathlib import Path

from bench.execution.planning.matrix import load_matrix
from bench.scoring.records import read_records

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "results" / "studies" / "probes" / "records"


def test_the_records_belong_to_the_shipped_matrix_and_layers_have_their_curve() -> None:
    records = read_records(RECORDS)
    assert {r.facts.matrix_hash for r in records} == {load_matrix("probes")[0].hash}
    curves = [r.facts.layer_curve for r in records if r.system.endswith("-layerwise")]
    assert curves
    assert all([p.layer for p in curve] == list(range(5)) for curve in curves)
    assert all(p.low <= p.ua <= p.high for curve in curves for p in curve)
