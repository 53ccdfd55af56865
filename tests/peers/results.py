"""What came of the suites side by side: the file in ``results/`` and the section of the docs."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import eq
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from bench.metrics import unweighted_accuracy
from bench.significance import bootstrap_ci, paired_test
from tests.peers.corpus import Clip
from tests.peers.findings import Given, Told

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "results/peers.json"
PAGE = ROOT / "docs/peers.md"
BEGIN, END = "<!-- peers: made by make peers -->", "<!-- end of peers -->"
NOTHING = "Nothing was measured yet: `make peers` on a quiet machine does it, in minutes.\n"


class Turn(BaseModel):
    """One whole process (or several one after the other) of a suite, cold; see :class:`tests.peers.whole_process.Taken`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    turn: int
    wall_seconds: float
    cpu_seconds: float
    peak_mib: float
    load: float


class SuiteFound(BaseModel):
    """A suite: what it ran, what that took, what our scorer makes of its answers, what it says of them itself.

    Args:
        name: of the suite.
        packages: versions of what computes.
        recipe: features, model and scaling, in words.
        cold: which of its caches were empty, in words.
        turns: in the order in which they ran.
        answered: clips with an answer, or counted.
        scored_from: answers per clip, or counts where a suite writes no answers.
        ua: unweighted accuracy by ``bench.metrics``, 0..1, an answer that is missing being wrong.
        low: of its 95 % interval over speakers, by ``bench.significance``.
        high: likewise.
        repeatable: whether every turn gave the same answer for every clip.
        own_figures: its own score as it writes it, by file.
        told: what its files answer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    packages: dict[str, str]
    recipe: str
    cold: str
    turns: tuple[Turn, ...]
    answered: int
    scored_from: str
    ua: float
    low: float
    high: float
    repeatable: bool
    own_figures: dict[str, str]
    told: tuple[Told, ...]


class Gap(BaseModel):
    """UA of one suite's answers less another's on the same clips: ``bench.significance.paired_test`` over speakers, each pair for itself.

    ``alike`` says that both are right equally often in every class of every speaker: then there is nothing to test.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    first: str
    second: str
    alike: bool
    difference: float
    low: float
    high: float
    p: float
    verdict: str


class Session(BaseModel):
    """One peer and ours, in turn.

    Args:
        task: its id.
        content_hash: of the task: clips, labels and speakers.
        clips: every suite was given these.
        speakers: of them.
        folds: one speaker each; checked on what every suite tested.
        order: suites in the order of the turns.
        machine: hardware, system, and the packages of our own environment.
        suites: in the order of a turn.
        gaps: of every run of the peer less our suite.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    task: str
    content_hash: str
    clips: int
    speakers: int
    folds: int
    order: tuple[str, ...]
    machine: dict[str, Any]
    suites: tuple[SuiteFound, ...]
    gaps: tuple[Gap, ...]


class Peers(BaseModel):
    """All of it: figures of one session were taken in turn, those of two sessions under different load.

    Args:
        what: how it was made.
        sessions: by the peer's name on the command line.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    what: str = "A suite and ours in turn on the same clips and folds, each a whole process with cold caches: python -m tests.peers"
    sessions: dict[str, Session]


def score(clips: Sequence[Clip], predictions: Mapping[str, str | None]) -> tuple[float, float, float]:
    """UA of a suite's answers, low and high over speakers; the order of clips is ours, so that every suite is scored alike."""
    truth, answers, speakers = _columns(clips, predictions)
    found = bootstrap_ci("ua", truth, answers, groups=speakers)
    ua = unweighted_accuracy(truth, answers)
    return ua, found.low, found.high


def gap(clips: Sequence[Clip], first: tuple[str, Given], second: tuple[str, Given]) -> Gap:
    """Difference of two suites on the same clips."""
    truth, one, speakers = _columns(clips, first[1].predictions)
    other = _columns(clips, second[1].predictions)[1]
    counts = [Counter(zip(speakers, truth, map(eq, truth, x), strict=True)) for x in (one, other)]
    found = paired_test("ua", truth, one, other, groups=speakers)
    return Gap(
        first=first[0],
        second=second[0],
        alike=counts[0] == counts[1],
        difference=round(found.difference, 6),
        low=round(found.simultaneous_low, 6),
        high=round(found.simultaneous_high, 6),
        p=round(found.p_adjusted, 6),
        verdict=found.verdict,
    )


def _columns(
    clips: Sequence[Clip], predictions: Mapping[str, str | None]
) -> tuple[list[str], list[str | None], list[str]]:
    return (
        [c.emotion for c in clips],
        [predictions[c.name] for c in clips],
        [c.speaker for c in clips],
    )


def section(found: Peers) -> str:
    """Return the section of the docs: figures and facts alone, every one from the file."""
    return "\n".join(f"## {s.suites[0].name}\n\n{_session(s)}" for _, s in sorted(found.sessions.items()))


def _session(found: Session) -> str:
    loads = [t.load for s in found.suites for t in s.turns]
    rows = [
        f"{found.clips} clips of `{found.task}`, {found.speakers} speakers, {found.folds} folds of one speaker each. In turn: {', '.join(found.order)}. "
        f"{found.machine['processor']}, {found.machine['cores']} cores; load before a turn {min(loads):.1f} to {max(loads):.1f}. "
        "Whole processes with cold caches. Scores are by one scorer; intervals are over speakers, 95 %.",
        "",
        "| suite | processor seconds | seconds on the clock | peak memory, MiB | UA, per cent | same answers each turn |",
        "|---|---|---|---|---|---|",
        *(_row(s) for s in found.suites),
        "",
        *(f"- {_sentence(g)}" for g in found.gaps),
        "",
        "Recipe and versions:",
        "",
        *(
            f"- {s.name}: {s.recipe}. Scored from its {s.scored_from}. Cold: {s.cold}. {_versions(s)}."
            for s in found.suites
        ),
        "",
        "What each writes, in the words of its files (–: nothing was found in them):",
        "",
        "| a reader asks for | " + " | ".join(s.name for s in found.suites) + " |",
        "|---|" + "---|" * len(found.suites),
        *(
            f"| {question} | " + " | ".join(_told(s.told[i]) for s in found.suites) + " |"
            for i, question in enumerate(t.question for t in found.suites[0].told)
        ),
        "| its own score | " + " | ".join(_own(s) for s in found.suites) + " |",
    ]
    return "\n".join(rows) + "\n"


def _row(suite: SuiteFound) -> str:
    cells = [
        _spread([t.cpu_seconds for t in suite.turns], 1),
        _spread([t.wall_seconds for t in suite.turns], 1),
        _spread([t.peak_mib for t in suite.turns], 0),
        f"{100 * suite.ua:.1f} ({100 * suite.low:.1f}–{100 * suite.high:.1f})",
        "yes" if suite.repeatable else "no",
    ]
    return f"| {suite.name} | " + " | ".join(cells) + " |"


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def _sentence(found: Gap) -> str:
    if found.alike:
        return f"{found.first} and {found.second}: right equally often in every class of every speaker."
    settled = {"better": "above nought", "worse": "below nought"}.get(
        found.verdict, "this corpus cannot separate the two"
    )
    low, high = _signed(100 * found.low), _signed(100 * found.high)
    return (
        f"UA of {found.first} less that of {found.second}: {_signed(100 * found.difference)} points, 95 % interval {low} to {high}, "
        f"p = {found.p:.2g}: {settled}."
    )


def _signed(value: float) -> str:
    return f"{value:.1f}".replace("-", "−")


def _versions(suite: SuiteFound) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(suite.packages.items()))


def _told(told: Told) -> str:
    return f"{_cell(told.words)} (`{told.file}`)" if told.words else "–"


def _own(suite: SuiteFound) -> str:
    return "; ".join(f"{_cell(words)} (`{file}`)" for file, words in suite.own_figures.items()) or "–"


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("<", "&lt;")


def read(path: Path = RESULT) -> Peers | None:
    """Return what was measured; None where nothing was yet.

    Raises:
        pydantic.ValidationError: the file is none of this program's.
    """
    return Peers.model_validate_json(path.read_bytes()) if path.exists() else None


def write_page(found: Peers, page: Path = PAGE) -> None:
    """Put the section between its marks in the docs.

    Raises:
        ValueError: the page has not both marks.
    """
    page.write_text(with_section(page.read_text(encoding="utf-8"), found, page.name), encoding="utf-8")


def with_section(text: str, found: Peers | None, name: str) -> str:
    """A page's text with the section renewed; it says so where nothing was measured."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{name} needs the lines {BEGIN} and {END}: put them where the section belongs")
    return f"{before}{BEGIN}\n{NOTHING if found is None else section(found)}{END}{after}"
