"""The first page as three people use it, in real Chromium: how many clicks and screens each answer takes."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.leaderboard import Board, validate
from bench.scoring.comparisons import run_family
from reports.pages.board import write_board
from tests.browser.chromium import Reader, launched
from tests.forging import EARLIER, NOT_OF_A_PART

pytestmark = pytest.mark.xdist_group("browser")
RESULTS = Path(__file__).resolve().parents[2] / "results"
SIZES = ((1400, 900), (390, 844))
KEPT = r"(egemaps-linear|egemaps-svm|whisper-tiny.en-superb|meralion-ser-small|meralion-ser-logmel)__(indowave.id|nemo-subset.pl)__within__(clean|telephone|noise-0db)\."


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from launched()


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board of two tasks, two languages, degraded audio."""
    folder = tmp_path_factory.mktemp("first-page")
    for name, source in (("quick", EARLIER), ("robustness", "robustness")):
        shutil.copytree(RESULTS / source, folder / "results" / name, ignore=NOT_OF_A_PART)
        for path in (folder / "results" / name / "records").iterdir():
            if not re.match(KEPT, path.name):
                path.unlink()
    (folder / "results/board.yaml").write_text("competing: statistics\n")
    made = Board(folder / "results")
    for publication in made.publications():
        publication.seal()
    write_board(validate(made), made, folder / "site", run_family)
    return folder / "site"


class Person:
    """Somebody at the first page: counts clicks and screens."""

    def __init__(
        self, browser: Any, path: Path, size: tuple[int, int] = SIZES[0], scheme: str = "light"
    ) -> None:
        self.reader = Reader(browser, size[0], scheme, size[1])
        self.page = self.reader.open(path)
        self.clicks = 0
        self.height = size[1]
        self.page.wait_for_selector("#find:not(.waiting)")

    def click(self, selector: str) -> None:
        self.clicks += 1
        self.page.locator(selector).first.click()

    def choose(self, name: str, value: str) -> None:
        self.clicks += 1
        self.page.select_option(f"#find [name={name}]", value)

    def screens(self, selector: str) -> int:
        """On which screen something stands, the first being 1."""
        top = self.page.evaluate(
            "s => document.querySelector(s).getBoundingClientRect().top + scrollY", selector
        )
        return int(top // self.height) + 1


def test_the_first_screen_holds_question_answer_languages_and_the_table(browser: Any, board: Path) -> None:
    for size in SIZES:
        person = Person(browser, board / "index.html", size)
        for part in ("h1", "article.answer", ".strip", "table.systems tbody tr[data-system]"):
            assert person.screens(part) == 1, (part, size)
        answers = person.page.locator("article.answer")
        assert 1 <= answers.count() <= 4
        first = answers.first.inner_text()
        assert "meralion-ser-small" in first
        assert re.search(r"\d\d\.\d\s+\d\d\.\d to \d\d\.\d", first)
        said = person.page.evaluate(
            "h => [...document.querySelectorAll('body *')].filter(e => !e.children.length && e.checkVisibility() &&"
            " e.getBoundingClientRect().top < h).map(e => e.textContent).join(' ')",
            person.height,
        )
        assert not re.search(r"\b(cluster|view|track|pool|protocol)s?\b|@loso", said), (
            "unexplained on the first screen"
        )
        assert person.reader.wrongs == []


def test_a_reviewer_attacks_a_claim(browser: Any, board: Path) -> None:
    """Is the proposed system really better than the frozen encoder? Two clicks to the test of the pair."""
    person = Person(browser, board / "index.html")
    assert "whisper-tiny.en-superb" in person.page.locator("article.answer").first.inner_text()
    person.choose("language", "id")
    assert "1/1" in person.page.locator("article.answer").first.inner_text()
    person.click("#leaders tr:not([hidden]) a.id")
    assert person.page.url.endswith("task-indowave.id.html")
    text = person.page.inner_text("main")
    assert re.search(r"meralion-ser-small.*whisper-tiny.en-superb by \d+\.\d points of UA", text)
    assert person.clicks == 2
    assert person.reader.wrongs == []


def test_a_product_owner_chooses_for_malay_telephone_speech(browser: Any, board: Path) -> None:
    """Nothing in Malay was measured: the page says so, what is catalogued and what it would take; the view can be sent."""
    person = Person(browser, board / "index.html")
    person.click(".strip a[data-language=ms]")
    person.choose("condition", "telephone")
    said = person.page.inner_text("#lacking")
    assert "No Malay was measured." in said
    assert "Catalogued: malay-private.ms" in said
    assert re.search(r"What it would take: .*\d+ to \d+ speakers", said)
    assert person.screens("#lacking") == 1
    assert person.clicks == 2
    address = person.page.url
    other = Person(browser, board / "index.html")
    other.page.goto(address)
    other.page.wait_for_selector("#find:not(.waiting)")
    other.page.wait_for_selector("#lacking:not([hidden])")
    assert other.page.inner_text("#lacking") == said
    # The nearest thing that was measured: Indonesian over the telephone.
    person.choose("language", "id")
    assert "Indonesian, telephone" in person.page.inner_text("#said")
    best = person.page.locator("article.answer[data-family=encoder]").inner_text()
    assert "whisper-tiny.en-superb" in best
    cell = person.page.locator("table.systems tr[data-system='whisper-tiny.en-superb'] td.h").inner_text()
    assert cell.split()[0] in best
    assert cell.replace("\n", " ").split(maxsplit=1)[1] in best.replace("\n", " "), (
        "the same interval everywhere"
    )
    assert person.reader.wrongs == other.reader.wrongs == []


def test_a_newcomer_finds_what_an_interval_means(browser: Any, board: Path) -> None:
    person = Person(browser, board / "index.html", SIZES[1])
    person.click("a.term[href='#t-interval']")
    tip = person.page.locator("#tip")
    assert "for other speakers like these" in tip.inner_text()
    box = tip.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= SIZES[1][0]
    person.page.keyboard.press("Escape")
    assert tip.count() == 0
    assert person.page.evaluate("document.activeElement.className") == "term"
    assert person.clicks == 1


def test_search_finds_every_system_task_and_language_and_narrows_pictures_and_verdicts(
    browser: Any, board: Path
) -> None:
    person = Person(browser, board / "index.html")
    page = person.page
    rows = page.locator("table.systems tr[data-system]")
    whole = rows.count()
    data = json.loads((board / "rows.js").read_text().partition("=")[2].rstrip(";\n"))
    for words, expected in {
        "egemaps": {"egemaps-linear", "egemaps-svm"},
        "svm polish": {"egemaps-svm"},
        "nemo-subset": {s[0] for s in data["systems"] if s[0] != "meralion-ser-logmel"},
        "no such system": set(),
    }.items():
        page.fill("#find [name=q]", words)
        assert set(rows.evaluate_all("rs => rs.map(r => r.dataset.system)")) == expected, words
    assert page.locator("#filter-none").is_visible()
    page.fill("#find [name=q]", "nemo-subset")
    assert page.locator("#leaders tbody tr:visible").count() == 1
    assert page.locator("section.whole:visible").count() == 0
    page.fill("#find [name=q]", "egemaps")
    assert "meralion" not in page.inner_text("#leaders")
    faded = page.evaluate("[...document.querySelectorAll('#cost-figures .gone')].map(e => e.dataset.name)")
    assert set(faded) & {"meralion-ser-small", "whisper-tiny.en-superb"}
    assert not set(faded) & {"egemaps-linear", "egemaps-svm"}
    names = page.evaluate(
        "[...document.querySelectorAll('#cost-figures text.name')].map(e => [e.textContent, e.classList.contains('gone')])"
    )
    assert {name for name, gone in names if gone} == set(faded), "a name fades with its dot and its line"
    faint = "[...document.querySelectorAll('#cost-figures .gone')].every(e => Number(getComputedStyle(e).opacity) < .1)"
    assert page.evaluate(faint)
    assert page.locator("#cost-figures path.leader.gone").count() > 0
    assert page.locator("#cost-figures").is_visible()
    page.fill("#find [name=q]", "malay")
    assert page.locator("#cost-figures").is_hidden(), "nobody is left in it"
    assert "No Malay was measured. Catalogued: malay-private.ms" in page.inner_text("#lacking")
    page.fill("#find [name=q]", "polish no-such-system")
    assert page.locator("#lacking").is_hidden(), "Polish was measured"
    page.fill("#find [name=q]", "telephone")
    assert "choose it under “audio”" in page.inner_text("#lacking")
    page.click("#find [type=reset]")
    assert page.locator("#lacking").is_hidden()
    assert rows.count() == whole
    assert "=" not in page.url
    page.locator("#find details.more summary").click()
    page.check("#find [name=unseen]")
    left = set(rows.evaluate_all("rs => rs.map(r => r.dataset.system)"))
    assert left == {s[0] for s in data["systems"] if {w for w, _ in s[12]} == {"unseen"}}
    assert person.reader.wrongs == []


def test_what_the_script_draws_is_what_the_page_came_with(browser: Any, board: Path) -> None:
    plain = browser.new_context(java_script_enabled=False, viewport={"width": 1400, "height": 900}).new_page()
    plain.goto((board / "index.html").as_uri())
    person = Person(browser, board / "index.html")
    person.page.fill("#find [name=q]", "egemaps")
    person.page.click("#find [type=reset]")
    for part in ("#said", ".answers", "#systems", "#leaders"):
        texts = [" ".join(p.locator(part).inner_text().split()) for p in (plain, person.page)]
        assert texts[0] == texts[1], part
    for part in ("#leaders path", ".answers path", "#systems path"):
        shapes = [
            p.locator(part).evaluate_all("ps => ps.map(p => p.getAttribute('class'))")
            for p in (plain, person.page)
        ]
        assert shapes[0] == shapes[1], part


def test_the_table_is_sorted_and_its_columns_chosen_by_keyboard(browser: Any, board: Path) -> None:
    person = Person(browser, board / "index.html")
    page = person.page
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "q"
    head = page.locator("table.systems th[data-key=mean]")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert page.evaluate("document.activeElement.closest('th').dataset.key") == "mean"
    means = page.locator("table.systems tr[data-system] td:nth-child(2) b").all_inner_texts()
    assert [float(m) for m in means] == sorted(map(float, means), reverse=True)
    assert "sort=mean" in page.url
    page.locator("#find details.more summary").focus()
    page.keyboard.press("Enter")
    boxes = page.locator("#choose-columns input")
    page.locator("#choose-columns label", has_text="indowave.id, noise-0db").locator("input").focus()
    page.keyboard.press("Space")
    assert boxes.count() > 2
    assert "noise-0db" in page.inner_text("table.systems thead")
    address = page.url
    page.reload()
    page.wait_for_selector("#find:not(.waiting)")
    assert page.url == address
    assert "noise-0db" in page.inner_text("table.systems thead")
    assert person.reader.wrongs == []


def taken(page: Any, button: str, path: Path) -> list[dict[str, str]]:
    """A table as the page's own button gives it."""
    with page.expect_download() as waited:
        page.locator(button).first.click()
    waited.value.save_as(path)
    return list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))


def test_a_table_is_taken_away_as_it_is_shown_a_line_for_each_score(
    browser: Any, board: Path, tmp_path: Path
) -> None:
    person = Person(browser, board / "index.html")
    person.page.fill("#find [name=q]", "nemo-subset")
    rows = taken(person.page, ".scroll:has(#leaders) + .take button", tmp_path / "best.csv")
    shown = person.page.locator("#leaders tr:visible .leads")
    assert [r["system"] for r in rows] == shown.locator("a").all_inner_texts()
    assert [r["score"] for r in rows] == shown.locator("b").all_inner_texts()
    assert all(
        r["task"] == "Polish" and "nemo-subset.pl" in r["about it"] and " to " in r["interval"] for r in rows
    )
    person.page.goto((board / "catalogue.html").as_uri() + "#q=malay-private")
    person.page.wait_for_selector("#find:not([hidden])")
    rows = taken(person.page, ".take button", tmp_path / "tasks.csv")
    found = person.page.locator("tr.first:visible")
    assert [r["task"] for r in rows] == found.locator("th .id").all_inner_texts()
    assert [r["group"] for r in rows] == found.evaluate_all("rs => rs.map(r => r.dataset.language)")
    assert all(r["verified by"] in ("data", "layout", "described", "–") for r in rows)
    person.page.goto((board / "task-indowave.id.html").as_uri())
    rows = taken(person.page, ".scroll:has(table.duel) + .take button", tmp_path / "pairs.csv")
    assert next(iter(rows[0])) == "system"
    assert person.reader.wrongs == []


def test_light_and_dark_are_chosen_and_kept(browser: Any, board: Path) -> None:
    person = Person(browser, board / "index.html")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = person.page.evaluate(colour)
    person.click("button.theme")
    dark = person.page.evaluate(colour)
    assert dark != light
    person.page.goto((board / "published.html").as_uri())
    assert person.page.evaluate(colour) == dark
    person.click("button.theme")
    assert person.page.evaluate(colour) == light
    person.page.emulate_media(media="print")
    assert person.page.evaluate(colour) == "rgb(255, 255, 255)"


def test_a_missing_script_file_is_said_and_the_page_stands(browser: Any, board: Path, tmp_path: Path) -> None:
    shutil.copyfile(board / "index.html", tmp_path / "index.html")
    page = Reader(browser).open(tmp_path / "index.html")
    page.wait_for_selector("#filter-none:not([hidden])")
    assert "rows.js is not beside this page" in page.inner_text("#filter-none")
    assert page.locator("table.systems tr[data-system]").count() > 0
    assert page.locator("#find").is_hidden()


def test_the_catalogue_is_searched_by_language_labels_and_licence(browser: Any, board: Path) -> None:
    reader = Reader(browser)
    page = reader.open(board / "catalogue.html")
    rows = page.locator("tr.first:visible")
    whole = rows.count()
    page.fill("#find [name=q]", "malay private")
    assert 0 < rows.count() < whole
    assert "malay-private.ms" in page.inner_text("main")
    left = set(rows.evaluate_all("rs => rs.map(r => r.dataset.language)"))
    assert set(page.locator("tbody.language:visible h2").all_inner_texts()) == left
    assert page.locator("table.tasks thead").count() == 1, "one head for all languages"
    assert page.url.endswith("#q=malay+private")
    page.reload()
    assert page.input_value("#find [name=q]") == "malay private"
    page.click("#find [type=reset]")
    page.wait_for_selector(f"tr.first >> nth={whole - 1}")
    assert rows.count() == whole
    page.emulate_media(reduced_motion="reduce")
    page.set_viewport_size({"width": 1400, "height": 900})
    page.locator("ul.toc a", has_text="Polish").click()
    head, heading = (
        page.locator(where).first.bounding_box() for where in ("table.tasks thead th", "h2:text-is('Polish')")
    )
    assert head["y"] == 0, "the one head stays in sight"
    assert head["y"] + head["height"] <= heading["y"] + heading["height"] / 2, "and covers no heading"
    assert reader.wrongs == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_first_page_whatever_is_chosen(
    browser: Any, board: Path, size: tuple[int, int], scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, bypass_csp=True
    ).new_page()
    for hash_ in ("", "#language=ms&condition=telephone", "#language=id&sort=mean+descending"):
        page.goto((board / "index.html").as_uri() + hash_)
        page.wait_for_selector("#find:not(.waiting)")
        found = Axe().run(page).response["violations"]
        grave = {v["id"]: [n["html"][:160] for n in v["nodes"]][:3] for v in found}
        assert grave == {}, hash_
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], hash_
    page.context.close()
