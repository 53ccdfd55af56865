"""Pages as a reader meets them, in real Chromium: nothing planted runs, boards sort and filter, everybody can read them.

``SERBENCH_REQUIRE_CHROMIUM=1`` makes a missing browser a failure; without it these tests are skipped, and say so.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.leaderboard import Board, retract, validate
from bench.scoring.comparisons import run_family
from bench.tasks.catalogue import catalogue
from reports.pages.board import write_board
from reports.pages.catalogue import write_page
from reports.pages.report import write_report, write_single_file
from reports.pages.templating import environment
from reports.sections.tables import Confusion, ConfusionRow
from tests.browser.chromium import Reader, launched
from tests.conftest import write_tone_corpus
from tests.forging import EARLIER, NOT_OF_A_PART
from tests.reports.paged_run import make_run

pytestmark = pytest.mark.xdist_group("browser")
WIDTHS, SCHEMES = (1200, 390), ("light", "dark")
RESULTS = Path(__file__).resolve().parents[2] / "results"
HOSTILE = f"\"'><script>alert(3)</script><img src=x onerror=alert(4)> javascript:alert(5) {chr(0x202E)}evil"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from launched()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A report full of hostile names and replies, with players."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("browser")
    patch.setenv("SERBENCH_CACHE", str(folder / "cache"))
    patch.delenv("SERBENCH_DATA", raising=False)
    patch.syspath_prepend(folder)
    run = make_run(folder)
    data = tuple(folder.glob("data"))
    write_report(run, folder / "site", data=data, audio=True, against=run)
    (folder / "site" / "one-file").mkdir()
    write_single_file(run, folder / "site" / "one-file" / "report.html", data=data, against=run)
    yield folder / "site"
    patch.undo()


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A published board with degraded audio and a hostile reason, and the catalogue with a hostile card."""
    folder = tmp_path_factory.mktemp("others")
    for name, source in (("quick", EARLIER), ("robustness", "robustness")):
        shutil.copytree(RESULTS / source, folder / "results" / name, ignore=NOT_OF_A_PART)
        for path in (folder / "results" / name / "records").iterdir():
            if not re.search(
                r"(egemaps-linear|egemaps-svm|whisper-tiny.en-superb)__indowave.id__within", path.name
            ):
                path.unlink()
    moved = folder / "results" / "moved"
    shutil.copytree(RESULTS / "studies" / "proposed", moved, ignore=NOT_OF_A_PART)
    for path in (moved / "records").iterdir():
        if "__transfer-other-languages__" not in path.name:
            path.unlink()
    (folder / "results/board.yaml").write_text("competing: statistics\n")
    board = Board(folder / "results")
    for publication in board.publications():
        publication.seal()
    retract(board, "egemaps-svm__indowave.id__within__clean", HOSTILE)
    write_board(validate(board), board, folder / "site", run_family)
    corpus = write_tone_corpus(folder / "data" / "tones")
    with (corpus / "card.yaml").open("a", encoding="utf-8") as card:
        card.write(f"traps: [{json.dumps(HOSTILE)}]\n")
    write_page(catalogue([folder / "data"], cache=folder / "cache"), folder / "site" / "catalogue.html")
    return sorted((folder / "site").glob("*.html"))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_planted_runs_and_no_page_is_wider_than_its_screen(
    browser: Any, site: Path, width: int, scheme: str
) -> None:
    pages = sorted(site.glob("*.html"))
    assert len(pages) > 5
    for path in pages:
        reader = Reader(browser, width, scheme)
        page = reader.open(path)
        policy = page.get_attribute('meta[http-equiv="Content-Security-Policy"]', "content")
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        assert "; style-src 'sha256-" in policy
        assert "unsafe" not in policy
        assert ("'strict-dynamic'" in policy) == path.name.startswith(("index", "clips-")), (
            "what these pages' own script asks for"
        )
        assert page.locator("body script").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name
        assert reader.wrongs == [], path.name
        page.close()


def test_tables_and_figures_can_be_taken_away(browser: Any, site: Path, tmp_path: Path) -> None:
    reader = Reader(browser, 390, "dark")
    page = reader.open(sorted(site.glob("task-*.html"))[0])
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")

    def taken(button: Any) -> bytes:
        with page.expect_download() as waited:
            button.click()
        waited.value.save_as(tmp_path / "taken")
        return (tmp_path / "taken").read_bytes()

    tables = page.locator("main .scroll:has(table)")
    assert page.locator(".take button", has_text="CSV").count() == tables.count()
    board = page.locator(".scroll:has(table.board) + .take").first
    wanted = page.locator("table.board").first.evaluate(
        "t => [...t.tBodies].flatMap(b => [...b.rows]).filter(r => r.dataset.system).map(r => [r.dataset.system, r.querySelector('.score').textContent])"
    )
    rows = list(csv.DictReader(taken(board.get_by_text("CSV")).decode("utf-8-sig").splitlines()))
    score = next(name for name in rows[0] if name.startswith("UA"))
    assert [(r["system"], r[score]) for r in rows] == [(name, said) for name, said in wanted]
    assert all(f"{score} interval" in r and r["group"] for r in rows)
    banner = " ".join(page.locator("aside.banner strong").all_text_contents())
    assert {r.get("beware", "") for r in rows} == {banner}
    drawn = ElementTree.fromstring(taken(board.get_by_text("SVG")))
    words = [e.text for e in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert all(name in words and said in words for name, said in wanted)
    assert not banner or banner in words
    assert not [e for e in drawn.iter() if {"class", "style", "onload"} & set(e.attrib)]
    assert drawn.find("{http://www.w3.org/2000/svg}rect").attrib["fill"] == "#fff", "light, on a dark page"
    assert page.evaluate("document.documentElement.dataset.theme") is None
    assert taken(board.get_by_text("PNG")).startswith(b"\x89PNG")
    matrix = page.locator("figure:has(.confusion) .take").first
    ElementTree.fromstring(taken(matrix.get_by_text("SVG")))
    assert reader.wrongs == []
    page.close()


def test_a_script_that_is_not_ours_is_not_let_through(browser: Any, site: Path, tmp_path: Path) -> None:
    html = (site / "index.html").read_text(encoding="utf-8")
    (tmp_path / "index.html").write_text(
        html.replace(
            "<main",
            "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\"><main",
        ),
        encoding="utf-8",
    )
    page = Reader(browser).open(tmp_path / "index.html")
    assert page.title() != "owned"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing(browser: Any, site: Path, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    across = [site / name for name in ("against.html", "robustness.html", "cross-lingual.html")]
    for path in (
        site / "index.html",
        site / "one-file" / "report.html",
        *sorted(site.glob("task-*.html"))[:1],
        *sorted(site.glob("system-*.html"))[:2],
        *sorted(site.glob("compare-*.html"))[:1],
        *sorted(site.glob("clips-*.html"))[:1],
        *(p for p in across if p.exists()),
    ):
        page = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
        ).new_page()
        page.goto(path.as_uri())
        found = Axe().run(page).response["violations"]
        grave = {v["id"]: [n["html"][:120] for n in v["nodes"]][:3] for v in found}
        page.close()
        assert grave == {}, path.name


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_published_boards_degraded_audio_and_the_catalogue_run_nothing_and_can_be_read_by_all(
    browser: Any, others: list[Path], width: int, scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    names = {p.name for p in others}
    read_by_all = {"published.html", "robustness.html", "cross-lingual.html", "catalogue.html"}
    assert read_by_all <= names
    for path in others:
        reader = Reader(browser, width, scheme)
        page = reader.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name
        assert page.locator("[style], img[src=x]").count() == 0, path.name
        assert reader.wrongs == [], path.name
        page.close()
        if path.name not in read_by_all:
            continue
        page = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
        ).new_page()
        page.goto(path.as_uri())
        grave = [(v["id"], v["nodes"][0]["html"][:120]) for v in Axe().run(page).response["violations"]]
        page.close()
        assert grave == [], path.name


def test_on_a_wide_screen_no_table_is_cut_off(browser: Any, others: list[Path]) -> None:
    for path in others:
        page = Reader(browser, 1400).open(path)
        cut = page.evaluate(
            "[...document.querySelectorAll('.scroll:has(table)')].filter(e => e.scrollWidth > e.clientWidth + 1)"
            ".map(e => e.getAttribute('aria-label'))"
        )
        assert cut == [], path.name
        page.close()


def test_print_hides_what_is_to_be_pressed_and_unfolds_only_what_was_opened(
    browser: Any, site: Path, others: list[Path]
) -> None:
    folded = 0
    for path in (*sorted(site.glob("*.html")), *others):
        page = Reader(browser, width=700).open(path)
        before = page.locator("details").count()
        if page.locator("button.unfold-all:visible").count():
            page.click("button.unfold-all")
            closed = page.locator("main details:not(.more):not([open])").count()
            assert closed == 0, path.name
            folded += before
            page.click("button.unfold-all")
        page.emulate_media(media="print")
        for pressed in (".filter", "audio", ".toc", "button.theme"):
            assert page.locator(f"{pressed}:visible").count() == 0, path.name
        shown = page.evaluate(
            "[...document.querySelectorAll('details:not([open]) > :not(summary)')]"
            ".filter(e => e.checkVisibility({contentVisibilityAuto: true})).length"
        )
        assert shown == 0, path.name
        page.close()
    assert folded > 0


NAMES = [
    *("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised", "disappointed", "contemptuous", "sympathetic"),
    *(f"feeling {i:02}" for i in range(20)),
]  # fmt: skip
CRAMMED = """
tables => tables.flatMap(t => [...t.querySelectorAll('tbody th, tbody td, thead th')].filter(c => {
  const text = document.createRange();
  text.selectNodeContents(c.querySelector('a') || c);
  const [said, cell] = [text.getBoundingClientRect(), c.getBoundingClientRect()];
  const lines = new Set([...text.getClientRects()].map(r => Math.round(c.closest('thead') ? r.left : r.bottom)));
  return said.width > cell.width + .5 || said.height > cell.height + .5 || (c.matches('td') && lines.size > 1);
}).map(c => `${t.tBodies[0].rows.length} classes, ${innerWidth} px: ${c.textContent}`))
"""
"""Cells of a matrix whose words reach out of them, or stand on two lines."""


def test_figures_of_a_confusion_matrix_stand_on_one_line_inside_their_cells(
    browser: Any, tmp_path: Path
) -> None:
    made = environment()
    draw = made.get_template("charts.html.j2").module.confusion
    drawn = []
    for k in (4, 7, 15, 30):
        rows = [
            ConfusionRow(
                name,
                12_345,
                (0.75, 1.0, *[0.25] * (k - 1)),
            )
            for name in NAMES[-k:-3] + NAMES[7:10]
        ]
        drawn.append(
            draw(Confusion("x", "probed", tuple(r.label for r in rows), tuple(rows)), f"m{k}", clips="#")
        )
        apart = tuple(replace(r, shares=tuple(0.1 - s for s in r.shares)) for r in rows)
        drawn.append(
            draw(Confusion("x", "probed", tuple(r.label for r in rows), apart), f"d{k}", signed=True)
        )
    body = "".join(f'<div class="figures"><figure>{d}</figure><figure>{d}</figure></div>' for d in drawn)
    path = tmp_path / "matrices.html"
    path.write_text(
        f"<!doctype html><style>{made.globals['STYLE']}</style><main>{body}</main>", encoding="utf-8"
    )
    for width, media in ((1400, "screen"), (390, "screen"), (703, "print")):
        page = Reader(browser, width).open(path)
        page.emulate_media(media=media)
        assert page.locator("table.confusion").count() == 16
        assert page.evaluate(f"({CRAMMED})([...document.querySelectorAll('table.confusion')])") == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.close()


def test_boards_sort_by_keyboard_inside_their_tracks(browser: Any, site: Path) -> None:
    page = Reader(browser).open(sorted(site.glob("task-*.html"))[0])
    board = page.locator("table.board").first
    column = board.locator("thead th:has(button.sort)").nth(1)

    def figures() -> list[list[float]]:
        return board.evaluate(
            "t => [...t.tBodies].map(b => [...b.rows].filter(r => r.dataset.system).map(r => Number(r.querySelector('td.main').dataset.v)))"
        )

    whole = figures()
    button = column.locator("button")
    button.focus()
    page.keyboard.press("Enter")
    assert column.get_attribute("aria-sort") == "descending"
    assert figures() == [sorted(rows, reverse=True) for rows in whole]
    page.keyboard.press("Enter")
    assert column.get_attribute("aria-sort") == "ascending"
    assert figures() == [sorted(rows) for rows in whole]
    board.locator("thead th:has(button.sort)").first.locator("button").click()
    assert column.get_attribute("aria-sort") is None


def test_a_link_to_folded_audio_opens_it(browser: Any, others: list[Path]) -> None:
    task = next(p for p in others if p.name == "task-indowave.id.html")
    page = Reader(browser).open(task)
    folded = page.locator("details.setting")
    assert folded.count() > 1
    assert page.locator("details.setting[open]").count() == 0
    page.locator(".toc a", has_text="telephone").click()
    wait_until(page, "document.querySelectorAll('details.setting[open]').length === 1")
    assert "telephone" in page.inner_text("details.setting[open] > summary")


def test_two_systems_are_chosen_and_put_side_by_side(browser: Any, site: Path) -> None:
    reader = Reader(browser)
    page = reader.open(site / "index.html")
    names = page.locator("#choose [name=first] option").all_inner_texts()
    assert names == sorted(set(names), key=str.casefold)
    a, b = page.evaluate("JSON.parse(document.getElementById('choose').dataset.pairs)[1].slice(0, 2)")
    page.select_option("#choose [name=first]", b)
    page.select_option("#choose [name=second]", b)
    assert page.inner_text("#choose output") == "choose two different systems"
    page.focus("#choose [name=second]")
    page.select_option("#choose [name=second]", a)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/compare-*.html")
    heading = page.inner_text("h1")
    assert a in heading
    assert b in heading
    assert page.input_value("#choose [name=first]") in (a, b)
    assert reader.wrongs == []


def test_one_file_holds_every_page_and_asks_for_nothing(browser: Any, site: Path) -> None:
    reader = Reader(browser)
    path = site / "one-file" / "report.html"
    page = reader.open(path)
    pages = [p for p in site.glob("*.html") if not p.name.startswith("clips-")]
    assert page.locator("section.page").count() == len(pages)
    shown = page.locator("section.page:visible")
    assert shown.count() == 1
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    dangling = page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map(a => decodeURIComponent(a.hash.slice(1))).filter(i => !document.getElementById(i))"
    )
    assert dangling == []
    assert page.locator("a[href$='.html']").count() == 0
    overview = shown.get_attribute("aria-label")
    page.locator("section.page:visible table.systems tr[data-system] a").first.click()
    assert shown.count() == 1
    assert shown.get_attribute("aria-label") != overview
    page.go_back()
    assert shown.get_attribute("aria-label") == overview
    page.locator("#choose button").click()
    assert " against " in shown.get_attribute("aria-label")
    # In-page places of a page further down open that page.
    page.goto(path.as_uri() + "#p1-" + "missing")
    assert shown.count() == 1
    board = page.locator("section.page").first.locator("table.systems").first
    assert board.locator("button.sort").count() > 0
    assert page.locator("script#rows").count() == 1, "what others load lies inside"
    assert reader.wrongs == []


def test_one_file_prints_whole(browser: Any, site: Path, tmp_path: Path) -> None:
    page = Reader(browser).open(site / "one-file" / "report.html")
    page.emulate_media(media="print")
    assert page.locator("section.page:visible").count() == page.locator("section.page").count()
    page.pdf(path=str(tmp_path / "page.pdf"), format="A4")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_without_script_the_table_is_whole_and_terms_lead_to_their_words(browser: Any, site: Path) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto((site / "index.html").as_uri())
    assert page.locator("table.systems tr[data-system]").count() > 0
    assert page.locator("#find").is_hidden()
    assert page.locator("button.theme").is_hidden()
    assert page.locator("button.sort").count() == 0
    page.locator("a.term").first.click()
    assert "#t-" in page.url


def test_a_player_plays_the_corpus_own_file(browser: Any, site: Path) -> None:
    for path in sorted(site.glob("task-*.html")):
        page = Reader(browser).open(path)
        if page.locator("audio").count():
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            seconds = page.evaluate(
                "async () => { const a = document.querySelector('audio'); await a.play(); return a.duration; }"
            )
            assert seconds > 0
            return
    pytest.fail("no task page has a player")


def wait_until(page: Any, true: str) -> None:
    """Wait until an expression is true; Playwright's own way asks the page to evaluate text, which its policy forbids."""
    for _ in range(200):
        if page.evaluate(true):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never true: {true}")


def test_a_clip_is_heard_and_seen_and_a_figure_leads_to_it(browser: Any, site: Path) -> None:
    reader = Reader(browser)
    page = reader.open(sorted(site.glob("task-*.html"))[0])
    figure = page.locator("section[aria-labelledby=confusion1] td.hit a").first
    address = figure.get_attribute("href")
    figure.click()
    page.wait_for_selector("#clips tbody tr")
    assert page.url.endswith(address)
    wait_until(page, "document.querySelector('#clip img').naturalWidth === 128")
    box = page.locator("#clip .sound img").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 10)
    wait_until(page, "document.querySelector('#clip audio').currentTime > 0")
    assert page.evaluate("document.querySelector('#clip audio').duration") > 0
    assert page.locator("#clip .head-line").is_visible()
    # Under another protocol the same clip has other systems, and its name none can abuse.
    page.select_option("#find [name=setting]", "zero-shot, clean")
    page.wait_for_selector("#clip a:text('qwen2-audio')")
    page.fill("#find [name=q]", "onerror")
    assert "<img src=x onerror=alert(1)>" in page.inner_text("#clip h2")
    assert "setting=zero-shot" in page.url
    assert reader.wrongs == []


def test_pages_print(browser: Any, site: Path, tmp_path: Path) -> None:
    for path in (site / "index.html", sorted(site.glob("task-*.html"))[0]):
        page = Reader(browser).open(path)
        page.pdf(path=str(tmp_path / "page.pdf"), format="A4")
        assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
