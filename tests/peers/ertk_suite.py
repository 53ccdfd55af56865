"""ERTK (Emotion Recognition ToolKit) as one of the suites compared: ``ertk-dataset process``, then ``ertk-cli exp2``, as its users run them.

Where it cross-validates, it writes no answers per clip. What it writes are recalls of every class in every fold, and these
are the very counts that UA and its interval over speakers are made of: see :func:`right_answers`.
"""

from __future__ import annotations

import csv
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.peers.corpus import Clip, Export, write_csv
from tests.peers.environment import versions
from tests.peers.findings import RECALLS, Given, search_files, told_by
from tests.peers.whole_process import PeerFailed

PACKAGES = ("ertk", "scikit-learn", "opensmile", "numpy", "scipy", "pandas")
FEATURES, RESULT = "features/egemaps.nc", "results/compared.csv"
CORPUS = """name: emodb
partitions: [label, speaker]
subsets:
  all:
    clips: files_all
"""
EXPERIMENT = """name: compared
data:
  datasets:
    emodb: {{path: corpus.yaml}}
  features: egemaps
model:
  type: sk/svm
  config: {{C: 1.0}}
eval:
  cv: {{part: speaker, kfold: -1}}
  # Nothing is searched; 2024.4.0 refuses to cross-validate without this line where no grid is given.
  inner_kfold: 2
training: {{balanced: {balanced}}}
results: {result}
"""
CLOSE = 1e-6
"""How far a recall times its clips may be from a whole number."""


@dataclass
class ErtkSuite:
    """ERTK in an environment of its own.

    Args:
        python: interpreter of the environment.
        name: of the suite.
        balanced: its weighting of clips by class.
        features_of: another run of it, that goes before: this one begins from the features that the other stored in its
            latest turn, so that what is measured is fits alone.
    """

    python: Path
    name: str = "ERTK"
    balanced: bool = True
    features_of: ErtkSuite | None = None
    latest: Path | None = None
    """Folder of the turn that was prepared last."""

    @property
    def cold(self) -> str:
        """Which of its caches are empty."""
        if self.features_of:
            return f"none, it reads the features that {self.features_of.name} stored in the turn before: time and memory are those of fits alone"
        return "a folder of its own, empty, where its features are stored"

    @property
    def recipe(self) -> str:
        """What is fitted."""
        weights = (
            "clips weighted so that every class weighs the same (its default)"
            if self.balanced
            else "no weights of clips"
        )
        return f"RBF SVM, C = 1 (its default), {weights}; features standardised on the training speakers of every fold; its default of one job"

    def packages(self) -> Mapping[str, str]:
        """Versions of the suite and of what computes."""
        return versions(self.python, PACKAGES)

    def warm_up(self, folder: Path) -> Sequence[Sequence[str]]:
        """Import all that both commands import."""
        modules = "ertk.cli.dataset, ertk.cli.cli, ertk.preprocessing.opensmile, ertk.sklearn.classification, ertk.sklearn.models, opensmile, librosa.core"
        return [[str(self.python), "-c", f"import {modules}"]]

    def prepare(self, export: Export, folder: Path) -> tuple[Sequence[Sequence[str]], Mapping[str, str]]:
        """Write its corpus (list of files, label and speaker of each) and its experiment."""
        files = [str(export.wavs / f"{c.name}.wav") for c in export.clips]
        (folder / "files_all.txt").write_text("\n".join(files) + "\n", encoding="utf-8")
        write_csv(folder / "label.csv", ("name", "label"), [(c.name, c.emotion) for c in export.clips])
        write_csv(folder / "speaker.csv", ("name", "speaker"), [(c.name, c.speaker) for c in export.clips])
        (folder / "corpus.yaml").write_text(CORPUS, encoding="utf-8")
        (folder / "experiment.yaml").write_text(
            EXPERIMENT.format(balanced=str(self.balanced).lower(), result=RESULT), encoding="utf-8"
        )
        self.latest = folder
        fit = [str(self.python), "-m", "ertk.cli.cli", "exp2", "experiment.yaml"]
        if self.features_of:
            if self.features_of.latest is None:
                raise PeerFailed(
                    f"{self.name} needs the features of {self.features_of.name}, which has not run before it"
                )
            shutil.copytree((self.features_of.latest / FEATURES).parent, (folder / FEATURES).parent)
            return [fit], {}
        extract = ["process", "files_all.txt", FEATURES, "--processor", "opensmile"]
        return [
            [str(self.python), "-m", "ertk.cli.dataset", *extract, "opensmile_config=eGeMAPSv02"],
            fit,
        ], {}

    def read(self, export: Export, folder: Path) -> Given:
        """Read the scores of every fold and the mean that it printed."""
        path, log = folder / RESULT, folder / "log.txt"
        if not path.exists():
            raise PeerFailed(f"ERTK wrote no {RESULT}; another version of the suite may name it otherwise")
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        printed = search_files(folder, r"(?m)^uar\s+[\d.]+$", [log])
        return Given(
            right_answers(rows, export.clips),
            {c.name: f"{c.speaker} left out" for c in export.clips},
            {printed[1]: f"mean over folds: {printed[0]}"} if printed else {},
            told_by(found_in(folder, [path, log])),
            RECALLS,
        )


def right_answers(rows: Sequence[Mapping[str, str]], clips: Sequence[Clip]) -> dict[str, str | None]:
    """Which clips are right, from the recalls of every fold: recall times clips is the number of right answers of a class of a speaker.

    Which of these clips are the right ones is not known, nor what was answered on the others. Neither enters UA, its
    interval over speakers, or a paired test over speakers: the first so many are right here, the others have no answer.

    Args:
        rows: of its csv file, one a fold: ``fold`` (the speaker left out), ``war`` and ``CLASS_rec``, 0..1.
        clips: that it was given.

    Raises:
        PeerFailed: the folds are not those that were given, or a recall is none that so many clips can have.
    """
    groups: dict[str, dict[str, list[str]]] = {}
    for clip in clips:
        groups.setdefault(clip.speaker, {}).setdefault(clip.emotion, []).append(clip.name)
    folds = Counter(row["fold"] for row in rows)
    if folds != Counter(list(groups)):
        raise PeerFailed(
            f"ERTK's folds leave out {', '.join(sorted(folds.elements()))}, expected each once of {', '.join(sorted(groups))}"
        )
    answers: dict[str, str | None] = dict.fromkeys(c.name for c in clips)
    for row in rows:
        classes = groups[row["fold"]]
        right = 0
        for emotion, names in classes.items():
            hits = _whole(float(row[f"{emotion}_rec"]), len(names), f"{emotion} of {row['fold']}")
            answers.update(dict.fromkeys(names[:hits], emotion))
            right += hits
        told = _whole(float(row["war"]), sum(map(len, classes.values())), f"all classes of {row['fold']}")
        if told != right:
            raise PeerFailed(
                f"ERTK counts {told} right answers for {row['fold']}, its recalls add up to {right}"
            )
    return answers


def _whole(share: float, clips: int, what: str) -> int:
    hits = round(share * clips)
    if abs(share * clips - hits) > CLOSE * clips:
        raise PeerFailed(
            f"ERTK's share {share:g} of {what} is no whole number of {clips} clips: it was not given the same clips"
        )
    return hits


def found_in(folder: Path, texts: Sequence[Path]) -> dict[str, tuple[str, str]]:
    """What its table of scores and its log tell, by question."""
    patterns = {
        "interval of the score": r"(?i)\b(confidence interval|ci_?low|low,high|std)\b.*",
        "what the interval generalises over": r"(?i)\b(over speakers|clusters?|bootstrap\w*)\b.*",
        "test against another system": r"(?i)\b(p-?value|p [=<]|significan\w+)\b.*",
        "every class": r"[^,\s]+_rec,[^,]+_prec,[^,]+_f1,[^,]+_ba",
        "every speaker or fold": r"(?m)^0,[^,]+,",
        "clips that failed": r"(?i)\b(failed|skipped|missing)\b.*",
        "whether speakers are shared with training": r"(?i)\b(leak|overlap|disjoint)\w*\b.*",
    }
    found = {q: hit for q, p in patterns.items() if (hit := search_files(folder, p, texts))}
    if hit := found.get("every speaker or fold"):
        rows = len(
            re.findall(patterns["every speaker or fold"], (folder / hit[1]).read_text(encoding="utf-8"))
        )
        found["every speaker or fold"] = (f"{rows} rows, the first begins {hit[0]}", hit[1])
    if tables := sorted((folder / RESULT).parent.glob("*.npy")):
        found["answers per clip, in a table"] = (
            f"{len(tables)} npy file(s)",
            tables[0].relative_to(folder).as_posix(),
        )
    return found
