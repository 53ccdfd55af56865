"""How long the first page takes to search, filter and sort in Chromium: ``python -m tests.perf_first_page SITE [REPEATS]``.

``SITE`` is the folder of a board; ``python -m tests.perf_board 60 40 --keep FOLDER`` leaves one. Each choice is made, laid out, timed, and
taken back. Beside the time on the clock stands what the page's own thread took
for script, style and layout, which other programs of the machine lengthen less.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.browser.chromium import launched

REPEATS = 7
SCREENS = ((1400, 900), (390, 844))
SEARCHES = ("0", "s", "system-1", "corpus03", "no such system")
CHOOSE = """
([selector, value]) => {
  const field = document.querySelector(selector), begun = performance.now();
  if (value === null) field.click();
  else {
    field.value = value;
    field.dispatchEvent(new Event('input', {bubbles: true}));
  }
  document.body.offsetHeight;
  return performance.now() - begun;
}
"""
"""Milliseconds from a choice to a page that is laid out again."""
OPTION = "s => [...document.querySelectorAll(`${s} option`)].map(o => o.value).find(v => v)"


@dataclass(frozen=True)
class ChoiceTime:
    """A choice, milliseconds on the clock and of the page's thread, of each repeat."""

    name: str
    wall: tuple[float, ...]
    thread: tuple[float, ...]

    def words(self) -> str:
        """One line: medians, and the worst."""
        return f"{self.name}: {median(self.wall):.0f} ms, at most {max(self.wall):.0f}; of the page's thread {median(self.thread):.0f}, at most {max(self.thread):.0f}"


def choice_times(page: Any, repeats: int = REPEATS) -> list[ChoiceTime]:
    """Search, filter and sort a first page that is open, each of it ``repeats`` times."""
    page.wait_for_selector("#find:not(.waiting)")
    measured = page.context.new_cdp_session(page)
    measured.send("Performance.enable", {"timeDomain": "threadTicks"})

    def thread() -> float:
        found = {m["name"]: m["value"] for m in measured.send("Performance.getMetrics")["metrics"]}
        return 1000 * sum(found[f"{what}Duration"] for what in ("Script", "RecalcStyle", "Layout"))

    def one(selector: str, value: str | None) -> tuple[float, float]:
        begun = thread()
        wall = float(page.evaluate(CHOOSE, [selector, value]))
        return wall, thread() - begun

    reset = "#find [type=reset]"
    choices: list[tuple[str, str, str | None]] = [
        (f"search “{words}”", "#find [name=q]", words) for words in SEARCHES
    ]
    choices += [
        (f"{name}", f"#find [name={name}]", found)
        for name in ("language", "condition", "size", "track", "licence")
        if (found := page.evaluate(OPTION, f"#find [name={name}]")) is not None
    ]
    choices += [
        (f"sort by {k}", f"#systems th[data-key={k}] button", None) for k in ("mean", "system", "size")
    ]
    times = []
    for name, selector, value in [*choices, ("reset", reset, None)]:
        taken = []
        for _ in range(repeats):
            if name == "reset":
                page.evaluate(CHOOSE, ["#find [name=q]", SEARCHES[2]])
            taken.append(one(selector, value))
            page.evaluate(CHOOSE, [reset, None])
        times.append(ChoiceTime(name, *zip(*taken, strict=True)))
    return times


def page_facts(page: Any) -> dict[str, float]:
    """Milliseconds to the first paint, and nodes as the page came and with everything that its script draws."""
    page.wait_for_selector("#find:not(.waiting)")
    paint = "(performance.getEntriesByName('first-contentful-paint')[0] || {startTime: NaN}).startTime"
    return {
        "first paint": page.evaluate(paint),
        "nodes": page.evaluate("document.querySelectorAll('*').length"),
    }


def measure(site: Path, repeats: int = REPEATS) -> None:
    """Measure the first page of a board in both widths, and print."""
    for browser in launched():
        for width, height in SCREENS:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.goto((site / "index.html").as_uri())
            print(f"{width} × {height}: " + ", ".join(f"{k} {v:,.0f}" for k, v in page_facts(page).items()))
            for taken in choice_times(page, repeats):
                print(f"  {taken.words()}")
            page.close()


def main() -> None:
    """Measure what the command line names."""
    measure(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else REPEATS)


if __name__ == "__main__":
    main()
