"""Everything that was published, read as evidence: the board, the studies beside it, what was superseded or taken back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from bench.errors import UsageError
from bench.leaderboard.attestations import read_attestations
from bench.leaderboard.publication import Board, Publication
from bench.leaderboard.superseding import superseded
from bench.scoring.record_schema import RecordFacts, ScoreRow
from bench.scoring.records import read_facts
from bench.tasks.names import regime

Standing = Literal["board", "study", "superseded", "retracted"]
STUDIES = "studies"
"""The folder beside the publications of a board that holds studies: they are evidence, and do not stand on the board."""
Cell = tuple[str, str, str, str]
"""System, task, protocol with what was learnt from, condition."""


@dataclass(frozen=True)
class Evidence:
    """A published record, where it lies and whether it still stands; ``reason`` says why it was retracted."""

    publication: str
    standing: Standing
    path: Path
    facts: RecordFacts
    reason: str = ""

    @property
    def cell(self) -> Cell:
        """What it measured."""
        facts = self.facts
        return facts.system, facts.task, regime(facts.protocol, facts.training), facts.condition

    @property
    def stands(self) -> bool:
        """Whether it speaks for its system today: neither replaced nor taken back."""
        return self.standing in ("board", "study")

    def score(self, metric: str, view: str, outside: str = "wrong", dimension: str | None = None) -> ScoreRow | None:  # fmt: skip
        """Its score over all rows, or None where it has none such.

        Args:
            metric: short name, like ``ua``.
            view: label space.
            outside: what became of answers outside the view.
            dimension: of CCC.
        """
        wanted = (metric, view, outside, dimension, "all")
        rows = self.facts.scores
        return next((s for s in rows if (s.metric, s.view, s.outside, s.dimension, s.rows) == wanted), None)

    @property
    def headline(self) -> ScoreRow | None:
        """Its score in its plan's primary metric and view (of CCC: the mean over dimensions)."""
        metric = self.facts.plan.primary_metric
        view, dimension = (self.facts.main_view, None) if metric != "ccc" else ("dimensions", "mean")
        return self.score(metric, view, dimension=dimension)


def read_evidence(
    root: Path, known: Mapping[Path, RecordFacts] = MappingProxyType({})
) -> tuple[Evidence, ...]:
    """Read every record that was published in a folder of results.

    What strangers sent speaks once somebody whom the board accepts has attested it: no claim rests on what nobody checked.

    Args:
        root: the folder: publications of the board in it, studies under ``studies/``.
        known: records that were read before, by path.

    Returns:
        Records by publication, those of the board first; of each publication its superseded ones last.

    Raises:
        UsageError: no such folder, or nothing is published there.
        DataError: a record that cannot be read.
    """
    found: list[Evidence] = []
    for publication, standing in publications(root):
        own = _records(publication, publication_name(root, publication), standing, known)
        vouched = _vouched(root, publication) if standing == "board" else None
        found += [e for e in own if vouched is None or e.path.stem in vouched or e.standing != "board"]
    return tuple(found)


def _vouched(root: Path, publication: Publication) -> set[str] | None:
    """Records of a publication that somebody sent whose labels a person whom the board accepts has checked.

    None where it is the project's own, or the board asks for less: then all of them speak.
    """
    rules = Board(root).rules
    if rules.competing != "labels" or publication.submission() is None:
        return None
    attested = read_attestations(publication.folder.root, {p.stem: p for p in publication.record_paths()})
    return {stem for stem, by in attested.items() if set(by) & set(rules.attesters)}


def publications(root: Path) -> list[tuple[Publication, Literal["board", "study"]]]:
    """Publications of the board, then studies.

    Raises:
        UsageError: no such folder, or nothing is published there.
    """
    studied = studies(root)
    try:
        board = Board(root).publications()
    except UsageError:
        if not studied:
            raise
        board = []
    return [(p, "board") for p in board] + [(p, "study") for p in studied]


def studies(root: Path) -> list[Publication]:
    """The studies beside a board, by name; none where there is no such folder."""
    folder = Board(root / STUDIES)
    holding = folder.root.is_dir() and any((p / "records").is_dir() for p in folder.root.iterdir())
    return folder.publications() if holding else []


def publication_name(root: Path, publication: Publication) -> str:
    """How a publication is called in sentences: its path within the results, like ``studies/probes``."""
    return publication.folder.root.relative_to(root).as_posix()


def _records(
    publication: Publication, name: str, standing: Standing, known: Mapping[Path, RecordFacts]
) -> Iterator[Evidence]:
    retracted = publication.retractions()
    for path in publication.record_paths():
        reason = retracted.get(path.stem, "")
        facts = known.get(path) or read_facts(path)
        yield Evidence(name, "retracted" if reason else standing, path, facts, reason)
    for earlier in superseded(publication):
        taken_back = earlier.retractions()
        for path in earlier.record_paths():
            reason = taken_back.get(path.stem, "")
            shown: Standing = "retracted" if reason else "superseded"
            yield Evidence(f"{name}/superseded/{earlier.name}", shown, path, read_facts(path), reason)


def by_cell(evidence: Sequence[Evidence]) -> dict[Cell, list[Evidence]]:
    """Records by what they measured, each cell's in the order of publication."""
    cells: dict[Cell, list[Evidence]] = {}
    for e in evidence:
        cells.setdefault(e.cell, []).append(e)
    return cells
