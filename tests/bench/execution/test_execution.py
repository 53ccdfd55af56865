"""A run survives what happens to runs: kills, crashes, failing adapters, two drivers, a second start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import BenchError, UsageError
from bench.execution import scoring_stage
from bench.execution.driver import run_matrix
from bench.execution.planning.plan import RecordPlan
from bench.execution.progress import Reporter
from bench.execution.scoring_stage import score_planned
from bench.storage.journal import Journal
from bench.storage.run_folder import RunFolder
from tests.conftest import write_tone_corpus
from tests.slow_runs import MATRIX, prepare, records, settings, write_card


@pytest.fixture
def bench_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a slow adapter, its card, a matrix and a tiny corpus."""
    return prepare(tmp_path, monkeypatch)


def start(folder: Path, out: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "bench.cli",
        "run",
        "kill.yaml",
        "--data",
        "data",
        "--out",
        out,
        "--workers",
        "2",
    ]
    # A shell that runs the tests in the background makes its children deaf to Ctrl-C; a user's shell does not.
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_killed_again_and_again_ends_with_the_records_of_an_undisturbed_one(
    bench_dir: Path, how: signal.Signals
) -> None:
    write_card(bench_dir, wait=0.15)
    assert start(bench_dir, "undisturbed").wait(timeout=120) == 0
    kills = 0
    for pause in (1.0, 2.0, 2.3, 2.6, 2.9, 3.2, 3.5):
        process = start(bench_dir, "killed")
        try:
            process.wait(timeout=pause)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(how)
            if process.wait(timeout=30) == 0:
                break  # it had just finished
            kills += 1
    assert kills >= 2, "the run was never interrupted: the test shows nothing"
    assert start(bench_dir, "killed").wait(timeout=120) == 0
    assert records(bench_dir / "killed") == records(bench_dir / "undisturbed")
    with Journal(RunFolder(bench_dir / "killed").journal) as journal:
        fits = [j.name for j in journal.jobs() if j.kind == "fit"]
    assert len(fits) == len(set(fits)), "a finished cell was computed twice"


def test_workers_end_with_a_driver_that_is_killed(bench_dir: Path) -> None:
    write_card(bench_dir, wait=30)
    process = start(bench_dir, "orphans")
    deadline = time.time() + 30
    children: list[int] = []
    while time.time() < deadline and not children:
        time.sleep(0.2)
        children = descendants(process.pid) if (bench_dir / "orphans" / "work").exists() else []
    process.kill()
    process.wait()
    assert children
    deadline = time.time() + 15
    while time.time() < deadline and any(alive(c) for c in children):
        time.sleep(0.2)
    assert not any(alive(c) for c in children)


def descendants(pid: int) -> list[int]:
    import psutil

    return [c.pid for c in psutil.Process(pid).children(recursive=True)]


def alive(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_second_run_computes_nothing_and_gives_the_same_bytes(bench_dir: Path) -> None:
    first = run_matrix(settings(bench_dir, "one"), Reporter())
    before = records(bench_dir / "one")
    again = run_matrix(settings(bench_dir, "one"), Reporter())
    elsewhere = run_matrix(settings(bench_dir, "two"), Reporter())
    assert (first.computed, again.computed, again.kept) == (elsewhere.computed, 0, first.computed)
    assert first.computed == 5 * 2 + 5  # slow: five folds, two seeds; majority is deterministic
    assert records(bench_dir / "one") == before == records(bench_dir / "two")


def test_each_clip_is_decoded_once_whatever_runs_on_it(bench_dir: Path) -> None:
    run_matrix(settings(bench_dir, "one"), Reporter())
    run_matrix(settings(bench_dir, "two"), Reporter())
    decoded = 0
    for out in ("one", "two"):
        with Journal(RunFolder(bench_dir / out).journal) as journal:
            decoded += sum(j.clips for j in journal.jobs() if j.kind == "decode")
    assert decoded == 6 * 3 * 2


def test_a_torn_or_altered_table_is_not_trusted(bench_dir: Path) -> None:
    run_matrix(settings(bench_dir, "one"), Reporter())
    before = records(bench_dir / "one")
    torn, altered, *_ = sorted((bench_dir / "one" / "tables").iterdir())
    torn.write_bytes(torn.read_bytes()[:-7])
    altered.write_bytes(altered.read_bytes().replace(b"PAR1", b"PAR2"))
    again = run_matrix(settings(bench_dir, "one"), Reporter())
    assert again.computed == 2
    assert records(bench_dir / "one") == before


def test_a_failing_fit_is_recorded_and_the_rest_goes_on(bench_dir: Path) -> None:
    write_card(bench_dir, fail="s0-")
    summary = run_matrix(settings(bench_dir, "one"), Reporter())
    assert {f.fold for f in summary.failed} == {summary.failed[0].fold}
    assert len(summary.failed) == 2  # the fold that tests speaker 0, both seeds
    assert all("the model is unhappy" in (f.error or "") for f in summary.failed)
    assert [p for p in records(bench_dir / "one") if p.startswith("slow")] == []
    assert [p for p in records(bench_dir / "one") if p.startswith("majority")]
    assert "RuntimeError: the model is unhappy" in RunFolder(bench_dir / "one").log.read_text()
    write_card(bench_dir)  # mended: only what is missing is computed (the card's parameters are its identity)
    assert run_matrix(settings(bench_dir, "one"), Reporter()).failed == ()


def test_a_dying_worker_fails_its_own_cell_only(bench_dir: Path) -> None:
    write_card(bench_dir, die="s0-")
    summary = run_matrix(settings(bench_dir, "one"), Reporter())
    assert len(summary.failed) == 2
    assert all("worker process died" in (f.error or "") for f in summary.failed)
    assert summary.computed == 13


def test_two_drivers_on_one_run_are_kept_apart(bench_dir: Path) -> None:
    with (
        RunFolder(bench_dir / "one").locked(),
        pytest.raises(BenchError, match="another serbench is working"),
    ):
        run_matrix(settings(bench_dir, "one"), Reporter())


def test_only_a_part_runs_and_the_rest_is_kept(bench_dir: Path) -> None:
    summary = run_matrix(settings(bench_dir, "one", only={"system": ["majority"]}), Reporter())
    assert summary.computed == 5
    assert run_matrix(settings(bench_dir, "one"), Reporter()).computed == 10


def test_a_setting_changes_the_identity_of_its_system_only(bench_dir: Path) -> None:
    run_matrix(settings(bench_dir, "one"), Reporter())
    changed = run_matrix(settings(bench_dir, "one", settings={"slow": {"wait": "0.01"}}), Reporter())
    assert changed.computed == 10


def test_the_limit_takes_clips_evenly_and_cannot_be_published(bench_dir: Path) -> None:
    run_matrix(settings(bench_dir, "one", limit=18), Reporter())
    facts = json.loads((bench_dir / "one" / "records" / "majority__tones.ms__within__clean.json").read_text())
    assert (facts["clips"], facts["speakers"]) == (18, 6)
    assert not facts["publishable"]
    assert "--limit" in facts["obstacles"][0]


def test_environment_of_workers_is_single_threaded() -> None:
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_a_task_that_cannot_be_split_is_refused_and_the_others_run(bench_dir: Path) -> None:
    from bench.execution.planning.forecast import forecast

    write_tone_corpus(bench_dir / "data" / "duo", speakers=2)
    summary = run_matrix(settings(bench_dir, "one"), Reporter())
    assert summary.computed == 15
    assert set(summary.refused) == {"slow__duo.ms__within__clean", "majority__duo.ms__within__clean"}
    (reason,) = set(summary.refused.values())
    assert "2 speaker(s)" in reason
    assert "zero-shot" in reason
    assert any(reason in note for note in forecast(settings(bench_dir, "one")).notes)


def test_a_stand_in_runs_only_where_the_other_cannot(
    bench_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("SERBENCH_WEIGHTS", raising=False)
    needy = "name: needy\nfamily: trained\ntrack: adapted\nadapter: slow_adapter:Slow\nweights: {local: some-encoder}\n"
    (bench_dir / "needy.yaml").write_text(needy)
    entries = "  - systems: ./needy.yaml\n  - systems: majority\n    stands_in_for: ./needy.yaml\n"
    (bench_dir / "kill.yaml").write_text(f"name: kill\nentries:\n{entries}")
    without = run_matrix(settings(bench_dir, "without"), Reporter())
    assert (without.computed, set(without.blocked)) == (5, {"needy"})
    assert "some-encoder' not found" in without.blocked["needy"]
    weights = bench_dir / "weights" / "some-encoder"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setenv("SERBENCH_WEIGHTS", str(bench_dir / "weights"))
    summary = run_matrix(settings(bench_dir, "with"), Reporter())
    assert set(summary.blocked) == set()
    assert not list((bench_dir / "with" / "records").glob("majority*"))


BAD = """
import sys
from bench.protocols import Answers

class Bad:
    def __init__(self, way=""):
        self.way = way
    def fit(self, train, dev, context):
        self.label = context.labels[0]
        if self.way == "exit":
            sys.exit(3)
    def predict(self, clips):
        notes = {"loss": float("nan")} if self.way == "notes" else {}
        return Answers(("ok",) * len(clips), (self.label,) * len(clips), notes=notes)
"""


@pytest.mark.parametrize(("way", "said"), [("exit", "SystemExit: 3"), ("notes", "notes must be JSON values")])
def test_an_adapter_that_misbehaves_fails_alone(bench_dir: Path, way: str, said: str) -> None:
    (bench_dir / f"bad_{way}.py").write_text(BAD)
    card = f"name: bad\nfamily: trained\ntrack: adapted\nadapter: bad_{way}:Bad\nparams: {{way: {way}}}\n"
    (bench_dir / "slow.yaml").write_text(card)
    summary = run_matrix(settings(bench_dir, "one"), Reporter())
    assert len(summary.failed) == 10
    assert all(said in (f.error or "") for f in summary.failed)
    assert [p for p in records(bench_dir / "one") if p.startswith("majority")]


def test_a_probe_with_a_parameter_that_is_none_is_refused_before_anything_is_encoded(bench_dir: Path) -> None:
    card = "name: slow\nfamily: acoustic\ntrack: probed\nfeatures: {encoder: 'adapters.acoustic:Egemaps'}\nprobe: superb\n"
    (bench_dir / "slow.yaml").write_text(card + "params: {learning_rates: 0.01, max_steps: lots}\n")
    with pytest.raises(
        UsageError, match=r"slow: probe 'superb': .*learning_rates: found 0.01.*max_steps: found 'lots'"
    ):
        run_matrix(settings(bench_dir, "one"), Reporter())


def test_a_part_of_a_run_is_not_blamed_for_what_failed_elsewhere(bench_dir: Path) -> None:
    (bench_dir / "bad_exit.py").write_text(BAD)
    card = "name: bad\nfamily: trained\ntrack: adapted\nadapter: bad_exit:Bad\nparams: {way: exit}\n"
    (bench_dir / "slow.yaml").write_text(card)
    part = settings(bench_dir, "one")
    bad = run_matrix(replace(part, only={"system": ["bad"]}), Reporter())
    assert (bad.computed, len(bad.failed)) == (0, 10)
    other = replace(part, only={"system": ["majority"]})
    first, again = run_matrix(other, Reporter()), run_matrix(other, Reporter())
    assert (first.computed, first.kept, first.failed) == (5, 0, ())
    assert (again.computed, again.kept, again.failed) == (0, 5, ())


def test_a_damaged_or_edited_record_is_scored_again(bench_dir: Path) -> None:
    run_matrix(settings(bench_dir, "one"), Reporter())
    before = records(bench_dir / "one")
    folder = bench_dir / "one" / "records"
    (folder / "majority__tones.ms__within__clean.parquet").write_bytes(b"junk")
    edited = folder / "slow__tones.ms__within__clean.json"
    edited.write_text(edited.read_text().replace('"estimate": 0.', '"estimate": 0.9'))
    assert records(bench_dir / "one") != before
    assert run_matrix(settings(bench_dir, "one"), Reporter()).computed == 0
    assert records(bench_dir / "one") == before


def test_a_corpus_without_one_audible_clip_does_not_stop_the_others(bench_dir: Path) -> None:
    mute = write_tone_corpus(bench_dir / "data" / "mute")
    for path in (mute / "audio").iterdir():
        path.write_bytes(b"")
    run_matrix(settings(bench_dir, "one"), Reporter())
    assert "majority__tones.ms__within__clean.json" in records(bench_dir / "one")
    facts = json.loads((bench_dir / "one/records/majority__mute.ms__within__clean.json").read_text())
    assert (facts["coverage"], facts["publishable"]) == (0.0, False)
    assert {s["estimate"] for s in facts["scores"] if s["metric"] == "ua"} == {0.0}


def test_a_speaker_without_audible_clips_costs_rows_and_no_fold(bench_dir: Path) -> None:
    for path in (bench_dir / "data" / "tones" / "audio").glob("s0-*"):
        path.write_bytes(b"")
    (bench_dir / "kill.yaml").write_text("name: kill\nentries:\n  - systems: egemaps-linear\n")
    (bench_dir / "data/tones/card.yaml").write_text("name: tones\nlanguages: [ms]\nsplit: {folds: loso}\n")
    summary = run_matrix(settings(bench_dir, "one"), Reporter())
    assert summary.failed == ()
    facts = json.loads((bench_dir / "one/records/egemaps-linear__tones.ms__within__clean.json").read_text())
    assert facts["statuses"] == {"ok": 30, "undecodable": 6}


def test_clusters_finer_than_speakers_are_named_and_not_published(bench_dir: Path) -> None:
    metadata = bench_dir / "data" / "tones" / "metadata.csv"
    lines = metadata.read_text().splitlines()
    lines = [lines[0] + ",session"] + [f"{line},{i}" for i, line in enumerate(lines[1:])]
    metadata.write_text("\n".join(lines) + "\n")
    card = bench_dir / "data" / "tones" / "card.yaml"
    card.write_text("name: tones\nlanguages: [ms]\ncluster: session\n")
    run_matrix(settings(bench_dir, "one"), Reporter())
    facts = json.loads((bench_dir / "one/records/majority__tones.ms__within__clean.json").read_text())
    assert len(facts["clusters"]) == 36
    assert "cut into several clusters" in facts["obstacles"][0]
    # With the speaker's name as session the clusters change, and with them the record, though no cell does.
    names = [line.split(",")[1] for line in lines[1:]]
    metadata.write_text(
        "\n".join(
            [lines[0]] + [line.rpartition(",")[0] + "," + n for line, n in zip(lines[1:], names, strict=True)]
        )
        + "\n"
    )
    assert run_matrix(settings(bench_dir, "one"), Reporter()).computed == 0
    facts = json.loads((bench_dir / "one/records/majority__tones.ms__within__clean.json").read_text())
    assert (len(facts["clusters"]), facts["obstacles"]) == (6, [])


def test_a_matrix_with_one_seed_twice_is_refused(bench_dir: Path) -> None:
    (bench_dir / "kill.yaml").write_text("name: kill\nentries:\n  - systems: majority\n    seeds: [0, 0]\n")
    with pytest.raises(UsageError, match=r"line 4: entries\.0\.seeds: seeds must differ"):
        run_matrix(settings(bench_dir, "one"), Reporter())


def test_a_misspelt_language_of_a_corpus_at_hand_is_refused(bench_dir: Path) -> None:
    (bench_dir / "kill.yaml").write_text(
        "name: kill\nentries:\n  - systems: majority\n    tasks: [tones.ms, tones.mx]\n"
    )
    with pytest.raises(UsageError, match=r"no task 'tones\.mx'; did you mean 'tones\.ms'"):
        run_matrix(settings(bench_dir, "one"), Reporter())


def test_what_cannot_be_is_refused_before_anything_is_computed(bench_dir: Path) -> None:
    (bench_dir / "kill.yaml").write_text(
        "name: kill\nentries:\n  - systems: egemaps-linear\n    protocol: zero-shot\n"
    )
    with pytest.raises(UsageError, match="egemaps-linear is a probe, which must be trained"):
        run_matrix(settings(bench_dir, "one"), Reporter())
    card = "name: slow\nfamily: acoustic\ntrack: probed\nfeatures: {encoder: a:B}\nprobe: linaer\n"
    (bench_dir / "slow.yaml").write_text(card)
    (bench_dir / "kill.yaml").write_text(MATRIX)
    with pytest.raises(UsageError, match="no probe 'linaer'; did you mean 'linear'"):
        run_matrix(settings(bench_dir, "one"), Reporter())


@pytest.mark.parametrize(
    "problem", [ZeroDivisionError("a degenerate\nrecord"), OSError("odd"), KeyError("x")]
)
def test_a_record_that_cannot_be_scored_leaves_the_others_alone(
    bench_dir: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def failing(record: RecordPlan, *rest: object) -> object:
        if record.system.name == "majority":
            raise problem
        return score_planned(record, *rest)  # type: ignore[arg-type]

    notes: list[str] = []
    reporter = Reporter()
    monkeypatch.setattr(reporter, "note", notes.append)
    monkeypatch.setattr(scoring_stage, "score_planned", failing)
    summary = run_matrix(settings(bench_dir, "one"), reporter)

    folder = RunFolder(bench_dir / "one")
    assert summary.failed == ()
    assert {name.split("__")[0] for name in records(folder.root)} == {"slow"}
    ((stem, cause),) = json.loads(folder.unscored.read_text()).items()
    said = " ".join(str(problem).split())
    assert stem.startswith("majority")
    assert cause == f"{type(problem).__name__}: {said}; the trace is in run.log"
    assert any(cause in note for note in notes)
    assert f"scoring {stem}" in folder.log.read_text()
    assert "Traceback" in folder.log.read_text()
    monkeypatch.setattr(scoring_stage, "score_planned", score_planned)  # mended: the next run scores it
    run_matrix(settings(bench_dir, "one"), Reporter())
    assert json.loads(folder.unscored.read_text()) == {}
    assert any(name.startswith("majority") for name in records(folder.root))


def test_a_full_disk_ends_the_scoring(bench_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scoring_stage, "write_record", full)
    with pytest.raises(OSError, match="No space left"):
        run_matrix(settings(bench_dir, "one"), Reporter())
