"""Suites side by side: the page holds what the file holds, and what is measured is what was run, on the same clips and folds."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import soundfile

from bench.errors import UsageError
from tests.conftest import write_tone_corpus
from tests.peers import __main__ as program
from tests.peers import corpus, results
from tests.peers.corpus import Clip, Export, export, fold_faults
from tests.peers.findings import QUESTIONS, Given, prediction_faults, told_by
from tests.peers.nkululeko_suite import NAME, NkululekoSuite, config, folds_tested, found_in
from tests.peers.our_suite import SYSTEM, OurSuite, _given
from tests.peers.whole_process import PeerFailed, measure

ROOT = Path(__file__).resolve().parent.parent
LABELS = ("angry", "happy", "sad")
CLIPS = tuple(
    Clip(f"{s}-{label}-{i}", f"audio/{s}-{label}-{i}.wav", s, label, f"loso {s}")
    for s in ("s1", "s2", "s3", "s4")
    for label in LABELS
    for i in range(3)
)


def given(answers: Mapping[str, str | None], fold: str = "speaker") -> Given:
    return Given(answers, {c.name: getattr(c, fold) for c in CLIPS}, {}, told_by({}))


def right(wrong: int = 0) -> dict[str, str | None]:
    """True labels, but for the first clips, and every speaker's third of each class."""
    answers: dict[str, str | None] = {c.name: c.emotion for c in CLIPS}
    for clip in [*CLIPS[:wrong], *(c for c in CLIPS if c.name.endswith("angry-2"))]:
        answers[clip.name] = "sad" if clip.emotion != "sad" else "happy"
    return answers


# What is committed.


def test_the_page_holds_the_file() -> None:
    """After a run: ``make peers`` writes both."""
    page = results.PAGE.read_text(encoding="utf-8")
    assert results.with_section(page, results.read(), "the page") == page


def test_the_file_is_of_one_corpus_in_turn() -> None:
    found = results.read()
    if found is None:  # then the page says so: the test above
        return
    names = [s.name for s in found.suites]
    assert "nkululeko" in names
    assert "ser-bench" in names
    rounds = len(found.order) // len(names)
    assert rounds >= 2
    assert found.order == tuple(names) * rounds
    assert (found.clips, found.speakers, found.folds) == (535, 10, 10)
    for suite in found.suites:
        assert len(suite.turns) == rounds
        assert suite.answered == found.clips
        assert [t.question for t in suite.told] == list(QUESTIONS)
        assert suite.low < suite.ua < suite.high


def test_the_environment_has_our_own_versions_of_what_computes() -> None:
    pins = {}
    for name in ("constraints.txt", "constraints-peers-nkululeko.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        pins[name] = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
        assert name == "constraints.txt" or all("==" in x for x in lines if x and not x.startswith("#"))
    ours, theirs = pins.values()
    for package in ("opensmile", "scikit-learn", "numpy", "scipy"):
        assert ours[package] == theirs[package]


# The same clips and folds.


def test_every_clip_is_exported_with_its_samples_and_its_fold(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = write_tone_corpus(tmp_path / "tones", speakers=3, clips=1)
    monkeypatch.setattr(corpus, "CORPUS", "tones")
    monkeypatch.setattr(corpus, "TASK", "tones.ms@loso")
    monkeypatch.setenv("SERBENCH_DATA", str(tmp_path))
    found = export(tmp_path / "out", cache)
    assert found.prepared == prepared
    assert len(found.clips) == 9
    assert fold_faults(found.clips) == []
    for clip in found.clips:
        theirs, rate = soundfile.read(found.wavs / f"{clip.name}.wav", dtype="int16")
        ours, _ = soundfile.read(prepared / clip.clip_id, dtype="int16")
        assert rate == 16_000
        assert (theirs == ours).all()
    monkeypatch.setenv("SERBENCH_DATA", "")
    with pytest.raises(UsageError, match="no prepared corpus 'tones' in SERBENCH_DATA"):
        export(tmp_path / "again", cache)


def test_other_folds_than_one_speaker_each_are_said() -> None:
    assert fold_faults(CLIPS) == []
    joined = [replace(c, fold="one") if c.speaker in ("s1", "s2") else c for c in CLIPS]
    assert fold_faults(joined) == ["fold one tests 2 speakers (s1, s2), expected one"]
    torn = [replace(CLIPS[0], fold="loso x"), *CLIPS[1:]]
    assert fold_faults(torn) == ["s1 is tested in 2 folds, expected one"]


def test_answers_on_other_clips_or_folds_are_said() -> None:
    assert prediction_faults(given(right()), CLIPS) == []
    fewer = {k: v for k, v in right().items() if k != "s1-sad-0"} | {"x": "sad", "s2-sad-0": "joy"}
    faults = prediction_faults(given(fewer), CLIPS)
    assert faults == [
        "1 clip(s) without a row, such as s1-sad-0",
        "1 clip(s) that were not given, such as x",
        "the answer 'joy' is none of the classes (angry, happy, sad)",
    ]
    by_label = prediction_faults(given(right(), "emotion"), CLIPS)
    assert by_label == ["its 3 folds are not our 4: 12 pairs of them share clips, expected one for each"]


def test_scores_do_not_depend_on_the_order_of_answers_and_failures_are_wrong() -> None:
    answers = right()
    turned = dict(reversed(answers.items()))
    assert results.score(CLIPS, answers) == results.score(CLIPS, turned)
    assert results.score(CLIPS, answers)[0] == pytest.approx(8 / 9)
    failed: dict[str, str | None] = answers | {c.name: None for c in CLIPS if c.name.startswith("s1-sad")}
    assert results.score(CLIPS, failed)[0] == pytest.approx((2 / 3 + 1 + 0.75) / 3)
    gap = results.gap(CLIPS, ("a", given(failed)), ("b", given(answers)))
    assert gap.difference == pytest.approx(-1 / 12, abs=1e-6)
    assert gap.low < gap.difference < gap.high


# What a process took.


def test_a_process_is_measured_with_all_that_it_starts(tmp_path: Path) -> None:
    inner = (
        "import time; b = b'x' * 2**26; t = time.process_time()\nwhile time.process_time() - t < 0.3: pass"
    )
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-IS', '-c', {inner!r}], check=True)"
    taken = measure(
        [[sys.executable, "-IS", "-c", outer]], folder=tmp_path, log=tmp_path / "log.txt", environment={}
    )
    assert taken.cpu_seconds >= 0.3
    assert taken.wall_seconds >= 0.3
    assert taken.peak_mib >= 64


def test_a_suite_that_fails_says_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-IS", "-c", "print('no such corpus'); raise SystemExit(3)"]
    with pytest.raises(PeerFailed, match=r"ended with 3; its last words: no such corpus"):
        measure([command], folder=tmp_path, log=tmp_path / "log.txt", environment={})


# The comparison.


@dataclass(frozen=True)
class Toy:
    """A suite that writes what it is told to answer, and in which turn."""

    name: str
    answers: Sequence[Mapping[str, str | None]]
    trail: Path
    recipe: str = "a toy"
    cold: str = "nothing kept"

    def packages(self) -> Mapping[str, str]:
        return {"toy": "1"}

    def warm_up(self, folder: Path) -> Sequence[Sequence[str]]:
        return []

    def prepare(self, export: Export, folder: Path) -> tuple[Sequence[Sequence[str]], Mapping[str, str]]:
        assert not list(folder.iterdir()), "not cold"
        trail = self.trail.read_text().split() if self.trail.exists() else []
        self.trail.write_text(" ".join([*trail, self.name]))
        text = json.dumps(self.answers[min(trail.count(self.name), len(self.answers) - 1)])
        code = f"import os; assert not [k for k in os.environ if k.startswith('SERBENCH')]; open('a.json', 'w').write({text!r})"
        return [[sys.executable, "-IS", "-c", code]], {}

    def read(self, export: Export, folder: Path) -> Given:
        return given(json.loads((folder / "a.json").read_text(encoding="utf-8")))


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = Export(tmp_path, tmp_path, CLIPS, "hash")
    monkeypatch.setattr(program, "export", lambda folder, cache: made)
    monkeypatch.setenv("SERBENCH_DATA", os.pathsep)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return scratch


def test_suites_take_turns_cold_and_are_scored_alike(exported: Path) -> None:
    trail = exported / "trail"
    peer, steady = Toy("peer", [right(), right(4)], trail), Toy("ours", [right(2)], trail)
    found = program.compare([peer, steady], 2, exported)
    assert trail.read_text().split() == ["peer", "ours", "peer", "ours"] == list(found.order)
    assert [s.repeatable for s in found.suites] == [False, True]
    assert found.suites[0].ua > found.suites[1].ua
    assert found.content_hash == "hash"
    assert all(t.wall_seconds > 0 and t.peak_mib >= 0 for s in found.suites for t in s.turns)
    page = results.with_section(f"a\n{results.BEGIN}\nbefore\n{results.END}\nb\n", found, "page")
    assert "before\n" not in page
    assert page.startswith(f"a\n{results.BEGIN}\n36 clips")
    assert page.endswith(f"{results.END}\nb\n")
    with pytest.raises(ValueError, match="page needs the lines"):
        results.with_section("nothing", found, "page")


def test_a_suite_on_other_clips_is_not_compared(exported: Path) -> None:
    short = Toy("peer", [dict(list(right().items())[1:])], exported / "trail")
    with pytest.raises(PeerFailed, match="peer did not run on the same clips and folds: 1 clip"):
        program.compare([short], 1, exported)


def test_a_missing_interpreter_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["peers", "--nkululeko", "nowhere/python"])
    assert program.main() == 2
    assert capsys.readouterr().err == "error: nowhere/python: no such interpreter; make peers builds it\n"


# What is read of each suite.

LOG = (
    "DEBUG: scaler: scaling features based on training set\nDEBUG: model: using existing folds for 4 groups\n"
)


def test_nkululeko_is_told_the_folds_and_how_to_split() -> None:
    text = config(Path("there"), CLIPS)
    assert "emodb.split_strategy = ['s3', 's4']" in text
    assert "labels = ['angry', 'happy', 'sad']" in text
    assert "logo = 4" in text
    assert "root = there\n" in text


def test_the_folds_of_nkululeko_are_those_it_tested() -> None:
    answers = [(f"there/{c.name}.wav", c.emotion, c.emotion) for c in CLIPS]
    folds = folds_tested(answers, CLIPS, LOG)
    assert prediction_faults(Given(right(), folds, {}, ()), CLIPS) == []
    with pytest.raises(PeerFailed, match="36 runs of one speaker, its log says 4 folds"):
        folds_tested([answers[i * 9 % 36 + i // 4] for i in range(36)], CLIPS, LOG)
    with pytest.raises(PeerFailed, match="does not say that it used the folds"):
        folds_tested(answers, CLIPS, LOG.splitlines()[0])
    with pytest.raises(PeerFailed, match="scaled features once"):
        folds_tested(answers, CLIPS, LOG * 2)


def test_what_nkululeko_tells_is_found_in_its_texts(tmp_path: Path) -> None:
    folder = tmp_path / NAME / "results"
    folder.mkdir(parents=True)
    words = {
        "a_conf.txt": "Confusion matrix result for epoch: 0, UAR: .650, (+-.684/.614), ACC: .667",
        "logo_results.txt": "LOGO: mean 0.644,  std: 0.080\nLOGO results: [0.61,0.7]",
    }
    for name, text in words.items():
        (folder / name).write_text(text, encoding="utf-8")
    found = found_in(tmp_path, sorted(folder.iterdir()))
    assert found["interval of the score"] == ("UAR: .650, (+-.684/.614)", f"{NAME}/results/a_conf.txt")
    assert found["every speaker or fold"][0] == "LOGO results: [0.61,0.7]"
    assert set(found) == {"interval of the score", "every speaker or fold"}
    told = told_by(found)
    assert [t.question for t in told if t.words] == ["interval of the score", "every speaker or fold"]
    with pytest.raises(ValueError, match="no such question"):
        told_by({"the weather": ("", "")})


def test_what_nkululeko_cannot_answer_is_said(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho it broke >&2; exit 1\n", encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(PeerFailed, match=r"read_experiment\.py versions ended with 1: it broke"):
        NkululekoSuite(tmp_path / "python").packages()


def test_our_suite_runs_one_system_on_one_task_from_a_cold_cache(tmp_path: Path) -> None:
    made = Export(tmp_path, tmp_path / "emodb", CLIPS)
    (command,), variables = OurSuite("fixed", (1.0,)).prepare(made, tmp_path)
    assert command[-2:] == ["--set", f"{SYSTEM}:c=[1.0]"]
    assert variables["SERBENCH_CACHE"].startswith(str(tmp_path))
    assert not (tmp_path / "cache").exists()
    assert variables["SERBENCH_DATA"] == str(tmp_path / "emodb")
    assert "C = 1;" in OurSuite("fixed", (1.0,)).recipe


def test_what_a_record_tells_is_found_in_it() -> None:
    path = min((ROOT / "results/quick/records").glob(f"{SYSTEM}__*.json"))
    read = _given({}, {"a": "x", "b": "y"}, json.loads(path.read_text(encoding="utf-8")))
    told = {t.question: t.words for t in read.told}
    assert told["answers per clip, in a table"] == "2 Parquet files"
    assert told["what the interval generalises over"].startswith(
        "population: speakers; jackknife-t over clusters"
    )
    assert told["test against another system"] == ""
    assert all(words for question, words in told.items() if question != "test against another system")


def test_processor_time_of_workers_that_nobody_waits_for_is_counted(tmp_path: Path) -> None:
    """A driver that ends its workers by a signal never learns what they took."""
    program = (
        "import os, signal, subprocess, sys, time\n"
        "busy = 'import time\\nwhile time.process_time() < 9: pass'\n"
        "worker = subprocess.Popen([sys.executable, '-c', busy], start_new_session=True)\n"
        "time.sleep(1.5)\n"
        "os.kill(worker.pid, signal.SIGKILL)\n"
        "os._exit(0)\n"
    )
    taken = measure(
        [[sys.executable, "-c", program]], folder=tmp_path, log=tmp_path / "log", environment=dict(os.environ)
    )
    assert taken.cpu_seconds > 0.3
