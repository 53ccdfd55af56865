"""``corpus describe``, ``corpus verify``, ``doctor`` and ``check`` as a user meets them: words, JSON, exit codes."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import soundfile

from bench.cards.registry import load_system
from bench.cards.weight_files import weight_file_faults
from bench.cli import doctor_checks
from bench.cli.doctor_checks import ImportProbe, run_probe
from bench.execution.contract import TestBed, encoder_checks
from bench.execution.planning.systems import resolve_system
from tests.command import Command
from tests.conftest import write_tone_corpus


@pytest.fixture
def quick_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the fresh interpreters that import torch (half a minute on a busy machine), and this machine's disk."""
    monkeypatch.setattr(doctor_checks, "torch_probe", lambda: ImportProbe("torch and torchaudio", "", ""))
    monkeypatch.setattr("bench.cli.doctor_systems.adapter_probes", lambda: ())
    monkeypatch.setattr(
        "bench.cli.doctor.LEAST_WAIT", 60.0
    )  # a busy machine starts no interpreter within a second
    monkeypatch.setattr("bench.cli.doctor.S3PRL", ImportProbe("s3prl", "print('s3prl 0.4.18')", ""))
    monkeypatch.setattr(doctor_checks, "gpu_count", lambda: 0)
    monkeypatch.setattr(doctor_checks, "LEAST_DISK", 0.0)
    monkeypatch.setattr(doctor_checks, "LEAST_MEMORY", 0.0)


def findings(said_json: list[dict[str, str]], name: str) -> list[tuple[str, str, str]]:
    return [(f["state"], f["found"], f["mend"]) for f in said_json if name in f["name"]]


def test_describe_by_name_by_folder_and_as_json_agree(serbench: Command, tone_corpus: Path) -> None:
    by_name = serbench("corpus", "describe", "tones", "--data", tone_corpus.parent, "--json")
    by_folder = serbench("corpus", "describe", tone_corpus, "--json")
    assert by_name.code == by_folder.code == 0
    assert by_name.json == by_folder.json
    assert (by_folder.json["clips"], by_folder.json["speakers"]) == (36, 6)
    words = serbench("corpus", "describe", tone_corpus).out
    for part in (
        "36, 0.2 minutes",
        "6, 6 to 6 clips each",
        "ms 36",
        "36 × .wav 16000 Hz mono",
        "tones.ms: 36 clips",
    ):
        assert part in words


def test_describe_drafts_a_card_that_runs_and_never_overwrites_it(
    serbench: Command, tone_corpus: Path
) -> None:
    (tone_corpus / "card.yaml").unlink()
    (tone_corpus / "LICENSE [draft].txt").write_text("x")
    assert "draft one with: serbench corpus describe" in serbench("corpus", "describe", tone_corpus).out
    assert not list(tone_corpus.glob("*.yaml"))  # describing alone writes nothing into a user's folder
    assert "card drafted" in serbench("corpus", "describe", tone_corpus, "--new-card").out
    tasks = serbench("list", "tasks", "--data", tone_corpus, "--json").json
    assert [t["labels"] for t in tasks if t["name"] == "tones.ms"] == [["happy", "sad", "angry"]]
    before = (tone_corpus / "card.yaml").read_bytes()
    assert "none is overwritten" in serbench("corpus", "describe", tone_corpus, "--new-card").sentence
    assert (tone_corpus / "card.yaml").read_bytes() == before


def test_verify_ends_with_1_and_names_the_file_and_the_way_on(serbench: Command, tone_corpus: Path) -> None:
    assert "verified for the first time" in serbench("corpus", "verify", tone_corpus).out
    result = serbench("corpus", "verify", tone_corpus)
    assert (result.code, "as they were" in result.out) == (0, True)
    clip = tone_corpus / "audio" / "s3-angry-1.wav"
    samples, rate = soundfile.read(clip)
    soundfile.write(clip, samples[:-1], rate)
    result = serbench("corpus", "verify", tone_corpus)
    assert result.code == 1
    assert "changed (another sound than before) (1):\n  audio/s3-angry-1.wav" in result.out
    remedy = result.out.strip().splitlines()[-1]
    manifest = Path(remedy.rpartition("rm ")[2])
    assert serbench("corpus", "verify", tone_corpus, "--json").json["changed"] == ["audio/s3-angry-1.wav"]
    manifest.unlink()  # what the last line tells the user to do
    assert serbench("corpus", "verify", tone_corpus).code == 0


@pytest.mark.usefixtures("quick_doctor")
def test_a_healthy_installation_has_nothing_wrong(
    serbench: Command, tone_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SERBENCH_WEIGHTS", raising=False)
    result = serbench("doctor", "--data", tone_corpus, "--json")
    assert result.code == 0, result.out
    assert "wrong" not in {f["state"] for f in result.json}
    assert findings(result.json, "packages")[0][0] == "ok"
    assert findings(result.json, "tones") == [("ok", f"36 clips, 6 speakers in {tone_corpus}", "")]
    ((state, found, mend),) = findings(result.json, "whisper-tiny.en-superb")
    assert (state, "SERBENCH_WEIGHTS is not set" in found) == ("missing", True)
    assert mend.startswith("hf download openai/whisper-tiny.en --local-dir")
    assert all(f["mend"] for f in result.json if f["state"] != "ok")
    words = serbench("doctor", "--data", tone_corpus)
    assert words.code == 0
    first, *lines = words.out.splitlines()
    assert re.fullmatch(r"\d+ looked at: 0 wrong, \d+ missing \(optional\)", first)
    assert len(lines) < 40, "systems are summed up"
    assert re.search(r"systems +\d+ can run here\n", words.out)
    few = ["majority", "whisper-tiny.en-superb"]
    monkeypatch.setattr("bench.cli.doctor_systems.system_names", lambda: few)
    named = serbench("doctor", "--data", tone_corpus, "--systems")
    assert "whisper-tiny.en-superb" in named.out
    assert "whisper-tiny.en-superb" not in words.out


@pytest.mark.usefixtures("quick_doctor")
def test_the_doctor_finds_what_is_broken_and_says_what_mends_it(
    serbench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bare, bad = (write_tone_corpus(tmp_path / "data" / n) for n in ("good", "bare", "bad"))
    (bare / "card.yaml").unlink()
    result = serbench("doctor", "--data", tmp_path / "data", "--json")
    assert result.code == 0
    assert findings(result.json, str(bare)) == [
        ("missing", "has no card", f"serbench corpus describe {bare} --new-card")
    ]
    assert [f[0] for f in findings(result.json, "good")] == ["ok"]
    text = (bad / "metadata.csv").read_text().replace("angry,ms", "cross,ms")
    (bad / "metadata.csv").write_text(text)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "file" / "cache"))
    result = serbench("doctor", "--data", tmp_path / "data", "--json")
    assert result.code == 1
    assert {f["name"] for f in result.json if f["state"] == "wrong"} == {"bad", "cache"}
    assert "unknown emotion name 'cross'" in findings(result.json, "bad")[0][1]
    assert findings(result.json, "cache")[0][2] == "export SERBENCH_CACHE=FOLDER"
    result = serbench("doctor", "--data", tmp_path / "nowhere", "--json")
    assert findings(result.json, "data folders")[0][0] == "wrong"
    assert good.exists()


@pytest.mark.usefixtures("quick_doctor")
def test_another_package_called_adapters_is_noticed(
    serbench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The unrelated distribution of that name, as pip leaves it behind on the path.
    info = tmp_path / "site" / "adapters-1.2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: adapters\nVersion: 1.2.0\n")
    (info / "top_level.txt").write_text("adapters\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    result = serbench("doctor", "--json")
    assert result.code == 1
    ((state, found, mend),) = findings(result.json, "name 'adapters'")
    assert (state, "also belongs to adapters" in found) == ("wrong", True)
    assert mend.startswith("pip uninstall -y adapters && ")


@pytest.mark.usefixtures("quick_doctor")
def test_a_gpu_that_torch_does_not_see_is_wrong(serbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "gpu_count", lambda: 2)
    for seen, state in ((0, "wrong"), (2, "ok")):
        probe = ImportProbe("torch and torchaudio", f"print('torch 2, CUDA devices: {seen}')", "")
        monkeypatch.setattr(doctor_checks, "torch_probe", lambda probe=probe: probe)
        result = serbench("doctor", "--json")
        assert [f[0] for f in findings(result.json, "GPUs")] == [state]


@pytest.mark.usefixtures("quick_doctor")
def test_a_package_that_is_missing_or_too_old_is_named(
    serbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = importlib.metadata.requires

    def requires(name: str) -> list[str]:
        return ["numpy>=99", "no-such-package>=1", *(honest(name) or [])]

    monkeypatch.setattr("importlib.metadata.requires", requires)
    result = serbench("doctor", "--json")
    assert result.code == 1
    assert findings(result.json, "no-such-package") == [
        ("wrong", "not installed; needed: no-such-package>=1", "pip install 'no-such-package>=1'")
    ]
    assert "needed: numpy>=99" in findings(result.json, "numpy")[0][1]


def test_an_import_that_fails_hangs_or_crashes_is_wrong_and_nothing_worse() -> None:
    def state(code: str, limit: float = 60.0) -> tuple[str, str]:
        found = run_probe(ImportProbe("p", code, "mend it"), limit=limit)
        assert found.mend == ("mend it" if found.state == "wrong" else "")
        return found.state, found.found

    assert state("print('noise'); print('torch 2.11.0')") == ("ok", "torch 2.11.0")
    assert state("import no_such_module") == (
        "wrong",
        "ModuleNotFoundError: No module named 'no_such_module'",
    )
    assert state("import time; time.sleep(60)", 0.5) == ("wrong", "does not import within 0 s")
    assert state("import os; os.abort()")[0] == "wrong"


def test_what_is_wrong_is_told_before_what_is_optional(
    quick_doctor: None, serbench: Command, tone_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tone_corpus / "audio/s0-sad-0.wav").write_bytes(b"")
    (tone_corpus / "audio/s1-sad-0.wav").unlink()
    monkeypatch.delenv("SERBENCH_WEIGHTS", raising=False)
    said = serbench("doctor", "--data", tone_corpus)
    assert said.code == 1
    assert said.out.startswith(next(line for line in said.out.splitlines() if "looked at: 1 wrong" in line))
    order = [said.out.index(word) for word in ("wrong, until mended", "missing, and optional", "fine")]
    assert order == sorted(order)
    assert "2 of 36 audio files" in said.out[order[0] : order[1]]


def test_torch_that_takes_long_is_only_not_seen(
    quick_doctor: None, serbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = ImportProbe("torch and torchaudio", "import time; time.sleep(60)", "mend")
    monkeypatch.setattr(doctor_checks, "torch_probe", lambda: slow)
    monkeypatch.setattr("bench.cli.doctor.LEAST_WAIT", 0.5)
    result = serbench("doctor", "--json")
    assert result.code == 0
    ((state, found, mend),) = findings(result.json, "torch and torchaudio")
    assert (state, mend) == ("unseen", "serbench doctor --systems")
    assert "no longer was waited" in found


def safetensors(tensors: int = 3) -> bytes:
    header = json.dumps({f"t{i}": {"dtype": "F32", "shape": [2], "data_offsets": [8 * i, 8 * i + 8]} for i in range(tensors)} | {"__metadata__": {"format": "pt"}})  # fmt: skip
    return len(header).to_bytes(8, "little") + header.encode() + bytes(8 * tensors)


WHOLE = safetensors()
DAMAGED = {
    "half": (WHOLE[: len(WHOLE) - 5], f"is cut off: it has {len(WHOLE) - 5:,} bytes, and by its header {len(WHOLE):,}"),
    "header": (WHOLE[:40], "is cut off at 40 bytes, within its header"),
    "three bytes": (WHOLE[:3], "is cut off at 3 bytes"),
    "nothing": (b"", "is cut off at 0 bytes"),
    "more": (WHOLE + b"more", "goes on behind its end"),
    "a web page": (b"<!DOCTYPE html><html><body>sign in</body></html>", "is no safetensors file"),
    "git": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git's placeholder"),
    "junk header": ((20).to_bytes(8, "little") + b'{"a": {"data_off": 1}' + bytes(9), "is no safetensors file"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED)
def test_weights_that_are_cut_off_are_seen_without_being_loaded(
    quick_doctor: None, serbench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    content, said = DAMAGED[damage]
    for name, data in (("mine", content), ("whole", WHOLE)):
        (tmp_path / "weights" / name).mkdir(parents=True)
        (tmp_path / "weights" / name / "config.json").write_text("{}")
        (tmp_path / "weights" / name / "model.safetensors").write_bytes(data)
    monkeypatch.setenv("SERBENCH_WEIGHTS", str(tmp_path / "weights"))
    result = serbench("doctor", "--json")
    assert result.code == 1
    ((state, found, mend),) = findings(result.json, "mine")
    assert (state, said in found) == ("wrong", True), found
    assert mend in ("copy or download it again", "run there: git lfs pull")
    assert [f["found"] for f in result.json if f["area"] == "weights" and f["state"] == "ok"] == [
        "1 whole: whole"
    ]


def test_other_files_of_weights_are_looked_at_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive.bin", "w") as archive:
        archive.writestr("data.pkl", bytes(1000))
    packed = (tmp_path / "archive.bin").read_bytes()
    (tmp_path / "pytorch_model.bin").write_bytes(packed[:500])
    (tmp_path / "old.pt").write_bytes(b"\x80\x02a pickle of old, whose length nothing tells")
    (tmp_path / "config.json").write_text('{"a": 1')
    (tmp_path / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-1.safetensors", "b": "archive.bin"}}'
    )
    told = [f.removeprefix(f"{tmp_path}/").partition("; ")[0] for f in weight_file_faults(tmp_path)]
    assert told == [
        "config.json: is no whole JSON file (7 bytes)",
        "pytorch_model.bin: is cut off at 500 bytes (its list of contents, which stands at the end, is missing)",
        "model-1.safetensors: is named by model.safetensors.index.json and is not there",
    ]


def test_real_weights_are_whole(real_weights: Path) -> None:
    for folder in real_weights.iterdir():
        if folder.is_dir():
            assert weight_file_faults(folder) == []


@pytest.mark.slow
def test_the_real_imports_work_here() -> None:
    # The whole doctor once, with nothing left out: torch with torchaudio, s3prl, and the code of every system.
    done = subprocess.run(
        [sys.executable, "-m", "bench.cli", "doctor", "--systems", "--json"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert [f["state"] for f in result if f["area"] == "imports"] == ["ok"] * 3, done.stdout
    wrong = {f["name"] for f in result if f["state"] == "wrong"}
    assert wrong <= {"disk", "memory"}, done.stdout  # what other programs took says nothing about this suite
    assert done.returncode == bool(wrong)


def test_check_prints_a_table_or_json_and_the_exit_code_tells(serbench: Command, tmp_path: Path) -> None:
    result = serbench("check", "majority", "--json")
    assert (result.code, result.json["passed"]) == (0, True)
    assert "12 checks, all hold" in serbench("check", "majority").out
    (tmp_path / "loud.py").write_text(LOUD)
    (tmp_path / "loud.yaml").write_text("name: loud\nfamily: acoustic\ntrack: probed\nadapter: loud:Loud\n")
    sys.path.insert(0, str(tmp_path))
    try:
        result = serbench("check", tmp_path / "loud.yaml", "--json")
    finally:
        sys.path.remove(str(tmp_path))
    assert result.code == 1
    assert [c["name"] for c in result.json["checks"] if not c["passed"]] == ["probabilities", "odd audio"]
    assert "chatter" in result.err  # what an adapter prints stays off standard output


LOUD = """
import numpy as np
from bench.protocols import Answers

class Loud:
    def fit(self, train, dev, context):
        print("chatter")
        self.labels = context.labels

    def predict(self, clips):
        n = len(clips)
        return Answers(("ok",) * n, (self.labels[0],) * n, np.full((n, len(self.labels)), 0.9))
"""


def test_a_dry_run_before_anything_is_decoded_says_what_it_would_take(
    serbench: Command, tone_corpus: Path
) -> None:
    result = serbench(
        "run", "quick", "--data", tone_corpus, "--only", "system=majority", "--dry-run", "--json"
    )
    assert result.code == 0, result.err
    assert (result.json["cells"], result.json["done"], result.json["undecoded"]) == (5, 0, 36)


def test_check_on_what_cannot_run_here_is_one_line(serbench: Command) -> None:
    result = serbench("check", "qwen2-audio-7b-instruct-choice")
    assert result.code == 1
    assert len(result.sentence.strip().splitlines()) == 1
    assert "needs a server" in result.err


@pytest.mark.real
def test_a_real_encoder_keeps_the_contract(
    real_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERBENCH_WEIGHTS", str(real_weights))
    checks = list(encoder_checks(TestBed(resolve_system(load_system("whisper-tiny.en-superb")), tmp_path)))
    assert len(checks) == 6
    assert all(c.passed for c in checks), checks
