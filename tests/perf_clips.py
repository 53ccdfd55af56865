"""The clip browser of a corpus of CREMA-D's size under twenty systems: how large it is, and how long a choice takes in Chromium.

``python -m tests.perf_clips [CLIPS SYSTEMS]``. Answers are random; the page is the one that a report has.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.storage.scrubbing import Scrubber
from reports.pages.clip_browser import clip_browser
from reports.pages.templating import environment
from reports.sections.clip_rows import ClipRows, clip_rows
from tests.adversarial.forged import published
from tests.browser.chromium import launched
from tests.reports.judged import STEM, crowd

CLIPS, SYSTEMS = 7442, 20
CHOICES = (
    ("truth", "sad"), ("system", "system-03"), ("answer", "angry"), ("agreement", "wrong"), ("sort", "sure"), ("sort", "name"),
    ("speaker", "crema-d/1007"), ("q", "1007"),
)  # fmt: skip
TIMED = """
([name, value]) => {
  const field = document.querySelector(`#find [name=${name}]`), begun = performance.now();
  field.value = value;
  field.dispatchEvent(new Event('input', {bubbles: true}));
  document.body.offsetHeight;
  return performance.now() - begun;
}
"""
"""Milliseconds from a choice to a page that is laid out again."""


def write_crowded(out: Path, clips: int = CLIPS, systems: int = SYSTEMS) -> Path:
    """Write a clip browser of random answers; returns its page."""
    return write_browser(out, [clip_rows(crowd(clips, systems), "within", "clean", None, 0)])


def write_browser(out: Path, rows: Sequence[ClipRows]) -> Path:
    """Write a clip browser of settings made by hand; returns its page."""
    browser = clip_browser("crema-d.en", rows)
    matrix = SimpleNamespace(name="crowded", hash="0" * 32)
    run = SimpleNamespace(synthetic=False, limit=None, matrix=matrix)
    html = environment().get_template("clips.html.j2").render(
        site=SimpleNamespace(board=None, plans=[]), run=run, versions=[], task="crema-d.en", facts=published("quick", STEM).facts,
        browser=browser, pictures="",
    )  # fmt: skip
    for name, text in {browser.page: html, **browser.scripts(Scrubber())}.items():
        (out / name).write_text(text, encoding="utf-8")
    return out / browser.page


def measured(page: Any, path: Path) -> dict[str, float]:
    """Open the page and choose: milliseconds to the first paint, to the list, and of each choice; nodes."""
    begun = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_selector("#clips tbody tr")
    found = {"list": 1000 * (time.perf_counter() - begun)}
    paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
    found["first paint"] = page.evaluate(paint)
    found["nodes"] = page.evaluate("document.querySelectorAll('*').length")
    for name, value in CHOICES:
        found[f"{name}={value}"] = page.evaluate(TIMED, [name, value])
    return found


def main() -> None:
    """Measure and print."""
    clips, systems = (int(a) for a in sys.argv[1:3]) if len(sys.argv) > 2 else (CLIPS, SYSTEMS)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        path = write_crowded(Path(folder), clips, systems)
        print(f"{clips:,} clips × {systems} systems, made in {time.process_time() - begun:.1f} s of one core")
        for file in sorted(Path(folder).iterdir()):
            print(f"  {file.name}: {file.stat().st_size / 1000:,.0f} kB")
        for browser in launched():
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            for name, value in measured(page, path).items():
                print(f"  {name}: {value:,.0f}{'' if name == 'nodes' else ' ms'}")


if __name__ == "__main__":
    main()
