"""A system whose pins clash with the suite's: its adapter works in an environment of its own, and nobody sees a difference."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bench.cards.registry import load_system, with_settings
from bench.cards.system import SystemCard
from bench.errors import BenchError, CannotRun, DataError, UsageError
from bench.execution.contract import TestBed, check_system, encoder_checks
from bench.execution.environments import boot
from bench.execution.environments.building import build_environment
from bench.execution.environments.near_side import SILENT_VARIABLE
from bench.execution.environments.requirements import read_requirements
from bench.execution.environments.wire import PROTOCOL, receive
from bench.execution.fitting import build_predictor, check_buildable
from bench.execution.planning.systems import System, resolve_system
from bench.execution.worker import build_encoder
from bench.protocols import Clips, Examples, FitContext

OTHER_NUMPY = "2.2.6" if np.__version__ != "2.2.6" else "2.3.5"
ADAPTER = '''
import os, subprocess, sys, time
import numpy as np
from bench.errors import DataError
from bench.protocols import Answers

class Odd(RuntimeError):
    pass

class Loudness:
    """A frame's loudness and peak; the length of a clip says what goes wrong."""

    def __init__(self, device: str, gain: float = 1.0):
        self.gain = gain

    def encode(self, waveforms):
        return [self._one(w) for w in waveforms]

    def _one(self, w):
        if len(w) == 1:
            raise DataError("too short for the front end")
        if len(w) == 2:
            raise Odd("an exception of its own")
        if len(w) == 3:
            return unknown_name
        if len(w) == 4:
            raise MemoryError("none left")
        if len(w) == 5:
            sys.exit("done")
        if len(w) == 6:
            os.kill(os.getpid(), 9)
        if len(w) == 7:
            child = subprocess.Popen(["sleep", "300"])
            print("child", child.pid, flush=True)
            time.sleep(300)
        if len(w) == 8:
            os.write(1, b"straight to standard output\\n")
            print("printed")
        frames = w[: len(w) // 4 * 4].reshape(-1, 4) * np.float32(self.gain)
        return np.stack([np.stack([np.sqrt((frames**2).mean(1)), np.abs(frames).max(1)], 1)]).astype(np.float32)

class Nearest:
    """The label whose mean loudness is nearest."""

    def __init__(self, power: int = 1, weights=None):
        self.power = power

    def fit(self, train, dev, context):
        self.labels, self.features = context.labels, context.features
        self.means = []
        for i, label in enumerate(context.labels):
            own = [j for j, x in enumerate(train.labels) if x == label]
            self.means.append(np.mean([self._loud(train.clips, j) for j in own]))
            context.progress(i + 1, len(context.labels))
        self.seen = {"soft": None if train.soft_labels is None else train.soft_labels.sum(), "dev": len(dev),
                     "dims": np.nansum(train.dimensions), "speakers": list(train.speakers), "workdir": context.workdir.is_dir(),
                     "seed": np.int64(context.seed), "texts": train.clips.transcripts}

    def _loud(self, clips, i):
        kept = self.features
        if kept is not None and clips.pcm_hashes[i] in kept:
            return float(kept[clips.pcm_hashes[i]].mean())
        return float(np.sqrt((clips.read(i).astype(np.float64) ** 2).mean()))

    def predict(self, clips):
        loud = np.array([self._loud(clips, i) for i in range(len(clips))])
        near = np.exp(-np.abs(loud[:, None] - np.array(self.means)) ** self.power)
        probabilities = near / near.sum(1, keepdims=True)
        labels = tuple(self.labels[k] for k in near.argmax(1))
        whole = Answers(("ok",) * len(clips), labels, probabilities, notes=dict(self.seen))
        return Answers(whole.statuses, labels, probabilities, np.full((len(clips), 3), np.nan), labels, whole.notes, {"plain": whole})
'''
ENCODER = """
name: {name}
family: encoder
track: probed
requirements: requirements.txt
features: {{encoder: "far_adapter:Loudness", pooled: true}}
probe: linear
weights: none
"""
PREDICTOR = """
name: {name}
family: trained
track: adapted
requirements: requirements.txt
adapter: far_adapter:Nearest
seeds: false
"""


@pytest.fixture(autouse=True)
def _own_path_and_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Cards put their folder on the path of imports; each test has one of its own, and an empty cache."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))


def written(folder: Path, *, pins: str = f"numpy=={np.__version__}\n") -> Path:
    """Two cards with their code and requirements, in a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "far_adapter.py").write_text(ADAPTER)
    (folder / "requirements.txt").write_text(pins)
    (folder / "far-encoder.yaml").write_text(ENCODER.format(name="far-encoder"))
    (folder / "far-nearest.yaml").write_text(PREDICTOR.format(name="far-nearest"))
    return folder


def card(folder: Path, name: str, **settings: str) -> SystemCard:
    return with_settings(load_system(str(folder / f"{name}.yaml")), settings)


def ready(folder: Path, name: str) -> System:
    """The system, run by this very Python, which holds what its file pins."""
    system = resolve_system(card(folder, name, python=sys.executable))
    assert system.blocked is None, system.blocked
    return system


def noise(length: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(length).astype(np.float32)


# --- pins that clash, as a stranger would bring them


def wheel(folder: Path, needs: str) -> str:
    """A package that works with one numpy alone."""
    name = "clashing_numbers-1.0-py3-none-any.whl"
    about = "clashing_numbers-1.0.dist-info"
    code = f"import numpy as np\nassert np.__version__ == {needs!r}, np.__version__\nHELD = np.__version__\n"
    with zipfile.ZipFile(folder / name, "w") as made:
        made.writestr("clashing_numbers.py", code)
        made.writestr(
            f"{about}/METADATA",
            f"Metadata-Version: 2.1\nName: clashing-numbers\nVersion: 1.0\nRequires-Dist: numpy=={needs}\n",
        )
        made.writestr(
            f"{about}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        made.writestr(f"{about}/RECORD", "")
    return name


def test_a_package_that_pins_another_numpy_runs_after_consent_and_meets_the_whole_contract(
    tmp_path: Path,
) -> None:
    folder = written(tmp_path / "mine")
    (folder / "requirements.txt").write_text(f"numpy=={OTHER_NUMPY}\n./{wheel(folder, OTHER_NUMPY)}\n")
    code = (folder / "far_adapter.py").read_text()
    (folder / "far_adapter.py").write_text(f"import clashing_numbers\n{code}")
    for name in ("far-encoder", "far-nearest"):
        with pytest.raises(CannotRun, match=rf"not built yet: serbench env build {folder}/{name}\.yaml"):
            check_system(card(folder, name))

    said: list[str] = []
    built = build_environment(card(folder, "far-encoder"), said.append)
    build_environment(card(folder, "far-nearest"), said.append)
    assert said[0].startswith("building ")
    assert said[1].endswith("holds it already")
    assert built.packages["numpy"] == OTHER_NUMPY != np.__version__
    assert "clashing_numbers" not in sys.modules
    assert importlib.util.find_spec("clashing_numbers") is None

    system = resolve_system(card(folder, "far-encoder"))
    assert system.feature_identity is not None
    assert system.feature_identity["versions"]["numpy"] == OTHER_NUMPY
    bed = TestBed(system, tmp_path / "bed")
    report = check_system(card(folder, "far-nearest"))
    checks = [*encoder_checks(bed), *report.checks]
    assert len(checks) > 15
    assert not [c for c in checks if not c.passed]

    wheel(folder, "9.9")  # other bytes in the package beside the card: another environment, another key
    assert "not built yet" in (resolve_system(card(folder, "far-encoder")).blocked or "")


def test_what_pip_cannot_install_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine")
    (folder / "requirements.txt").write_text("./broken-1.0-py3-none-any.whl\n")
    (folder / "broken-1.0-py3-none-any.whl").write_bytes(b"no archive")
    with pytest.raises(CannotRun, match=r"requirements\.txt cannot be installed: .*Mend the file"):
        build_environment(card(folder, "far-encoder"))
    assert "not built yet" in (resolve_system(card(folder, "far-encoder")).blocked or "")
    with pytest.raises(UsageError, match="majority needs no environment of its own"):
        build_environment(load_system("majority"))


# --- the border cannot be seen


def examples(n: int, *, seed: int = 0) -> Examples:
    sounds = [noise(400 + i, seed + i) * (1 + i % 2) for i in range(n)]
    clips = Clips(
        ids=tuple(f"c{i}" for i in range(n)),
        pcm_hashes=tuple(f"h{seed + i}" for i in range(n)),
        seconds=np.array([len(s) / 16_000 for s in sounds]),
        languages=("de",) * n,
        read=lambda i: sounds[i],
        transcripts=tuple(f"wörter {i}" for i in range(n)),
    )
    labels = tuple(("calm", "angry")[i % 2] for i in range(n))
    votes = np.tile([0.25, 0.75], (n, 1))
    dimensions = np.linspace(0, 1, 3 * n).reshape(n, 3)
    dimensions[0, 0] = np.nan
    return Examples(clips, labels, dimensions, tuple(f"p/s{i}" for i in range(n)), votes)


def test_a_predictor_answers_as_it_does_beside_the_suite(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine")
    features: Any = {
        "h0": noise(6).reshape(2, 3),
        "h101": noise(6, 1).reshape(2, 3),
    }  # of the others audio is read
    steps: list[tuple[float, float]] = []
    context = FitContext(
        ("calm", "angry"), True, 3, tmp_path, features=features, progress=lambda *step: steps.append(step)
    )
    apart = build_predictor(ready(folder, "far-nearest"))
    spec = importlib.util.spec_from_file_location("far_adapter_here", folder / "far_adapter.py")
    assert spec is not None
    assert spec.loader is not None
    here_module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(here_module)
    here = here_module.Nearest()
    train, dev, test = examples(6), examples(2, seed=50), examples(4, seed=100)
    for predictor in (apart, here):
        predictor.fit(train, dev, context)
    assert steps == [(1, 2), (2, 2)] * 2
    for clips in (test.clips, train.clips):
        one, other = apart.predict(clips), here.predict(clips)
        assert (one.statuses, one.labels, one.replies) == (other.statuses, other.labels, other.replies)
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
        np.testing.assert_array_equal(one.dimensions, other.dimensions)
        np.testing.assert_array_equal(one.variants["plain"].probabilities, other.probabilities)
        assert one.variants["plain"].dimensions is None
        assert one.notes == {k: list(v) if k == "texts" else v for k, v in other.notes.items()}
    assert one.notes["seed"] == 3
    assert one.notes["workdir"] is True

    def unreadable(i: int) -> Any:
        raise DataError(f"clip {i} is damaged in the store")

    with pytest.raises(DataError, match="clip 0 is damaged in the store"):
        apart.predict(replace(test.clips, read=unreadable))
    assert apart.predict(test.clips).labels == here.predict(test.clips).labels


# --- what goes wrong there is told here


def test_exceptions_cross_the_border_as_what_they_are_and_a_dead_process_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    encoder = build_encoder(ready(written(tmp_path / "mine"), "far-encoder"), "cpu")
    expected: dict[int, tuple[type[Exception], str]] = {
        1: (DataError, "too short for the front end"),
        2: (RuntimeError, "Odd: an exception of its own"),
        3: (BenchError, "NameError: name 'unknown_name' is not defined"),
        4: (MemoryError, "none left"),
        5: (BenchError, "SystemExit: done"),
    }
    for length, (kind, text) in expected.items():
        with pytest.raises(kind) as raised:
            encoder.encode([noise(length)])
        assert (type(raised.value), str(raised.value)) == (kind, text)
        (note,) = raised.value.__notes__
        assert "In the environment of far-encoder" in note
        assert "far_adapter.py" in note
        assert "far_side.py" not in note
    assert encoder.encode([noise(8)])[0].shape == (1, 2, 2)  # it goes on
    printed = capfd.readouterr()
    assert printed.out == ""
    assert {"straight to standard output", "printed"} <= set(printed.err.splitlines())

    died = "encode in the environment of far-encoder: its process was ended by SIGKILL"
    with pytest.raises(CannotRun, match=died):
        encoder.encode([noise(6)])
    assert encoder.encode([noise(16)])[0].shape == (1, 4, 2)  # begun anew


def test_what_was_interrupted_is_never_taken_for_another_answer(tmp_path: Path) -> None:
    def interrupt(_done: float, _total: float) -> None:
        raise KeyboardInterrupt

    predictor = build_predictor(ready(written(tmp_path / "mine"), "far-nearest"))
    train = examples(2)
    with pytest.raises(KeyboardInterrupt):
        predictor.fit(train, train, FitContext(("calm", "angry"), False, 0, tmp_path, progress=interrupt))
    with pytest.raises(CannotRun, match="ended with an earlier request, and what it had learnt with it"):
        predictor.predict(train.clips)


def test_silence_ends_a_request_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SILENT_VARIABLE, "2")
    encoder = build_encoder(ready(written(tmp_path / "mine"), "far-encoder"), "cpu")
    with pytest.raises(
        BenchError, match=f"no sign of life for 2 s; it was ended.*{SILENT_VARIABLE}"
    ) as raised:
        encoder.encode([noise(7)])
    assert not isinstance(raised.value, DataError | CannotRun)  # no clip's fault, and no reason to try again
    child = int(capfd.readouterr().err.split("child ")[1].split()[0])
    assert gone(child)
    monkeypatch.setenv(SILENT_VARIABLE, "soon")
    with pytest.raises(UsageError, match="'soon', expected seconds"):
        build_encoder(ready(tmp_path / "mine", "far-encoder"), "cpu")


def gone(pid: int) -> bool:
    """Whether a process ends within five seconds."""
    for _ in range(50):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.1)
    return False


def test_the_other_side_ends_when_this_one_is_killed(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine")
    order = {
        "suite": str(Path(boot.__file__).parents[2]),
        "adapter": str(folder / "far_adapter.py"),
        "top": "far_adapter",
    }
    starts = "import subprocess, sys, time; print(subprocess.Popen([sys.executable, '-I', *sys.argv[1:]]).pid, flush=True); time.sleep(300)"
    reading, writing = os.pipe()  # held open: no end of its input tells the other side
    starter = subprocess.Popen(
        [sys.executable, "-c", starts, boot.__file__, json.dumps(order)],
        stdin=reading,
        stdout=subprocess.PIPE,
    )
    assert starter.stdout is not None
    with starter:
        other = int(starter.stdout.readline())
        assert receive(starter.stdout.read).body["protocol"] == PROTOCOL
        assert psutil.pid_exists(other)
        starter.kill()
        assert gone(other)
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ("import not_there_at_all\n", CannotRun, "No module named 'not_there_at_all'.*requirements file"),
        (
            "class Loudness:\n    def __init__(self): pass\n",
            UsageError,
            r"does not take these parameters.*device",
        ),
        ("Other = 1\n", UsageError, "far_adapter has no 'Loudness'"),
    ],
)
def test_code_that_cannot_be_built_there(
    tmp_path: Path, change: str, kind: type[Exception], text: str
) -> None:
    folder = written(tmp_path / "mine")
    (folder / "far_adapter.py").write_text(change)
    with pytest.raises(kind, match=text):
        build_encoder(ready(folder, "far-encoder"), "cpu")


# --- which Python, and what the file may say


@pytest.fixture
def silent_program(tmp_path: Path) -> Path:
    """A program that is no Python."""
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexit 0\n")
    silent.chmod(0o755)
    return silent


def test_a_python_that_cannot_serve_blocks_the_system_in_words(
    tmp_path: Path, silent_program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path / "mine")
    for python, text in (
        (tmp_path / "nowhere", "cannot be started"),
        (silent_program, "does not answer like a Python"),
    ):
        blocked = resolve_system(card(folder, "far-encoder", python=str(python))).blocked or ""
        assert text in blocked
        assert "SERBENCH_PYTHON_FAR_ENCODER" in blocked
    (folder / "requirements.txt").write_text("numpy==1.2.3\nnot-a-thing==1\n")
    monkeypatch.setenv("SERBENCH_PYTHON_FAR_ENCODER", sys.executable)
    blocked = resolve_system(card(folder, "far-encoder")).blocked or ""
    assert f"has numpy {np.__version__}, and requirements.txt asks for numpy==1.2.3" in blocked
    (folder / "requirements.txt").unlink()
    assert "put that file beside the card" in (resolve_system(card(folder, "far-encoder")).blocked or "")


def test_the_interpreter_is_a_setting_and_no_part_of_card_or_key(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine")
    named = ready(folder, "far-encoder")
    assert "python" not in named.card.model_dump()
    assert sys.executable not in named.card.model_dump_json()
    check_buildable(named)
    (folder / "requirements.txt").write_text(f"# the same pins, other bytes\nnumpy=={np.__version__}\n")
    changed = ready(folder, "far-encoder")
    assert changed.feature_key != named.feature_key
    assert changed.identity != named.identity
    with pytest.raises(UsageError, match="majority has no parameter 'python'"):
        with_settings(load_system("majority"), {"python": sys.executable})


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("numpy", "may mean many versions.*pin it: numpy==VERSION"),
        ("numpy>=1.20", "may mean many versions"),
        ("numpy==1.*", "may mean many versions"),
        ("numpy=1.2", "is no requirement"),
        ("-r more.txt", "leads to another file"),
        ("--constraint=more.txt", "leads to another file"),
        ("-e ./package", "leads to another file"),
        ("../package", "leaves the card's folder"),
        ("/package", "leaves the card's folder"),
        ("./package", "there is no ./package beside the card"),
    ],
)
def test_a_requirements_file_holds_pins(tmp_path: Path, line: str, text: str) -> None:
    folder = written(tmp_path / "mine", pins=f"# pins\n\n{line}\n")
    with pytest.raises(UsageError, match=rf"requirements\.txt, line 3: .*{text}"):
        read_requirements(card(folder, "far-encoder"))


def test_a_requirements_file_may_say_where_packages_come_from(tmp_path: Path) -> None:
    pins = (
        "--extra-index-url https://example.org/simple\nnumpy==1.26.4 \\\n    --hash=sha256:00 # why\n"
        "Some_Net[audio]==2.0; python_version > '3'\nother @ https://example.org/other-1.0.tar.gz\n./package\n"
    )
    folder = written(tmp_path / "mine", pins=pins)
    package = folder / "package"
    package.mkdir()
    (package / "setup.py").write_text("1")
    found = read_requirements(card(folder, "far-encoder"))
    assert found.pins == {"numpy": "==1.26.4", "some-net": "==2.0", "other": ""}
    (package / "setup.py").write_text("2")
    assert read_requirements(card(folder, "far-encoder")).content_hash != found.content_hash


@pytest.mark.parametrize("place", ["/tmp/pins.txt", "../pins.txt", ""])
def test_the_file_lies_beside_the_card(place: str) -> None:
    with pytest.raises(ValueError, match="is no file beside the card"):
        SystemCard(name="a", family="trained", track="adapted", adapter="a:B", requirements=place)


def test_an_audio_llm_has_a_server_for_that() -> None:
    with pytest.raises(ValueError, match="what an Audio-LLM's server needs is said under 'serve'"):
        SystemCard(name="a", family="audio-llm", track="released", adapter="a:B", requirements="pins.txt")
