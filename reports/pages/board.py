"""The board: the pages of a report over everything that is published, and a page of what stands there and why."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import ClassVar

from bench.cards.analysis_plan import AnalysisPlan
from bench.execution.planning.matrix import Entry, Matrix
from bench.leaderboard.cache import RememberedFiles, RememberedPages
from bench.leaderboard.claims.ledger import derive_ledger
from bench.leaderboard.claims.rules import FILE as CLAIMS
from bench.leaderboard.claims.sentences import claim_sentence, standing, summary
from bench.leaderboard.evidence import by_cell, read_evidence
from bench.leaderboard.history import histories, spread_of
from bench.leaderboard.plan_evidence import published_plan_words
from bench.leaderboard.publication import Board, BoardRules
from bench.leaderboard.registration import MEANING, PRE_REGISTERED
from bench.leaderboard.reported_figures import ReportedSource, reported_sources
from bench.leaderboard.studies import Study
from bench.leaderboard.validation import BADGES, BoardRecord, Validation
from bench.scoring.pair_results import PairResult
from bench.scoring.records import Record
from bench.storage.hashing import hash_file, hash_json
from bench.storage.scrubbing import Scrubber
from bench.storage.source_code import package_hash
from bench.tasks.catalogue import catalogue
from reports.data.comparisons import TestFamily
from reports.data.missing_records import Missing, missing_records
from reports.data.private_words import without_private_words
from reports.data.run_data import RunData, WorkDone
from reports.exports.tables import EXPORTS
from reports.exports.writing import write_exports
from reports.pages.catalogue import page as catalogue_page
from reports.pages.drawing import drawn_ahead
from reports.pages.page_files import write_pages
from reports.pages.report import Site
from reports.sections.below_the_line import BelowTheLine, below_the_line
from reports.sections.clip_errors import ClipReader
from reports.sections.published_rows import PublishedRows, published_rows
from reports.sections.studies import Histories, study_sections

RECORDS_ALONE = (
    "a board is made of records, the same on every machine; serbench report shows the clips of a run"
)


@dataclass(frozen=True)
class PublishedPage:
    """What ``published.html`` is filled with; ``downloads`` are addresses relative to the page."""

    rules: BoardRules
    records: tuple[BoardRecord, ...]
    reported: tuple[ReportedSource, ...]
    downloads: tuple[str, ...]
    missing: tuple[Missing, ...]
    """What the publications planned and does not stand here."""
    below: tuple[BelowTheLine, ...] = ()
    """Records that are neither ranked nor tested."""

    pre_registered: ClassVar[tuple[str, str]] = (PRE_REGISTERED, MEANING)

    @property
    def table(self) -> PublishedRows:
        """Every record, what all have alike said once."""
        return published_rows(self.records)

    @property
    def badges(self) -> list[tuple[str, str]]:
        """Badges that occur, with what they say was checked."""
        present = {r.badge for r in self.records}
        return [(b, text) for b, text in BADGES.items() if b in present]

    @property
    def plans(self) -> list[tuple[str, str, int]]:
        """Publications, what their records show of when the plan was made, and how many show it."""
        counted: dict[tuple[str, str], int] = defaultdict(int)
        for r in self.records:
            counted[r.publication, published_plan_words(r.record.facts)] += 1
        return [(*key, n) for key, n in sorted(counted.items())]


def write_board(
    found: Validation,
    board: Board,
    out: Path,
    test: TestFamily,
    pages_made: Path | None = None,
    studies: Sequence[Study] = (),
) -> Path:
    """Build the site of a board that passed validation, its exports included.

    Args:
        found: the records of the board, validated.
        board: the folder of results they were read from.
        out: folder for the site.
        test: tests a comparison family; with a memory, families that did not change are not tested again.
        pages_made: a folder that keeps the pages of tasks and systems, for a board of which little has changed.
        studies: those beside the board, checked.

    Returns:
        The site's first page.

    Raises:
        BenchError: ``out`` cannot be written.
    """
    rules = board.rules
    reader = ClipReader(board.root, (), out, audio=False, absent=RECORDS_ALONE)
    site = Site(published_run(found, rules), reader, board.root, test)
    site.tests_in = EXPORTS
    below = below_the_line(found.below)
    _add_evidence(site, found, board.root, test, studies)
    if pages_made is None:
        downloads = write_exports(site.run.records, site.comparisons, out / EXPORTS, rules.address)
    else:
        code = hash_json([_templates_hash(), package_hash("reports"), package_hash("bench")])
        shared = [
            site.run.matrix.hash,
            site.versions,
            rules.title,
            rules.address,
            [asdict(row) for row in below],
            site.histories.as_json(),
            [list(told) for _, told in site.claims],
            [s.study.name for s in site.studies],
            [e.as_json() for e in site.catalogued],
        ]
        site.remember = memory = RememberedPages(pages_made, code, shared)
        site.ahead = partial(drawn_ahead, memory)
        downloads = RememberedFiles(pages_made.parent / "files", code, shared)(
            site.run.records,
            out / EXPORTS,
            lambda: write_exports(site.run.records, site.comparisons, out / EXPORTS, rules.address),
        )
    names = tuple(Path(os.path.relpath(p, out)).as_posix() for p in downloads)
    missing = tuple(missing_records(found.outcomes))
    page = PublishedPage(rules, found.records, reported_sources(), names, missing, below)
    site.board = page
    return write_pages(chain(site.pages(), _own_pages(site, page)), out)


def _own_pages(site: Site, page: PublishedPage) -> Iterator[tuple[str, str]]:
    """Pages that boards alone have."""
    if site.studies:
        yield "studies.html", site.render("studies.html.j2", page=page, studies=site.studies)
    yield "published.html", site.render("published.html.j2", page=page)
    yield (
        "catalogue.html",
        catalogue_page(catalogue(shipped_only=True), home=page.rules.title),
    )


def _add_evidence(
    site: Site, found: Validation, root: Path, test: TestFamily, studies: Sequence[Study]
) -> None:
    """Put on the pages what rests on more than the board: claims, studies, the history of cells."""
    evidence = read_evidence(root, {r.path: r.record.facts for r in found.records})
    cells = by_cell(evidence)
    site.studies = study_sections(studies)
    site.histories = Histories(histories(evidence))

    def moves(p: PairResult) -> str:
        spread = spread_of(p, cells)
        return spread.words(p.system_a, p.system_b) if spread.pairs and spread.sign_depends else ""

    site.moves = moves
    if (root / CLAIMS).is_file():
        ledger = derive_ledger(root, evidence, test)
        asked = [ledger.of(q.id) for q in ledger.rules.questions]
        hardest = next((own for own in asked if own and own[0].question.rivals == "same encoder"), [])
        site.standing = standing(hardest)
        site.claims = [(summary(own), [claim_sentence(c) for c in own]) for own in asked if own]


def published_run(found: Validation, rules: BoardRules) -> RunData:
    """All competing records as one run under the board's plan, with every pair across tracks that their plans name."""
    records = [r.record for r in found.competing]
    pairs = sorted({p for r in records for p in r.facts.plan.across_tracks})
    plan = rules.plan.model_copy(update={"across_tracks": tuple(pairs)})
    systems = tuple(sorted({r.system for r in records})) or ("none",)
    matrix = Matrix(name="leaderboard", description=rules.title, entries=(Entry(systems=systems),), plan=plan)
    under_plan = (_under(r, plan) for r in found.competing)
    standing = tuple(without_private_words(under_plan, Scrubber.of_this_machine()))
    return RunData(
        matrix=matrix,
        limit=None,
        corpora=tuple(sorted({r.facts.corpus for r in records})),
        records=standing,
        outcomes=found.outcomes,
        failures=(),
        machine=None,
        work={s: WorkDone(0.0, 0.0) for s in systems},
    )


def _under(published: BoardRecord, plan: AnalysisPlan) -> Record:
    """The record, to be compared under the board's plan, with the hash that names its content."""
    record = published.record
    facts = record.facts.model_copy(update={"plan": plan})
    return replace(record, facts=facts, file_hash=hash_file(published.path))


def _templates_hash() -> str:
    folder = files("reports").joinpath("templates")
    return hash_json(
        [[p.name, p.read_text(encoding="utf-8")] for p in sorted(folder.iterdir(), key=lambda p: p.name)]
    )
