"""The layer curve: one probe per layer, scored on test speakers, and never chosen by them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bench.errors import DataError
from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from bench.features.probes.layerwise import LayerwiseProbe
from bench.features.probes.superb import SuperbProbe
from bench.metrics import unweighted_accuracy
from bench.scoring.predictions import read_table, variant_path
from bench.scoring.records import Record, read_record
from bench.statistics.categorical import confusion_statistics
from bench.statistics.intervals import interval
from tests.bench.features.test_probes import ignore, make_task, one_fold
from tests.conftest import write_tone_corpus

QUICK = {"learning_rates": [1e-2], "hidden": 16, "max_steps": 60, "evaluate_every": 10}

LAYERS = '''
import numpy as np

class Spectrum:
    """Layer 0 noise decided by the samples, layer 1 the loudest bin of the spectrum in four coarse bands."""
    def __init__(self, device="cpu"):
        pass
    def encode(self, waveforms):
        found = []
        for w in waveforms:
            power = np.abs(np.fft.rfft(w[:6400]))
            bands = np.array([power[a:b].sum() for a, b in ((40, 76), (76, 130), (130, 180), (180, 260))])
            noise = np.random.default_rng(int(1e6 * abs(w[:50]).sum())).standard_normal(4)
            found.append(np.stack([noise, bands / bands.sum()])[:, None].astype(np.float32))
        return found
'''
CARD = """
name: spectrum-layerwise
family: encoder
track: probed
features: {encoder: "layer_encoder:Spectrum", params: {}, pooled: true}
probe: layerwise
params: {learning_rates: [0.01], hidden: 16, max_steps: 60, evaluate_every: 10}
training_corpora: []
"""
MATRIX = """
name: layers
synthetic: never
entries:
  - {systems: [./spectrum.yaml], seeds: [0, 1]}
plan: {resamples: 1000, permutations: 1000}
"""


def test_each_layer_is_trained_as_if_it_were_alone_and_the_cell_answers_by_the_validated_one() -> None:
    task = one_fold(make_task(clips=120, seeds=(0, 1)))
    outcome = LayerwiseProbe(**QUICK).run(task, ignore)[0, 1]
    assert list(outcome.variants) == ["layer/0", "layer/1", "layer/2"]
    losses = []
    for layer in range(3):
        alone = dataclasses.replace(task, features=task.features[:, [layer]], seeds=(1,))
        expected = SuperbProbe(**QUICK, standardise=True).run(alone, ignore)[0, 1]
        found = outcome.variants[f"layer/{layer}"]
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)  # type: ignore[arg-type]
        np.testing.assert_allclose(found.dimensions, expected.dimensions, atol=1e-5)  # type: ignore[arg-type]
        losses.append(expected.notes["category"]["dev_loss"])
    assert outcome.notes["category"]["layer"] == int(np.argmin(losses)) == 2
    np.testing.assert_allclose(outcome.notes["category"]["dev_loss_by_layer"], losses, atol=1e-5)
    assert np.array_equal(outcome.probabilities, outcome.variants["layer/2"].probabilities)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def layers_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a two-layer encoder: noise below, the answer above."""
    folder = tmp_path_factory.mktemp("layers")
    write_tone_corpus(folder / "data" / "tones", dimensions=True)
    for name, text in (("layer_encoder.py", LAYERS), ("spectrum.yaml", CARD), ("layers.yaml", MATRIX)):
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERBENCH_CACHE", str(folder / "cache"))
        patch.setenv("PYTHONPATH", str(folder), prepend=":")
        patch.syspath_prepend(str(folder))
        patch.delenv("SERBENCH_DATA", raising=False)
        settings = RunSettings(
            str(folder / "layers.yaml"), data=(folder / "data",), out=folder / "run", workers=1
        )
        assert run_matrix(settings, Reporter()).failed == ()
    return folder / "run"


def record_of(run: Path) -> Record:
    (path,) = (run / "records").glob("*.json")
    return read_record(path)


def test_a_record_holds_the_layer_curve_with_intervals_over_speakers(layers_run: Path) -> None:
    facts = record_of(layers_run).facts
    curve = facts.layer_curve
    assert [point.layer for point in curve] == [0, 1]
    assert curve[1].ua == 1.0
    assert curve[0].ua < 0.6
    assert all(set(point.as_json()) == {"layer", "ua", "low", "high"} for point in curve)
    assert [point.layer for point in facts.layer_curve_valence] == [0, 1]
    assert facts.layer_curve_valence[1].ccc > 0.8
    assert "variants" not in facts.model_fields_set, "layers are no ways of asking"
    main = next(s for s in facts.scores if s.metric == "ua" and s.rows == "all")
    assert main.estimate == curve[1].ua


def test_the_curve_is_what_the_tables_of_the_layers_say(layers_run: Path) -> None:
    facts = record_of(layers_run).facts
    truth: list[str] = []
    answers: list[str | None] = []
    speakers: list[str] = []
    per_seed = []
    for seed in (0, 1):
        truth, answers, speakers = [], [], []
        for path in (layers_run / "tables").glob("*.parquet"):
            table = read_table(path)
            if table.identity["seed"] != seed or "variant" in table.identity:
                continue
            layer = read_table(variant_path(path, "layer/0"))
            truth += [c.split("-")[1] for c in layer.clip_ids]
            speakers += [c.split("/")[1][:2] for c in layer.clip_ids]
            answers += list(layer.answers)
        per_seed.append((truth, answers, speakers))
    labels = sorted(set(truth))
    estimates, counts = [], []
    for truth, answers, speakers in per_seed:
        estimates.append(unweighted_accuracy(truth, answers))
        codes = np.array([sorted(set(speakers)).index(s) for s in speakers])
        counts.append(
            confusion_statistics(
                np.array([labels.index(t) for t in truth]),
                np.array([labels.index(a) if a in labels else len(labels) for a in answers]),
                codes,
                n_labels=len(labels),
                n_clusters=len(set(speakers)),
            )
        )
    point = facts.layer_curve[0]
    assert point.ua == pytest.approx(np.mean(estimates), abs=1e-12)
    expected = interval("ua", np.mean(counts, axis=0))
    assert (point.low, point.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_a_layers_table_that_was_changed_is_refused(layers_run: Path, tmp_path: Path) -> None:
    from bench.scoring.prompt_variants import variant_table

    path = next(
        p for p in (layers_run / "tables").glob("*.parquet") if "variant" not in read_table(p).identity
    )
    for source in path.parent.glob(f"{path.stem}*"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    table = read_table(tmp_path / path.name)
    variant_path(tmp_path / path.name, "layer/0").unlink()
    with pytest.raises(DataError, match="variant 'layer/0' is missing"):
        variant_table(table, "layer/0")
