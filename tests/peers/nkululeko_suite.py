"""nkululeko as one of the suites compared: its ``nkululeko.nkululeko`` on a csv and an ini file, as its users run it.

It is told the folds (its column ``fold``) and nothing else about them: what it tests together is read from its own log and
answers. Features are scaled once, on the training part of a split that it asks for beside the folds, so that this split must
be named too; the folds then run over all clips.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.peers.corpus import Clip, Export, write_csv
from tests.peers.environment import ask, versions
from tests.peers.findings import Given, only_file, search_files, told_by
from tests.peers.whole_process import PeerFailed

PACKAGES = ("nkululeko", "scikit-learn", "opensmile", "numpy", "scipy", "pandas")
NAME = "compared"
CONFIG = """[EXP]
root = {root}
name = {name}
res_name = {name}
[DATA]
databases = ['emodb']
emodb = {csv}
emodb.type = csv
emodb.split_strategy = {held_out}
target = emotion
labels = {labels}
[FEATS]
type = ['os']
scale = standard
[MODEL]
type = svm
logo = {folds}
"""


@dataclass(frozen=True)
class NkululekoSuite:
    """nkululeko in an environment of its own, whose interpreter is ``python``."""

    python: Path
    name: str = "nkululeko"
    recipe: str = (
        "RBF SVM, C = 1 (its default); features standardised once, on the training part of its own split "
        "(eight of ten speakers), before the folds; default threads"
    )
    cold: str = "an experiment's folder of its own, empty, where its features are stored"

    def packages(self) -> Mapping[str, str]:
        """Versions of the suite and of what computes."""
        return versions(self.python, PACKAGES)

    def warm_up(self, folder: Path) -> Sequence[Sequence[str]]:
        """Import all that the experiment imports, and let matplotlib list the fonts."""
        modules = "nkululeko.nkululeko, nkululeko.models.model_svm, nkululeko.feat_extract.feats_opensmile, matplotlib.font_manager"
        return [[str(self.python), "-c", f"import {modules}"]]

    def prepare(self, export: Export, folder: Path) -> tuple[Sequence[Sequence[str]], Mapping[str, str]]:
        """Write its csv (absolute paths of the wav files, as it expects) and its ini file."""
        header = ("file", "emotion", "speaker", "fold")
        rows = [(str(export.wavs / f"{c.name}.wav"), c.emotion, c.speaker, c.speaker) for c in export.clips]
        write_csv(folder / "clips.csv", header, rows)
        (folder / "experiment.ini").write_text(config(folder, export.clips), encoding="utf-8")
        module = [str(self.python), "-m", "nkululeko.nkululeko", "--config", str(folder / "experiment.ini")]
        return [module], {}

    def read(self, export: Export, folder: Path) -> Given:
        """Read the answers from the experiment that it stored, its figures from the texts that it wrote."""
        out = folder / NAME
        stored = only_file(out, f"store/{NAME}.pkl")
        answers = ask(self.python, "answers", str(stored))
        rows = {Path(file).stem: (truth, label) for file, truth, label in answers}
        names = export.by_name()
        wrong = [n for n, (truth, _) in rows.items() if n in names and names[n].emotion != truth]
        if wrong:
            raise PeerFailed(
                f"nkululeko holds another label than was exported for {len(wrong)} clip(s), such as {wrong[0]}"
            )
        texts = sorted((out / "results").rglob("*.txt"))
        log = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")
        figures = {}
        for pattern in (r"Confusion matrix result.*", r"LOGO: mean.*"):
            if hit := search_files(folder, pattern, texts):
                figures[hit[1]] = hit[0]
        return Given(
            {name: label for name, (_, label) in rows.items()},
            folds_tested(answers, export.clips, log),
            figures,
            told_by(found_in(folder, texts)),
        )


def config(folder: Path, clips: Sequence[Clip]) -> str:
    """Its ini file: every setting that is not here is nkululeko's default."""
    speakers = sorted({c.speaker for c in clips})
    return CONFIG.format(
        root=folder,
        name=NAME,
        csv=folder / "clips.csv",
        held_out=speakers[-2:],
        labels=sorted({c.emotion for c in clips}),
        folds=len({c.fold for c in clips}),
    )


def folds_tested(answers: Sequence[Sequence[str]], clips: Sequence[Clip], log: str) -> dict[str, str]:
    """Fold of every clip: its answers come fold by fold, in as many folds as its log counts.

    Args:
        answers: (file, label, answer), in the order in which it stored them.
        clips: that it was given.
        log: all that it printed.

    Raises:
        PeerFailed: the log does not say that the given folds were used, or the answers do not come speaker by speaker.
    """
    if log.count("scaling features based on training set") != 1:
        raise PeerFailed(
            "nkululeko's log does not say that it scaled features once, before the folds, as the recipe has it"
        )
    said = re.search(r"using existing folds for (\d+) groups", log)
    if not said:
        raise PeerFailed("nkululeko's log does not say that it used the folds of the csv file")
    speakers = {c.name: c.speaker for c in clips}
    order = [(Path(file).stem, speakers.get(Path(file).stem, "")) for file, _, _ in answers]
    folds: dict[str, str] = {}
    fold, before = -1, None
    for name, speaker in order:
        fold, before = fold + (speaker != before), speaker
        folds[name] = f"group {fold}"
    if fold + 1 != int(said[1]):
        raise PeerFailed(
            f"nkululeko's answers come in {fold + 1} runs of one speaker, its log says {said[1]} folds"
        )
    return folds


def found_in(folder: Path, texts: Sequence[Path]) -> dict[str, tuple[str, str]]:
    """What its text files tell, by question."""
    patterns = {
        "interval of the score": r"UAR: \S+ \(\+-[\d.]+/[\d.]+\)",
        "what the interval generalises over": r"(?i)\b(over speakers|clusters?|bootstrap\w*)\b.*",
        "test against another system": r"(?i)\b(p-?value|p [=<]|significan\w+)\b.*",
        "every class": r"result per class.*",
        "every speaker or fold": r"LOGO results: \[[^\]]*\]",
        "clips that failed": r"(?i)\b(failed|skipped|missing)\b.*",
        "whether speakers are shared with training": r"(?i)\b(leak|overlap|disjoint)\w*\b.*",
    }
    found = {q: hit for q, p in patterns.items() if (hit := search_files(folder, p, texts))}
    tables = sorted((folder / NAME / "results").rglob("*.csv"))
    if tables:
        found["answers per clip, in a table"] = (
            f"{len(tables)} csv file(s)",
            tables[0].relative_to(folder).as_posix(),
        )
    return found
