"""A dry run: what a matrix comes to on one screen, how sure its hours are, and what they would cost; rows on request."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.forecasting import dry_run
from bench.execution.planning.estimates import Rates
from bench.execution.planning.forecast import Forecast, ForecastRow, scaled_rates
from bench.storage.atomic import write_json
from tests.command import Command

REASON = "weights '{0}' not found (looked in /weights); fetch with: hf download owner/{0}"


def row(system: str, family: str, state: str, *, done: int = 0, features: str = "") -> ForecastRow:
    return ForecastRow(system, family, "t.en", "within", "", "clean", 100, 5, 15, done, features, state)


def forecast_of(*, gpus: bool = False) -> Forecast:
    return Forecast(
        matrix="m",
        matrix_hash="0" * 32,
        rows=(
            row("a", "encoder", "to do", done=5, features="40/100"),
            row("b", "encoder", "done", done=15, features="100/100"),
            *(row(f"x{i}", "encoder", REASON.format(f"x{i}")) for i in range(40)),
            row("z", "service", "needs a server"),
        ),
        notes=tuple(f"cannot be run: x{i}: only {i} speakers" for i in range(30)),
        undecoded=0,
        unconditioned=0,
        seconds=5400.0,
        bytes=2.0**30,
        workers=2,
        measured=True,
        gpus=gpus,
        worker_seconds={"measured": 7200.0, "scaled": 2700.0, "guess": 900.0},
        free_bytes=2**29,
        blocked_seconds={f"x{i}": {"scaled": 2700.0, "guess": 900.0} for i in range(40)},
    )


def printed(
    capsys: pytest.CaptureFixture[str], *, gpus: bool, rows: bool = False, price: float | None = None
) -> str:
    from bench.execution.prepared_run import RunSettings

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.cli.forecasting.forecast", lambda _: forecast_of(gpus=gpus))
        assert dry_run(RunSettings("m"), rows=rows, price=price, as_json=False) == 0
    return capsys.readouterr().out


def test_forty_systems_without_weights_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, gpus=True, price=3.0)
    lines = said.splitlines()
    assert len(lines) < 15
    encoder = next(line.split() for line in lines if line.startswith("encoder"))
    assert encoder == ["encoder", "42", "40", "42", "630", "20", "10", "600", "140/200"]
    blocked = [line for line in lines if line.startswith("blocked")]
    assert len(blocked) == 2
    assert blocked[0].startswith(
        "blocked (about 40 GPU-hours, 120.00): 40 systems, x0 to x39, for example: weights 'x0' not found"
    )
    assert blocked[0].endswith("hf download owner/x0")
    assert blocked[1].startswith("blocked: z: needs a server"), "of what nobody estimates nothing is said"
    assert (
        "what is blocked would take about 40 GPU-hours more if all of it were mended (25 % of that a first guess"
        in said
    )
    assert sum(line.startswith("cannot be run: ") for line in lines) == 1
    assert "3 GPU-hours" in said
    assert "67 % from the same work on this machine, 25 % from other systems'" in said
    assert "8 % a first guess" in said
    assert "cost: about 9.00, at 3 per GPU-hour" in said
    assert "too little" in said, "the disk has less room than the run needs"


def test_without_a_gpu_no_cost_of_one_is_claimed(capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, gpus=False, price=3.0)
    assert "3 core-hours" in said
    assert "if a GPU took as long as a core" in said
    assert "cost" not in printed(capsys, gpus=False)


def test_every_row_and_reason_is_there_when_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, gpus=True, rows=True).splitlines()
    assert sum(line.startswith("blocked (about 1 GPU-hours): x") for line in said) == 40
    assert sum(line.startswith("x") and line.rstrip().endswith("blocked") for line in said) == 40
    assert sum(line.startswith("cannot be run: ") for line in said) == 30


def test_what_was_measured_of_one_encoder_tells_of_another_by_its_parameters() -> None:
    # hubert-base 94.4 million parameters, by its card; its pass took 0.1 s a clip.
    rates = scaled_rates(
        Rates({"encode hubert-base-superb": 0.1, "encode nobody-has-this": 9.0, "decode": 0.5})
    )
    own = rates.estimate("encode hubert-base-superb", 10, parameters=1)
    assert (own.seconds, own.basis) == (pytest.approx(1.0), "measured")
    from bench.cards.registry import load_system

    size = load_system("hubert-base-superb").parameters
    assert size
    other = rates.estimate("encode other", 10, parameters=3 * size)
    assert (other.seconds, other.basis) == (pytest.approx(3.0), "scaled")
    assert rates.estimate("encode other", 10).basis == "guess"
    assert rates.estimate("fit other", 10, family="trained", parameters=size).basis == "guess"
    assert rates.estimate("decode", 10).seconds == 5.0


BLOCKED = """\
name: {name}
family: encoder
track: probed
parameters: {parameters}
weights: {{local: nowhere-at-all}}
features: {{encoder: "adapters.transformers_encoder:TransformersEncoder"}}
probe: {probe}
licence: none
"""


def test_what_is_blocked_has_hours_and_a_price_of_its_own(
    serbench: Command, tone_corpus: Path, tmp_path: Path, cache: Path
) -> None:
    for name, probe in (("one", "linear"), ("two", "superb")):
        (tmp_path / f"{name}.yaml").write_text(BLOCKED.format(name=name, probe=probe, parameters=100))
    systems = ["./one.yaml", "./two.yaml", "majority"]
    write_json(tmp_path / "m.yaml", {"name": "m", "entries": [{"systems": systems}]})
    write_json(cache / "rates.json", {"encode one": 360.0, "fit one": 36.0, "fit two": 72.0})
    ask = ("run", tmp_path / "m.yaml", "--data", tone_corpus, "--dry-run", "--device", "cpu")
    told = serbench(*ask, "--json", "--price-per-gpu-hour", "2").json
    assert set(told["blocked_seconds"]) == {"one", "two"}
    clips = told["rows"][0]["clips"]
    # The two read the same pass, which the first of them pays for; a probe pays once for all folds.
    assert told["blocked_seconds"]["one"] == {"measured": pytest.approx(clips * (360 + 36))}
    assert told["blocked_seconds"]["two"] == {"measured": pytest.approx(clips * 72)}
    assert told["cost_of_blocked"] == pytest.approx(2 * clips * 468 / 3600, abs=0.01)
    assert told["cost"] < 1, "and is in no other figure"


def test_a_real_matrix_and_a_real_run_seen_by_the_command(
    serbench: Command, tone_corpus: Path, tmp_path: Path
) -> None:
    write_json(tmp_path / "m.yaml", {"name": "m", "entries": [{"systems": ["majority"]}]})
    ask = ("run", tmp_path / "m.yaml", "--data", tone_corpus, "--out", tmp_path / "run")
    done = serbench(*ask, "--dry-run", "--device", "cpu", "--price-per-gpu-hour", "2")
    assert done.code == 0, done.err
    assert "every system on every task, and every reason: --rows" in done.out
    told = serbench(*ask, "--dry-run", "--json", "--price-per-gpu-hour", "2").json
    assert told["families"]["reference"]["cells"] == told["cells"] == sum(r["cells"] for r in told["rows"])
    assert set(told["worker_seconds"]) == {"measured", "scaled", "guess"}
    assert told["cost"] >= 0
    wrong = serbench(*ask, "--rows")
    assert (wrong.code, wrong.sentence.count("--dry-run")) == (2, 1)
    assert not (tmp_path / "run").exists()

    assert serbench("status", tmp_path / "run").code == 2
    assert serbench(*ask, "--workers", "1", "--device", "cpu").code == 0
    seen = serbench("status", tmp_path / "run", "--every", "1")
    assert f"{told['cells']} done, 0 running, 0 waiting, 0 failed" in seen.out
    line = serbench("status", tmp_path / "run", "--json")
    assert line.out.count("\n") == 1
    assert (line.json["state"], line.json["done"]) == ("finished", told["cells"])
