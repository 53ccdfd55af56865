"""The HTML report of a run: static, self-contained pages that work offline.

The one script on a page is ours, sorts and filters boards, and is let through by its hash alone.

Everything that comes from a run is hostile input: names, titles, notes, errors and warnings are escaped by the
template engine without exception, and characters that reorder or hide text are written out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.audio.conditions import CLEAN
from bench.leaderboard.plan_evidence import published_plan_words
from bench.scoring.comparisons import run_family
from bench.scoring.pair_results import PairResult
from bench.scoring.plan_seen import plan_words
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from bench.storage.atomic import write_text
from bench.storage.hashing import hash_json
from bench.storage.scrubbing import Scrubber
from bench.tasks.catalogue import catalogue
from reports import formatting
from reports.data.comparisons import TaskComparison, TestFamily, compare_systems, overview_comparisons
from reports.data.conditions import condition_words
from reports.data.missing_records import missing_records
from reports.data.run_data import RunData, read_run_data
from reports.exports.tables import EXPORTS, write_tests
from reports.pages.clip_browser import clip_browser, pictures_stem, write_pictures
from reports.pages.drawing import PlannedPage
from reports.pages.overview import Overview
from reports.pages.overview_rows import FILE as ROWS_FILE
from reports.pages.overview_rows import rows_script
from reports.pages.page_files import write_pages
from reports.pages.single_file import single_file
from reports.pages.system_page import system_sections
from reports.pages.task_page import Lead, TaskVerdict, task_sections
from reports.pages.templating import bound, environment, page_name, pair_page_name, squeezed
from reports.sections import fits, forest_boards, run_changes, tables
from reports.sections.clip_errors import ClipReader
from reports.sections.clip_rows import ClipRows
from reports.sections.cross_lingual import OWN, cross_lingual
from reports.sections.folds import siblings, split_words
from reports.sections.pairwise import pair_page, pairs_to_show
from reports.sections.prompting import asked_fits
from reports.sections.robustness import UNCHANGED, robust_tasks
from reports.sections.studies import Histories, StudySection

WRITTEN_OUT = 100
"""Records up to which a task's page shows every protocol and condition in full; beyond, the first in full and of the others the boards."""
TESTS_SHOWN = 400
"""Tests on a system's page."""


def write_report(
    run: Path, out: Path, *, data: Sequence[Path] = (), audio: bool = False, against: Path | None = None
) -> Path:
    """Render the report of a run into ``out``, with its tests and ranks as CSV and Parquet in ``exports``.

    On one machine the same run gives the same bytes. Pages of an earlier report in ``out`` that this run no longer has are removed.

    Args:
        run: folder of the run.
        out: folder for the pages.
        data: folders with prepared corpora, whose labels show what systems answer clip by clip; blank: those that SERBENCH_DATA
            names, else those the run remembers.
        audio: whether clips have players, which point to the corpus's own files by relative address, and where the card lets
            everybody have it pictures of their sound; such pages are for this machine.
        against: folder of an earlier run of the same systems, for a page that says which scores moved.

    Returns:
        The path of its first page.

    Raises:
        UsageError: ``run`` is no run.
        DataError: its plan or a record cannot be read.
        BenchError: ``out`` cannot be written.
    """
    reader = ClipReader(run, data, out, audio=audio)
    site = _site(run, reader, against)
    site.tests_in = EXPORTS
    write_tests(site.comparisons, out / EXPORTS, Scrubber.of_this_machine())
    return write_pages(site.pages(), out, lambda: write_pictures(reader.pictures, out))


def write_single_file(
    run: Path, path: Path, *, data: Sequence[Path] = (), against: Path | None = None
) -> int:
    """Render the whole report into one file, for mail. As :func:`write_report`, without players.

    Args:
        run: folder of the run.
        path: the file.
        data: folders with prepared corpora.
        against: folder of an earlier run of the same systems.

    Returns:
        The file's size, bytes.

    Raises:
        UsageError: ``run`` is no run.
        DataError: its plan or a record cannot be read.
        BenchError: ``path`` cannot be written.
    """
    site = _site(run, ClipReader(run, data, path.parent, audio=False, browsed=False), against)
    html = Scrubber.of_this_machine().page(single_file(dict(site.pages())))
    write_text(path, html)
    return len(html.encode())


def _site(run: Path, reader: ClipReader, against: Path | None) -> Site:
    earlier = read_run_data(against).records if against is not None else ()
    site = Site(read_run_data(run), reader, run)
    if against is not None:
        site.against = run_changes.against(run, site.run.records, against, earlier)
    return site


RememberPage = Callable[[str, Sequence[Record], Callable[[str], str], str], str]
"""Gives a page back that was made before of the same records: what it is, its records, how it is made, of what."""
DrawAhead = Callable[[Sequence[PlannedPage]], AbstractContextManager[None]]
"""Lets others draw of what is planned while it is entered."""


class Site:
    """All pages of one run. Comparisons are made once, here.

    Args:
        run: what the run folder holds.
        reader: reads what systems answered clip by clip.
        folder: where the run's prediction tables lie.
        test: tests a comparison family.
    """

    def __init__(self, run: RunData, reader: ClipReader, folder: Path, test: TestFamily = run_family) -> None:
        self.run = run
        self.board: object | None = None
        self.remember: RememberPage = lambda key, records, make, name: make(name)
        self.ahead: DrawAhead = lambda planned: nullcontext()
        self.against: run_changes.Against | None = None
        self.claims: Sequence[tuple[str, Sequence[str]]] = ()
        """Of a board, its questions: a summary, and a sentence per claim."""
        self.tests_in = ""
        """The folder beside the pages where tests and ranks lie as CSV and Parquet; blank: nowhere."""
        self.standing = ""
        """Of a board: how the proposed systems stand to the strongest on the same encoder, which may be a study's."""
        self.studies: Sequence[StudySection] = ()
        self.histories = Histories({})
        self.moves: Callable[[PairResult], str] = lambda p: ""
        """Says of a verdict that its sign depends on the version, where it does."""
        self._reader, self._folder = reader, folder
        self.comparisons = compare_systems(run.records, test)
        self.primary = {i: c.subjects[0] for i, c in enumerate(self.comparisons) if c.subjects}
        self.tasks = list(dict.fromkeys(c.task for c in self.comparisons))
        self.systems = list(dict.fromkeys(o.system for o in run.outcomes))
        self.catalogued = catalogue(shipped_only=True, with_contamination=False)
        """Tasks of the shipped corpus cards: what could be measured."""
        self.versions = sorted({r.facts.code_version for r in run.records})
        self.pairs = pairs_to_show(self.comparisons)
        self.pair_pages = [(a, b, quote(pair_page_name(a, b))) for a, b in self.pairs]
        """Two systems, and the address of their page, for the chooser."""
        self.browsed: dict[str, list[ClipRows]] = defaultdict(list)
        """Clips that can be browsed, by task, as far as its page is made."""
        self.robust = robust_tasks(self.comparisons)
        self.cross = cross_lingual(self.comparisons)
        self._templates = environment()

    @cached_property
    def plans(self) -> list[tuple[str, int]]:
        """What the records show of when their plan was made, and how many of them do."""
        words = plan_words if self.board is None else published_plan_words
        return Counter(words(r.facts) for r in self.run.records).most_common()

    def pages(self) -> Iterator[tuple[str, str]]:
        """Render every page, one after the other: file name and HTML, and the first page's script file."""
        planned = [
            *map(self._task_page, self.tasks),
            *map(self._system_page, self.systems),
            *self._pair_pages(),
        ]
        with self.ahead(planned):
            yield from self._overview().items()
            for page in planned:
                yield page.file, self.remember(page.key, page.records, page.make, page.name)
                yield from self._clips(page.name).items()
        yield from self._pages_across().items()

    def _task_page(self, task: str) -> PlannedPage:
        own = [r for c in self.comparisons if c.task == task for r in c.records]
        key = " ".join(["task", task, *(name for name, _ in siblings(task, self.tasks))])
        return PlannedPage(
            page_name("task", task), key, own, lambda t: self.render("task.html.j2", **self._task(t)), task
        )

    def _system_page(self, system: str) -> PlannedPage:
        met = [r for c in self.comparisons if any(r.system == system for r in c.records) for r in c.records]
        key = f"system {system} {self._outcomes_hash(system)}"
        return PlannedPage(
            page_name("system", system),
            key,
            met,
            lambda s: self.render("system.html.j2", **self._system(s)),
            system,
        )

    def _pair_pages(self) -> Iterator[PlannedPage]:
        for a, b in self.pairs:
            met = [r for c in self.comparisons for r in c.records if self._meet(c, a, b)]
            yield PlannedPage(
                pair_page_name(a, b), f"compare {a} {b}", met, partial(self._pair, a, b), f"{a}--{b}"
            )

    def _pair(self, a: str, b: str, _: str) -> str:
        return self.render("compare.html.j2", pair=pair_page(self.comparisons, a, b, self._reader))

    def _clips(self, task: str) -> dict[str, str]:
        """Render the clip browser of a task whose page was made: its page and the script files beside it; nothing where it has none."""
        rows = self.browsed.pop(task, None)
        if not rows:
            return {}
        browser = clip_browser(task, sorted(rows, key=lambda r: bool(r.dimension)))  # labels first
        facts = next(c.facts for c in self.comparisons if c.task == task)
        stem = quote(pictures_stem(f"{facts.corpus}.{facts.language}")) if browser.pictures else ""
        page = self.render("clips.html.j2", task=task, facts=facts, browser=browser, pictures=stem)
        return {browser.page: page, **browser.scripts(Scrubber.of_this_machine())}

    def _overview(self) -> dict[str, str]:
        """Render the first page, and the script file with all that it can show."""
        overview = Overview(
            self.run, self.comparisons, self.catalogued, self.pair_pages, self.board is not None
        )
        state = self._outcomes_hash()
        page = self.remember(
            f"overview {state}",
            self.run.records,
            lambda _: self.render(
                "index.html.j2", missing=missing_records(self.run.outcomes), **overview.context()
            ),
            "index",
        )
        rows = self.remember(f"rows {state}", self.run.records, lambda _: overview.rows(), "rows")
        return {"index.html": page, ROWS_FILE: rows_script(rows)}

    def _outcomes_hash(self, system: str = "") -> str:
        """What became of everything planned (of one system), which no record tells."""
        own = [o for o in self.run.outcomes if system in ("", o.system)]
        return hash_json([[*o.place, o.state, o.reason, o.planned] for o in own])

    def _pages_across(self) -> dict[str, str]:
        """Render the pages that stand between tasks and systems: conditions, languages, an earlier run."""
        made = {}
        if self.robust:
            words = {c: condition_words(c) for t in self.robust for c in t.conditions}
            made["robustness.html"] = self.render(
                "robustness.html.j2", robust=self.robust, words_of=words, UNCHANGED=UNCHANGED
            )
        if self.cross:
            made["cross-lingual.html"] = self.render("cross_lingual.html.j2", cross=self.cross, own=OWN)
        if self.against is not None:
            made["against.html"] = self.render("against.html.j2", against=self.against)
        return made

    def _meet(self, comparison: TaskComparison, a: str, b: str) -> bool:
        """Whether two systems met here, or the plan compares the two and one of them ran here."""
        systems = {r.system for r in comparison.records}
        return {a, b} <= systems or bool({a, b} & systems and (a, b) in comparison.plan.across_tracks)

    def render(self, template: str, **context: Any) -> str:
        """Fill a template."""
        html = self._templates.get_template(template).render(
            site=self, run=self.run, versions=self.versions, **context
        )
        return bound(squeezed(html))

    def verdict(self, comparison: TaskComparison, subject: Subject) -> TaskVerdict:
        """Gather the sentences of one comparison."""
        leads = []
        for track in comparison.tracks:
            members = comparison.members(subject, track)
            if track == "reference" or not members:
                continue
            seen = comparison.against(subject, track, members[0].system)
            second = seen.get(members[1].system) if len(members) > 1 else None
            decided = [p for p in seen.values() if p is not second and p.verdict in ("better", "worse")]
            moved = tuple(words for p in decided if (words := self.moves(p)))
            leads.append(Lead(track, formatting.lead(comparison, subject, track), second, moved))
        return TaskVerdict(comparison, tuple(leads), tuple(comparison.across(subject)))

    def _task(self, task: str) -> dict[str, Any]:
        own = [c for c in self.comparisons if c.task == task]
        brief = sum(len(c.records) for c in own) > WRITTEN_OUT
        plain = overview_comparisons(own)
        return {
            "task": task,
            "parts_of": [
                self._task_part(c, brief=brief and i > 0) | {"folded": i > 0 and c not in plain}
                for i, c in enumerate(own)
            ],
            "siblings": siblings(task, self.tasks),
            "histories": self.histories.of_task(task),
            "split_words": split_words(task),
        }

    def _task_part(self, comparison: TaskComparison, *, brief: bool) -> dict[str, Any]:
        by_track = [r for t in comparison.tracks for r in comparison.records if r.facts.track == t]
        main = comparison.subjects[0] if comparison.subjects else None
        ordered = (
            [r for t in comparison.tracks for r in comparison.members(main, t)]
            if main is not None
            else by_track
        )
        categorical = next((s for s in comparison.subjects if s.metric != "ccc"), None)
        more = task_sections(comparison, ordered, None if brief else self._reader)
        self.browsed[comparison.task].extend(more.clips.rows)
        return {
            "comparison": comparison,
            "brief": brief,
            "subjects": [
                {
                    "subject": s,
                    "board": forest_boards.task_board(comparison, s),
                    "verdict": self.verdict(comparison, s),
                    "matrices": tables.verdict_matrices(comparison, s),
                    "spreads": [x for r in ordered if (x := tables.spread(r, s)) is not None],
                }
                for s in comparison.subjects
            ],
            "scores": tables.score_tables(comparison),
            "recall": tables.recall_table(ordered, categorical) if categorical else None,
            "more": more,
            "statuses": tables.status_table(ordered),
        }

    def _system(self, system: str) -> dict[str, Any]:
        own = [r for c in self.comparisons for r in c.records if r.system == system]
        # What a fit is like, and how sure it is, once: conditions are other test audio for the same fits.
        clean = {(r.task, r.regime) for r in own if r.facts.condition == CLEAN}
        plain = [r for r in own if r.facts.condition == CLEAN or (r.task, r.regime) not in clean]
        undisturbed = {id(c) for c in overview_comparisons(self.comparisons)}
        main = {i: s for i, s in self.primary.items() if id(self.comparisons[i]) in undisturbed}
        others = {i: s for i, s in self.primary.items() if i not in main}
        won, degraded_tests = self._outcomes_of(system, main), self._outcomes_of(system, others)
        return {
            "system": system,
            "records": own,
            "card": own[0].facts.card if own else None,
            "boards": forest_boards.system_boards(self.comparisons, system, main),
            "degraded_boards": forest_boards.system_boards(self.comparisons, system, others),
            "won": won[:TESTS_SHOWN],
            "won_degraded": degraded_tests[:TESTS_SHOWN],
            "won_left_out": max(0, len(won) - TESTS_SHOWN) + max(0, len(degraded_tests) - TESTS_SHOWN),
            "degraded": len(own) - len(plain),
            "facts_of": {r.task: r.facts for r in reversed(own)},
            "met": list(dict.fromkeys((r.task, r.facts.contamination) for r in own)),
            "more": system_sections(self._folder, plain, self.comparisons),
            "fits": [t for r in plain if not asked_fits(r) and (t := fits.fit_table(r)) is not None],
            "statuses": tables.status_table(own) if own else None,
            "histories": self.histories.of_system(system),
            "outcomes": [o for o in self.run.outcomes if o.system == system],
            "missing": missing_records([o for o in self.run.outcomes if o.system == system]),
            "failures": [f for f in self.run.failures if f.system == system],
            "work": self.run.work.get(system),
        }

    def _outcomes_of(self, system: str, subject_of: Mapping[int, Subject]) -> list[PairResult]:
        """Planned tests that the system took part in, seen from it: of some comparisons (by position), in a subject each."""
        found = []
        for i, subject in subject_of.items():
            for p in self.comparisons[i].tested(subject):
                if system in (p.system_a, p.system_b):
                    found.append(p if p.system_a == system else p.turned())
        return found

    def records_of(self, task: str) -> list[Record]:
        """The records of a task, for what they all state alike."""
        return [r for r in self.run.records if r.task == task]
