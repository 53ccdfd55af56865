"""The report of a run says what the tests say, shows what is missing, and stays harmless whatever a run contains."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from bench.errors import DataError, UsageError
from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from bench.scoring.comparisons import comparable, families, run_family
from bench.scoring.records import read_record, read_records, write_record
from bench.statistics.ranking import TaskScore, rank_across_pools
from reports.charts.critical_difference import critical_difference_svg, in_words
from reports.pages.report import write_report
from reports.pages.task_page import TaskVerdict
from reports.pages.templating import page_name
from reports.sections.average_ranks import TrackRanking
from tests.conftest import write_tone_corpus

SCRIPT = "<script>alert('owned')</script>"
BREAKOUT = '"><img src=x onerror=alert(1)>'
OVERRIDE = chr(0x202E) + "evil"

SCRIPTED = f'''
import numpy as np
from bench.protocols import Answers

class Scripted:
    """Hears the pitch of a tone, and answers rightly as often as its skill says."""
    def __init__(self, skill=1.0, salt=0, refuses=0.0, breaks=False):
        self.skill, self.salt, self.refuses, self.breaks = skill, salt, refuses, breaks
    def fit(self, train, dev, context):
        if self.breaks:
            raise RuntimeError({SCRIPT!r})
        self.labels = context.labels
        self.pitch = {{}}
        for i in range(len(train)):
            self.pitch.setdefault(train.labels[i], []).append(pitch(train.clips.read(i)))
        self.pitch = {{k: np.mean(v) for k, v in self.pitch.items()}}
        self.seed = context.seed
    def predict(self, clips):
        rng = np.random.default_rng([self.salt, self.seed, len(clips)])
        nearest = [min(self.pitch, key=lambda k: abs(self.pitch[k] - pitch(w))) for w in clips.waveforms()]
        predicted = [h if rng.random() < self.skill else str(rng.choice(self.labels)) for h in nearest]
        status = ["refused" if rng.random() < self.refuses else "ok" for _ in predicted]
        labels = tuple(s if t == "ok" else None for s, t in zip(predicted, status))
        position = np.array([self.labels.index(h) for h in nearest]) / (len(self.labels) - 1)
        dimensions = np.stack([position, 1 - position, np.full(len(nearest), 0.5)], axis=1)
        dimensions = np.clip(dimensions + (1 - self.skill) * rng.normal(0, 0.3, dimensions.shape), 0, 1)
        return Answers(tuple(status), labels, dimensions=dimensions, notes={{
            "epochs": 15 + self.seed, "remark": {BREAKOUT!r}, "curve": [1.0 / n for n in range(1, 30)],
            {SCRIPT!r}: True,
        }})

def pitch(wave):
    return int(np.abs(np.fft.rfft(wave[:6400])).argmax())
'''
MATRIX = """
name: story
description: "Tones &amp; <b>others</b>"
entries:
  - systems: [./sharp.yaml, ./dull.yaml, ./twin.yaml]
    seeds: [0, 1]
  - systems: [majority, ./tuned.yaml, ./broken.yaml]
  - systems: [./served.yaml]
    protocol: zero-shot
plan:
  resamples: 1000
  permutations: 1000
  across_tracks: [[tuned, dull]]
"""


def write_card(folder: Path, name: str, *, track: str = "probed", title: str = "", **params: object) -> None:
    card = {
        "name": name,
        "title": title,
        "family": "trained",
        "track": track,
        "adapter": "scripted_systems:Scripted",
        "params": params,
        "seeds": track == "probed",
        "training_corpora": [{"corpus": "tones", "split": "other-speakers"}] if name == "tuned" else [],
    }
    (folder / f"{name}.yaml").write_text(json.dumps(card), encoding="utf-8")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of scripted systems on two tiny corpora: one clear winner, twins, a failure, a missing server."""
    folder = tmp_path_factory.mktemp("story")
    (folder / "scripted_systems.py").write_text(SCRIPTED)
    (folder / "story.yaml").write_text(MATRIX)
    write_card(folder, "sharp", skill=0.97, salt=1, title=f"Sharp ears {SCRIPT}{OVERRIDE}")
    write_card(folder, "dull", skill=0.35, salt=2)
    write_card(folder, "twin", skill=0.35, salt=2)
    write_card(folder, "tuned", track="adapted", skill=0.8, salt=3, refuses=0.2)
    write_card(folder, "broken", track="adapted", breaks=True)
    (folder / "served.yaml").write_text("{name: served, family: audio-llm, track: released}")
    corpus = write_tone_corpus(
        folder / "data" / "tones", speakers=8, labels=("happy", "sad", "angry", "bored"), dimensions=True
    )
    card = corpus / "card.yaml"
    card.write_text(card.read_text() + f"traps: [{json.dumps(SCRIPT)}]\n")
    card.write_text(card.read_text().replace("[1, 5]", "[0, 6]"))
    other = write_tone_corpus(folder / "data" / "generated", speakers=5, languages=("id",), seed=1)
    (other / "card.yaml").write_text((other / "card.yaml").read_text() + "synthetic: true\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERBENCH_CACHE", str(folder / "cache"))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
        patch.delenv("SERBENCH_DATA", raising=False)
        patch.syspath_prepend(str(folder))
        settings = RunSettings(
            matrix=str(folder / "story.yaml"), data=(folder / "data",), out=folder / "run", workers=1
        )
        run_matrix(settings, Reporter())
        yield folder / "run"


@pytest.fixture(scope="module")
def pages(story: Path) -> dict[str, str]:
    """The report of that run, by file name."""
    index = write_report(story, story.parent / "report")
    assert index.name == "index.html"
    return {p.name: p.read_text(encoding="utf-8") for p in sorted(index.parent.glob("*.html"))}


class Page(HTMLParser):
    """Text, tags and attributes of a page; checks that tags are closed in order."""

    VOID = {"meta", "link", "img", "br", "hr", "col", "input"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def having(self, attribute: str) -> list[str]:
        return [str(a[attribute]) for _, a in self.tags if attribute in a]


def test_the_verdict_repeats_the_tests_of_the_plan_in_words(story: Path, pages: dict[str, str]) -> None:
    text = Page(pages["task-tones.ms.html"]).text
    assert "sharp has the highest UA of 3 probed systems" in text
    assert (
        "It beats all the others: dull and twin." in text or "It beats all the others: twin and dull." in text
    )
    (group,) = [g for g in comparable(read_records(story / "records")) if g[0].task == "tones.ms"]
    pairings = [p for family in families(group) for p in run_family(*family)]
    across = [p for p in pairings if p.family == "across tracks" and (p.view, p.metric) == ("native", "ua")]
    assert len(across) == 1
    assert "differ in supervision" in across[0].sentence
    assert across[0].sentence in text
    pair = across[0]
    several = TaskVerdict(group, (), (pair, replace(pair, system_b="other"))).across_said  # type: ignore[arg-type]
    assert several.opening.startswith("On tones.ms (")
    assert [p.system_b for _, p in several.pairs] == [pair.system_b, "other"]
    for words, p in several.pairs:
        assert "tones.ms" not in words
        assert "supervision" not in words, "what all pairs share is said once"
        assert p.system_b in words
    assert {s for _, names in several.supervision for s in names} == {pair.system_a, pair.system_b, "other"}
    second = [p for p in pairings if {p.system_a, p.system_b} == {"sharp", "dull"} and p.view == "native"]
    ua = next(p for p in second if p.metric == "ua")
    seen = ua if ua.system_a == "sharp" else ua.turned()
    assert seen.sentence in text


def test_ranks_are_intervals_and_twins_share_theirs(pages: dict[str, str]) -> None:
    text = Page(pages["task-tones.ms.html"]).text
    rows = {
        name: re.search(rf"\b{name} [^|]*?(\d(?:–\d)? of 3)", text[text.index("rank interval") :])
        for name in ("sharp", "dull", "twin")
    }
    found = {name: match[1] for name, match in rows.items() if match}
    assert found == {"sharp": "1 of 3", "dull": "2–3 of 3", "twin": "2–3 of 3"}


def test_figures_are_those_of_the_records(story: Path, pages: dict[str, str]) -> None:
    for path in sorted((story / "records").glob("*tones.ms*.json")):
        record = read_record(path)
        page = Page(pages["task-tones.ms.html"]).text
        for row in record.scores:
            scale, digits = (100, 1) if row.dimension is None else (1, 2)
            figure = f"{round(row.estimate * scale, digits) + 0.0:.{digits}f}".replace("-", "−")
            if row.metric in ("ua", "wa", "macro_f1", "ccc", "pearson") and row.rows == "all":
                assert figure in page, (record.system, row.metric, row.dimension)


def test_everything_planned_is_shown_with_what_became_of_it(pages: dict[str, str]) -> None:
    text = Page(pages["index.html"]).text
    assert "served zero-shot generated.id , tones.ms blocked : needs a server" in text
    assert "broken within generated.id , tones.ms failed : 5 of the 5 cells tried failed" in text
    assert "fold 0 seed 0, fold 1 seed 0" in text
    assert "RuntimeError" in text
    assert "failed" in Page(pages["system-broken.html"]).text
    assert "needs a server" in Page(pages["system-served.html"]).text
    assert "planned records scored 10 of 14" in text


def test_what_a_run_holds_cannot_become_markup(pages: dict[str, str]) -> None:
    assert SCRIPT in Page(pages["system-sharp.html"]).text  # title and note name: shown as text
    assert SCRIPT in Page(pages["task-tones.ms.html"]).text  # the corpus card's warning
    assert SCRIPT in Page(pages["index.html"]).text  # the error of the broken system
    assert BREAKOUT in Page(pages["system-sharp.html"]).text
    for html in pages.values():
        page = Page(html)
        (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)  # our own, let through by its hash
        allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{allowed}'" in html
        assert not {tag for tag, _ in page.tags} & {
            "img",
            "iframe",
            "object",
            "embed",
            "link",
            "base",
        }
        assert not [a for _, attrs in page.tags for a in attrs if a.startswith("on")]
        assert OVERRIDE[0] not in html
    assert "⟨U+202E⟩evil" in pages["system-sharp.html"]


def test_pages_stand_alone_and_link_only_to_each_other(pages: dict[str, str]) -> None:
    expected = {"index.html", page_name("task", "tones.ms"), page_name("task", "generated.id")}
    expected |= {
        page_name("system", s) for s in ("sharp", "dull", "twin", "tuned", "broken", "served", "majority")
    }
    expected |= {
        page_name("compare", f"{a}--{b}")
        for a, b in (("tuned", "dull"), ("dull", "sharp"), ("dull", "twin"), ("sharp", "twin"))
    }
    assert set(pages) == expected
    first_ids = Page(pages["index.html"]).having("id")
    for html in pages.values():
        page = Page(html)
        policy = [a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
        assert policy
        assert str(policy[0]).startswith("default-src 'none'")
        assert not [a for _, attrs in page.tags for a in attrs.values() if a and "://" in a]
        assert "@import" not in html
        assert "url(" not in html
        assert not page.having("src")
        ids = page.having("id")
        assert len(ids) == len(set(ids))
        for address in page.having("href"):
            place = address.removeprefix("index.html#")
            if place != address:
                assert place in first_ids, address
                continue
            made_beside = {
                f"exports/{name}.{kind}" for name in ("pairs", "ranks") for kind in ("csv", "parquet")
            }
            assert address in pages or address in made_beside or address.lstrip("#") in ids, address
        for reference in page.having("aria-labelledby"):
            assert reference in ids


def test_pages_can_be_heard(pages: dict[str, str]) -> None:
    for html in pages.values():
        page = Page(html)
        tags = [t for t, _ in page.tags]
        assert page.tags[0][1].get("lang") == "en"
        assert tags.count("h1") == tags.count("main") == 1
        assert tags.count("caption") == tags.count("table")
        assert all("scope" in a for t, a in page.tags if t == "th")
        assert all(a.get("aria-hidden") == "true" or a.get("aria-label") for t, a in page.tags if t == "svg")
        levels = [int(t[1]) for t in tags if re.fullmatch("h[1-6]", t)]
        assert all(deeper - level <= 1 for level, deeper in pairwise(levels))


def test_synthetic_audio_is_marked_wherever_its_figures_stand(pages: dict[str, str]) -> None:
    for html in pages.values():
        assert "SYNTHETIC · results marked so were made on generated audio" in Page(html).text
    generated = pages["task-generated.id.html"]
    captions = re.findall(r"<caption[^>]*>(.*?)</caption>", generated, re.DOTALL)
    assert captions
    unmarked = [c for c in captions if "SYNTHETIC" not in c and "Confusion" not in c and "status" not in c]
    assert not unmarked
    assert "SYNTHETIC" not in " ".join(
        re.findall(r"<caption[^>]*>(.*?)</caption>", pages["task-tones.ms.html"], re.DOTALL)
    )


def test_what_hinders_publication_and_what_was_seen_in_training_is_said(pages: dict[str, str]) -> None:
    assert re.search(
        r"tuned on tones\.ms: coverage 0\.\d+ is under the floor of 0\.95", Page(pages["index.html"]).text
    )
    assert "same corpus in training" in Page(pages["task-tones.ms.html"]).text
    assert "1 same corpus" in Page(pages["index.html"]).text
    assert "refused" in Page(pages["task-tones.ms.html"]).text
    assert "the corpus is synthetic" in Page(pages["task-generated.id.html"]).text


def test_confusions_recalls_and_dimensions_follow_from_the_statistics(
    story: Path, pages: dict[str, str]
) -> None:
    record = read_record(story / "records" / "sharp__tones.ms__within__clean.json")
    block = record.block("native", "wrong", "all", "category")
    assert block is not None
    counts = block.averaged.sum(axis=0)
    text = Page(pages["task-tones.ms.html"]).text
    for k, label in enumerate(block.labels):
        clips = counts[k].sum()
        shares = [f"{100 * c / clips:.0f}" for c in counts[k] if c]
        assert f"{label} {clips:.0f} {' '.join(shares)}" in text
        assert f"{100 * counts[k, k] / clips:.1f}" in text
    assert "CCC, valence" in text
    assert "Pearson r" in text


def test_fits_tell_what_they_chose(pages: dict[str, str]) -> None:
    text = Page(pages["system-sharp.html"]).text
    assert "29 values, 1 to 0.03448" in text
    assert "fold 0 seed 0 15" in text
    assert "fold 0 seed 1 16" in text
    assert "polyline" in pages["system-tuned.html"] or "29 values" in pages["system-tuned.html"]


def test_the_same_run_gives_the_same_bytes(story: Path, pages: dict[str, str], tmp_path: Path) -> None:
    write_report(story, tmp_path)
    assert {p.name: p.read_text(encoding="utf-8") for p in tmp_path.glob("*.html")} == pages
    assert (tmp_path / "rows.js").read_bytes() == (story.parent / "report" / "rows.js").read_bytes()


def test_pages_that_a_run_no_longer_has_are_removed_and_nobody_elses(story: Path, tmp_path: Path) -> None:
    write_report(story, tmp_path)
    old = tmp_path / "task-gone.en.html"
    old.write_text((tmp_path / "task-tones.ms.html").read_text())
    (tmp_path / "task-mine.html").write_text("<p>my notes</p>")
    write_report(story, tmp_path)
    assert not old.exists()
    assert (tmp_path / "task-mine.html").read_text() == "<p>my notes</p>"


def test_a_record_cannot_choose_where_its_page_is_written(story: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "records").mkdir(parents=True)
    for name in ("journal.sqlite", "matrix.json"):
        (run / name).write_bytes((story / name).read_bytes())
    record = read_record(story / "records" / "sharp__tones.ms__within__clean.json")
    hostile = r"..%2f..%2f" + SCRIPT.replace("/", "%2f")
    facts = record.facts.model_copy(update={"task": hostile, "system": hostile})
    write_record(run / "records" / "x.json", facts, record.blocks)
    write_report(run, tmp_path / "out" / "report")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["report"]
    assert {p.parent for p in tmp_path.rglob("*.html")} == {tmp_path / "out" / "report"}
    made = Page((tmp_path / "out" / "report" / page_name("task", hostile)).read_text())
    assert hostile in made.text
    path = run / "records" / "x.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "system": "../../" + SCRIPT}))
    with pytest.raises(DataError, match=r"x\.json: system: expected a name without slashes"):
        write_report(run, tmp_path / "out" / "report")


def test_a_run_without_records_still_says_what_it_planned(story: Path, tmp_path: Path) -> None:
    for name in ("journal.sqlite", "matrix.json"):
        (tmp_path / name).write_bytes((story / name).read_bytes())
    text = Page(write_report(tmp_path, tmp_path / "report").read_text()).text
    assert "Nothing has been scored yet" in text
    assert "unfinished" in text
    assert "needs a server" in text


def test_a_limited_run_says_so_on_every_page(story: Path, tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes((story / "journal.sqlite").read_bytes())
    plan = json.loads((story / "matrix.json").read_text())
    (tmp_path / "matrix.json").write_text(json.dumps(plan | {"limit": 12}))
    record = read_record(story / "records" / "sharp__tones.ms__within__clean.json")
    limited = {"limited": True, "publishable": False, "obstacles": ("only a part",)}
    write_record(tmp_path / "records" / "sharp.json", record.facts.model_copy(update=limited), record.blocks)
    write_report(tmp_path, tmp_path / "report")
    for path in sorted((tmp_path / "report").glob("*.html")):
        assert "LIMITED · at most 12 clips per task" in Page(path.read_text()).text
    assert "LIMITED: UA, %" in Page((tmp_path / "report" / "task-tones.ms.html").read_text()).text


def test_a_constant_score_is_not_sold_as_certain(pages: dict[str, str]) -> None:
    text = Page(pages["task-tones.ms.html"]).text
    assert re.search(r"majority Majority class .*?25\.0 no interval", text)
    assert "25.0 to 25.0" not in text


def test_a_folder_that_is_no_run_is_refused_with_a_way_out(story: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no run"):
        write_report(tmp_path, tmp_path / "report")
    with pytest.raises(UsageError, match=r"they were published.*leaderboard build --results .*results"):
        write_report(Path(__file__).parents[3] / "results/quick", tmp_path / "report")
    (tmp_path / "journal.sqlite").write_bytes((story / "journal.sqlite").read_bytes())
    with pytest.raises(DataError, match="run the matrix again"):
        write_report(tmp_path, tmp_path / "report")
    (tmp_path / "matrix.json").write_text("{}")
    with pytest.raises(DataError, match="lacks"):
        write_report(tmp_path, tmp_path / "report")


@pytest.mark.parametrize(
    ("identifier", "plain"), [("indowave.id@loso", True), ("a/../b", False), ("α", False)]
)
def test_page_names_are_plain_file_names(identifier: str, plain: bool) -> None:
    name = page_name("task", identifier)
    assert re.fullmatch(r"task-[A-Za-z0-9._+@-]+\.html", name)
    assert (identifier in name) is plain
    assert page_name("task", "a_b") != page_name("task", "a/b")


def test_ranks_over_six_pools_stand_on_the_index_as_a_drawing_and_in_words(
    story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [
        TaskScore(f"pool {p}", f"task {p}", name, skill)
        for p in range(6)
        for name, skill in (("sharp & co", 0.9), ("twin", 0.5), ("dull", 0.4))
    ]
    scores.append(TaskScore("pool 0", "task 0", "late", 0.5))
    found = rank_across_pools(scores)
    ranking = TrackRanking(
        "probed", "within", "clean", "ua", found, critical_difference_svg(found), in_words(found)
    )
    monkeypatch.setattr("reports.pages.overview.rankings_across_pools", lambda shown: [ranking])
    text = write_report(story, tmp_path / "report").read_text(encoding="utf-8")

    assert '<svg xmlns="http://www.w3.org/2000/svg"' in text
    assert "<title>sharp &amp; co</title>" in text
    assert "Average ranks over 6 pools" in text
    assert "left out: late" in text
    assert "Across tasks" in Page(text).text
