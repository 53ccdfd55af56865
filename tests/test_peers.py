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
import yaml

from bench.errors import UsageError
from tests.conftest import write_tone_corpus
from tests.peers import __main__ as program
from tests.peers import corpus, results
from tests.peers.corpus import Clip, Export, export, fold_faults
from tests.peers.ertk_suite import ErtkSuite, right_answers
from tests.peers.ertk_suite import found_in as found_by_ertk
from tests.peers.findings import ANSWERS, QUESTIONS, RECALLS, Given, prediction_faults, told_by
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
    kept = results.read()
    if kept is None:  # then the page says so: the test above
        return
    assert kept.sessions.keys() <= program.PEERS.keys()
    for found in kept.sessions.values():
        names = [s.name for s in found.suites]
        assert names[-2:] == ["ser-bench", "ser-bench, C = 1"]
        rounds = len(found.order) // len(names)
        assert rounds >= 2
        assert found.order == tuple(names) * rounds
        assert (found.clips, found.speakers, found.folds) == (535, 10, 10)
        for suite in found.suites:
            assert len(suite.turns) == rounds
            assert suite.answered == found.clips
            assert suite.scored_from == (RECALLS if suite.name.startswith("ERTK") else ANSWERS)
            assert [t.question for t in suite.told] == list(QUESTIONS)
            assert suite.low < suite.ua < suite.high


@pytest.mark.parametrize(
    ("peer", "same", "older"),
    [
        ("nkululeko", ("opensmile", "scikit-learn", "numpy", "scipy"), ()),
        ("ertk", ("opensmile", "scipy", "soundfile"), ("scikit-learn", "numpy", "pyarrow")),
    ],
)
def test_the_environment_has_our_own_versions_of_what_computes(
    peer: str, same: tuple[str, ...], older: tuple[str, ...]
) -> None:
    assert peer in program.PEERS
    pins = {}
    for name in ("constraints.txt", f"constraints-peers-{peer}.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        pins[name] = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
        assert name == "constraints.txt" or all("==" in x for x in lines if x and not x.startswith("#"))
    ours, theirs = pins.values()
    assert [ours[p] for p in same] == [theirs[p] for p in same]
    assert all(ours[p] != theirs[p] for p in older)


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
    assert not gap.alike
    again = results.gap(CLIPS, ("a", given(answers)), ("b", given(turned)))
    assert again.alike
    assert results._sentence(again) == "a and b: right equally often in every class of every speaker."


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
    out = exported / "peers.json"
    for name in ("later", "earlier"):  # the second does not take the first away
        program.keep({name: found}, out, page=False)
    kept = results.read(out)
    assert kept is not None
    assert kept.sessions == {"earlier": found, "later": found}
    page = results.with_section(f"a\n{results.BEGIN}\nbefore\n{results.END}\nb\n", kept, "page")
    assert "before\n" not in page
    assert page.startswith(f"a\n{results.BEGIN}\n## peer\n\n36 clips")
    assert page.count("## peer") == 2
    assert page.endswith(f"{results.END}\nb\n")
    with pytest.raises(ValueError, match="page needs the lines"):
        results.with_section("nothing", kept, "page")


def test_a_suite_on_other_clips_is_not_compared(exported: Path) -> None:
    short = Toy("peer", [dict(list(right().items())[1:])], exported / "trail")
    with pytest.raises(PeerFailed, match="peer did not run on the same clips and folds: 1 clip"):
        program.compare([short], 1, exported)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nkululeko", "nowhere/python"], "nowhere/python: no such interpreter; make peers builds it"),
        ([], "no peer is named; give one or more of --nkululeko, --ertk"),
    ],
)
def test_a_missing_interpreter_is_one_sentence(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["peers", *arguments])
    assert program.main() == 2
    assert capsys.readouterr().err == f"error: {said}\n"


# What is read of each suite.

ERTK_LOG = """Using -1 k-fold CV.
Using speaker as split partition.
Using balanced sample weights.
Using 'online' normalisation.
UserWarning: y_pred contains classes not in y_true
Wrote CSV to results/compared.csv
fit_time          0.043476
uar               0.631246
war               0.674251
"""
ERTK_TABLE = """rep,fold,fit_time,score_time,uar,war,microf1,macrof1,angry_rec,angry_prec,angry_f1,angry_ba,params,clf,features,corpus
0,emodb/03,0.114,0.409,0.6367,0.7551,0.7551,0.6148,0.8571,0.8571,0.8571,0.9183,"{""C"": 1.0}",sk/svm,egemaps,emodb
"""
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


def recalls(answers: Mapping[str, str | None]) -> list[dict[str, str]]:
    """What ERTK writes of such answers: shares of right ones, a row a speaker."""
    rows = []
    for speaker in ("s1", "s2", "s3", "s4"):
        clips = [c for c in CLIPS if c.speaker == speaker]
        row = {"rep": "0", "fold": speaker}
        for column, of in (("war", LABELS), *((f"{x}_rec", (x,)) for x in LABELS)):
            hit = [answers[c.name] == c.emotion for c in clips if c.emotion in of]
            row[column] = repr(sum(hit) / len(hit))
        rows.append(row)
    return rows


def test_recalls_give_the_score_the_interval_and_the_test_of_answers() -> None:
    answers = right(5)
    counted = right_answers(recalls(answers), CLIPS)
    assert counted != answers
    assert results.score(CLIPS, counted) == results.score(CLIPS, answers)
    assert results.gap(CLIPS, ("a", given(counted)), ("b", given(answers))).alike
    by_answers, by_counts = (
        results.gap(CLIPS, ("a", given(x)), ("b", given(right()))) for x in (answers, counted)
    )
    assert by_answers == by_counts
    assert Given(counted, {}, {}, (), RECALLS).answered == len(CLIPS)
    assert Given(counted, {}, {}, ()).answered < len(CLIPS)


def test_recalls_of_other_clips_or_folds_are_said() -> None:
    rows = recalls(right())
    with pytest.raises(PeerFailed, match="leave out s1, s2, s3, expected each once of s1, s2, s3, s4"):
        right_answers(rows[:3], CLIPS)
    with pytest.raises(PeerFailed, match=r"share 0\.5 of sad of s1 is no whole number of 3 clips"):
        right_answers([rows[0] | {"sad_rec": "0.5"}, *rows[1:]], CLIPS)
    with pytest.raises(PeerFailed, match="counts 9 right answers for s2, its recalls add up to 8"):
        right_answers([rows[0], rows[1] | {"war": "1.0"}, *rows[2:]], CLIPS)


def test_ertk_is_given_the_clips_and_the_folds_and_read_from_what_it_wrote(tmp_path: Path) -> None:
    made = Export(tmp_path, tmp_path / "emodb", CLIPS)
    suite = ErtkSuite(tmp_path / "python", balanced=False)
    commands, variables = suite.prepare(made, tmp_path)
    assert [c[2:4] for c in commands] == [["ertk.cli.dataset", "process"], ["ertk.cli.cli", "exp2"]]
    assert variables == {}
    assert (tmp_path / "files_all.txt").read_text().splitlines()[0] == str(made.wavs / f"{CLIPS[0].name}.wav")
    assert (tmp_path / "speaker.csv").read_text().splitlines()[:2] == ["name,speaker", f"{CLIPS[0].name},s1"]
    experiment = yaml.safe_load((tmp_path / "experiment.yaml").read_text())
    assert experiment["eval"]["cv"] == {"part": "speaker", "kfold": -1}
    assert experiment["training"] == {"balanced": False}
    assert "no weights of clips" in suite.recipe
    (tmp_path / "features").mkdir()
    (tmp_path / "features/egemaps.nc").write_text("stored")
    again = tmp_path / "again"
    again.mkdir()
    refit = ErtkSuite(tmp_path / "python", name="refit", features_of=suite)
    (only,), _ = refit.prepare(made, again)
    assert only[3] == "exp2"
    assert (again / "features/egemaps.nc").read_text() == "stored"
    assert "fits alone" in refit.cold
    with pytest.raises(PeerFailed, match="needs the features of ERTK, which has not run before it"):
        ErtkSuite(tmp_path, name="x", features_of=ErtkSuite(tmp_path)).prepare(made, again)
    with pytest.raises(PeerFailed, match=r"wrote no results/compared\.csv"):
        suite.read(made, tmp_path)
    (tmp_path / "results").mkdir()
    rows = recalls(right())
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (tmp_path / "results/compared.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "log.txt").write_text(ERTK_LOG)
    read = suite.read(made, tmp_path)
    assert prediction_faults(read, CLIPS) == []
    assert read.own_figures == {"log.txt": "mean over folds: uar 0.631246"}
    told = {t.question: t.words for t in read.told if t.words}
    assert told == {"every speaker or fold": "4 rows, the first begins 0,s1,"}


def test_what_ertk_tells_is_found_in_its_table(tmp_path: Path) -> None:
    """Header and first row of its own table, cut after the first class."""
    (tmp_path / "results").mkdir()
    table = tmp_path / "results/compared.csv"
    table.write_text(ERTK_TABLE)
    found = found_by_ertk(tmp_path, [table])
    assert found["every class"] == ("angry_rec,angry_prec,angry_f1,angry_ba", "results/compared.csv")
    assert set(found) == {"every class", "every speaker or fold"}


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
        "busy = 'import time\\nwhile time.process_time() < 0.5: pass\\nprint(flush=True)\\ntime.sleep(60)'\n"
        "worker = subprocess.Popen([sys.executable, '-IS', '-c', busy], start_new_session=True, stdout=subprocess.PIPE)\n"
        "worker.stdout.readline()\n"
        "time.sleep(0.6)\n"
        "os.kill(worker.pid, signal.SIGKILL)\n"
        "os._exit(0)\n"
    )
    taken = measure(
        [[sys.executable, "-c", program]], folder=tmp_path, log=tmp_path / "log", environment=dict(os.environ)
    )
    assert taken.cpu_seconds > 0.3
