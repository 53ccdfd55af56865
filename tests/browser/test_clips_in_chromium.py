"""The clip browser in real Chromium: choices that follow the data, keyboard, address, narrow screens, and files that are missing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.sections.clip_rows import Packed, rated_rows
from reports.sections.rated_clips import rated_clips
from tests.browser.chromium import Reader, launched
from tests.perf_clips import write_browser, write_crowded
from tests.reports.judged import rated_crowd

pytestmark = pytest.mark.xdist_group("browser")
CLIPS, SYSTEMS = 400, 8


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from launched()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_crowded(tmp_path_factory.mktemp("clips"), CLIPS, SYSTEMS)


@pytest.fixture(scope="module")
def data(path: Path) -> dict[str, Any]:
    """What the page is filled with, read without its script."""
    text = next(path.parent.glob("clips-*-0.js")).read_text().partition("=")[2]
    found: dict[str, Any] = json.loads(text.rstrip(";\n"))

    def names(packed: list[Any]) -> list[str]:
        return [found["words"][k] for k in Packed(*packed).numbers()]

    found["truth"] = names(found["truth"])
    found["answers"] = {s["name"]: names(s["said"]) for s in found["systems"]}
    return found


def shown(page: Any) -> list[str]:
    names: list[str] = page.locator("#clips button[data-clip]").all_inner_texts()
    return names


def short(name: str) -> str:
    return name.removeprefix("AudioWAV/").removesuffix(".wav")


def opened(reader: Reader, path: Path, hash_: str = "") -> Any:
    reader.page.goto(path.as_uri() + hash_)
    reader.page.wait_for_selector("#clips tbody tr, #filter-none:not([hidden])")
    return reader.page


def test_a_cell_of_a_confusion_matrix_is_the_clips_behind_it(
    browser: Any, path: Path, data: dict[str, Any]
) -> None:
    reader = Reader(browser)
    page = opened(reader, path, "#system=system-03&truth=happy&answer=sad")
    said = data["answers"]["system-03"]
    own = [
        short(c)
        for c, t, a in zip(data["clips"], data["truth"], said, strict=True)
        if (t, a) == ("happy", "sad")
    ]
    assert 0 < len(own) <= 50
    assert shown(page) == own
    assert page.inner_text("#filter-count") == f"{len(own)} of {CLIPS} clips"
    assert "with the answer of system-03" in page.inner_text("#clips caption")
    # Without a system, whoever gave that answer.
    page.select_option("#find [name=system]", "")
    anybody = [
        t == "happy" and any(a[i] == "sad" for a in data["answers"].values())
        for i, t in enumerate(data["truth"])
    ]
    assert page.inner_text("#filter-count") == f"{sum(anybody)} of {CLIPS} clips"
    assert reader.wrongs == []


def test_agreement_follows_from_the_answers(browser: Any, path: Path, data: dict[str, Any]) -> None:
    page = opened(Reader(browser), path, "#system=system-00")
    rows = list(zip(*data["answers"].values(), strict=True))
    right = [[a == t for a in own] for own, t in zip(rows, data["truth"], strict=True)]
    for value, expected in {
        "all-right": sum(map(all, right)),
        "none-right": sum(not any(r) for r in right),
        "split": sum(any(r) and not all(r) for r in right),
        "one-answer": sum(len(set(own)) == 1 for own in rows),
        "right": sum(r[0] for r in right),
        "wrong": sum(not r[0] for r in right),
        "only-right": sum(r[0] and sum(r) == 1 for r in right),
        "only-wrong": sum(not r[0] and sum(r) == SYSTEMS - 1 for r in right),
    }.items():
        page.select_option("#find [name=agreement]", value)
        assert page.inner_text("#filter-count") == f"{expected} of {CLIPS} clips", value
    page.select_option("#find [name=system]", "")
    assert page.input_value("#find [name=agreement]") == "", (
        "it asked about a system that is no longer chosen"
    )


def test_the_clip_at_the_side_says_what_everybody_answered_and_how_sure(
    browser: Any, path: Path, data: dict[str, Any]
) -> None:
    page = opened(Reader(browser), path)
    page.locator("#clips button").nth(2).click()
    assert page.inner_text("#clip h2") == data["clips"][2]
    rows = page.locator("#clip tbody tr").all_inner_texts()
    assert len(rows) == SYSTEMS
    for row, (name, said), system in zip(rows, data["answers"].items(), data["systems"], strict=True):
        sure = (Packed(*system["sure"]).numbers()[2] - 1) / 10
        mark = "✓" if said[2] == data["truth"][2] else "✗"
        assert row.replace("\xa0", " ").split("\t")[:2] == [name, f"{mark} {said[2]}"]
        found = re.search(r"([\d.]+) %", row.replace("\xa0", " "))
        assert found
        assert abs(float(found[1]) - sure) <= 0.5
    assert page.locator("audio, #clip img").count() == 0, "nothing to play"


def test_the_choice_stands_in_the_address_and_comes_back(browser: Any, path: Path) -> None:
    reader = Reader(browser)
    page = opened(reader, path)
    assert "#" not in page.url
    page.select_option("#find [name=system]", "system-01")
    page.select_option("#find [name=sort]", "sure")
    page.click(".pager [name=next]")
    page.locator("#clips button").nth(4).click()
    address, names, clip = page.url, shown(page), page.inner_text("#clip h2")
    other = opened(Reader(browser, 390), path, "#" + address.partition("#")[2])
    assert other.url == address
    assert shown(other) == names
    assert other.inner_text("#clip h2") == clip
    # A link to a clip alone opens the page of the list that it is on.
    page.goto(path.as_uri() + "#clip=" + address.rpartition("clip=")[2])
    for _ in range(
        200
    ):  # Playwright's own way of waiting asks the page to evaluate text, which its policy forbids
        if page.evaluate("document.querySelector('#find [name=system]').value === ''"):
            break
        page.wait_for_timeout(50)
    assert page.inner_text("#clip h2") == clip
    assert page.inner_text("#clips tr.on button") == short(clip)
    page.click("#find [type=reset]")
    assert "=" not in page.url
    assert reader.wrongs == []


def test_by_keyboard_from_clip_to_clip_and_over_the_end_of_a_page(browser: Any, path: Path) -> None:
    page = opened(Reader(browser), path)
    names = shown(page)
    page.locator("#clips button").first.focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent") == names[1]
    assert names[1] in page.inner_text("#clip h2")
    page.locator("#clips button").last.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent") == shown(page)[0] != names[0]
    assert "page=2" in page.url
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.textContent") == names[-1]


def test_on_a_narrow_screen_the_clip_stands_under_its_row(browser: Any, path: Path) -> None:
    page = opened(Reader(browser, 390), path)
    assert page.locator("#clip").is_hidden()
    page.locator("#clips button").nth(1).click()
    tops = page.evaluate(
        "[...document.querySelectorAll('#clips > tbody > tr')].slice(1, 4).map(r => r.getBoundingClientRect().top)"
    )
    assert tops == sorted(tops)
    assert page.locator("#clips tr.inside #clip h2").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_nothing_found_and_a_missing_file_are_said(browser: Any, path: Path, tmp_path: Path) -> None:
    page = opened(Reader(browser), path)
    page.fill("#find [name=q]", "no such clip")
    assert page.inner_text("#filter-none") == "No clip fits this choice."
    assert page.locator("#browser").is_hidden()
    shutil.copyfile(path, tmp_path / path.name)
    page.goto((tmp_path / path.name).as_uri())
    page.wait_for_selector("#filter-none:not([hidden])")
    assert "clips-crema-d.en-0.js is not beside this page" in page.inner_text("#filter-none")
    plain = browser.new_context(java_script_enabled=False).new_page()
    plain.goto(path.as_uri())
    assert "the page of the task" in plain.inner_text("noscript")
    assert plain.locator("#find").is_hidden()


def test_the_page_stays_small_whatever_is_chosen(browser: Any, path: Path) -> None:
    page = opened(Reader(browser), path)
    assert path.stat().st_size < 100_000
    for sort in ("", "name", "longest", "shortest"):
        page.select_option("#find [name=sort]", sort)
        assert page.evaluate("document.querySelectorAll('*').length") < 2000


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_axe_finds_nothing_in_list_and_clip(browser: Any, path: Path, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    ).new_page()
    page.goto(path.as_uri() + "#system=system-02&sort=sure")
    page.locator("#clips button").nth(1).click()
    found = Axe().run(page).response["violations"]
    assert {v["id"]: [n["html"][:160] for n in v["nodes"]][:3] for v in found} == {}
    page.context.close()


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips that carry valence and arousal, and no label."""
    rows = [rated_rows(r, "within", "clean", None, 0) for r in rated_clips(rated_crowd(80, 3))]
    return write_browser(tmp_path_factory.mktemp("rated"), rows)


def test_clips_that_are_rated_are_found_by_their_largest_error(browser: Any, rated: Path) -> None:
    reader = Reader(browser)
    page = opened(reader, rated)
    assert page.locator("#find label:visible").all_inner_texts()[1].startswith("setting")
    for name in ("truth", "answer", "agreement"):
        assert page.locator(f"#find [name={name}]").is_hidden(), "nothing is right or wrong here"
    assert page.locator("#clips thead th").all_inner_texts()[2:5] == ["rated", "answered", "error"]
    own = rated_crowd(80, 3)
    found = next(iter(rated_clips(own)))
    assert shown(page)[:5] == [f"c{found.rows[j]:04}" for j in found.order[:5]]
    page.select_option("#find [name=system]", "system-01")
    error = np.abs(found.given[1] - found.truth)
    order = sorted(range(80), key=lambda j: (-round(1000 * error[j]), found.order.index(j)))
    assert shown(page)[:5] == [f"c{j:04}" for j in order[:5]], "of the system that is chosen"
    cells = page.locator("#clips tbody tr").first.locator("td").all_inner_texts()
    signed = found.given[1][order[0]] - found.truth[order[0]]
    assert cells[1:4] == [
        f"{found.truth[order[0]]:.2f}",
        f"{found.given[1][order[0]]:.2f} {'+' if signed > 0 else '−'}{abs(signed):.2f}",
        f"{abs(signed):.2f}",
    ]
    page.select_option("#find [name=error]", "0.2")
    assert page.inner_text("#filter-count") == f"{(error.round(3) >= 0.2).sum()} of 80 clips"
    page.select_option("#find [name=error]", "")
    page.select_option("#find [name=sort]", "near")
    assert shown(page)[0] == f"c{min(range(80), key=lambda j: round(1000 * error[j])):04}"
    # The other dimension, and the clip at the side with everybody's answer.
    page.select_option("#find [name=setting]", "within, clean, arousal")
    page.wait_for_selector("#clip p.truth:text('arousal rated')")
    assert page.locator("#clip tbody tr").count() == 3
    assert "setting=within%2C+clean%2C+arousal" in page.url
    assert reader.wrongs == []


def test_a_clip_that_stays_chosen_is_left_alone_while_the_list_is_searched(browser: Any, path: Path) -> None:
    page = opened(Reader(browser), path)
    page.locator("#clips button").nth(1).click()
    name = page.inner_text("#clip h2")
    page.evaluate("document.querySelector('#clip table').dataset.seen = 'yes'")
    page.fill("#find [name=q]", name[9:13])
    assert page.inner_text("#clip h2") == name
    assert page.locator("#clip table[data-seen]").count() == 1, "what plays goes on"
    assert page.locator("#clip button[aria-label='previous clip']").is_disabled() == (
        shown(page)[0] == short(name)
    )
