"""The critical-difference diagram: well-formed, every system named once, a bar for every group, ranks where they belong."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from bench.statistics.ranking import AcrossPools, TaskScore, rank_across_pools
from reports.charts.critical_difference import MARGIN, WIDTH, critical_difference_svg, in_words

SVG = "{http://www.w3.org/2000/svg}"


def ranked(systems: int, pools: int = 8) -> AcrossPools:
    rng = np.random.default_rng(systems)
    return rank_across_pools(
        TaskScore(f"pool {p}", f"task {p}", f"system <{s}> & co", 0.5 + 0.03 * s + 0.15 * rng.random())
        for p in range(pools)
        for s in range(systems)
    )


@pytest.mark.parametrize("systems", [3, 8, 25])
def test_every_system_stands_at_its_rank(systems: int) -> None:
    found = ranked(systems)
    drawing = ElementTree.fromstring(critical_difference_svg(found))

    titles = [t.text for t in drawing.iter(f"{SVG}title")]
    assert titles == list(found.systems)
    places = [float(c.attrib["cx"]) for c in drawing.iter(f"{SVG}circle")]
    scale = (WIDTH - 2 * MARGIN) / (systems - 1)
    assert places == pytest.approx([MARGIN + (r - 1) * scale for r in found.average_ranks], abs=0.06)
    bars = [p for p in drawing.iter(f"{SVG}path") if p.attrib.get("stroke-width") == "4"]
    assert len(bars) == len(found.groups)
    low = max(float(t.attrib["y"]) for t in drawing.iter(f"{SVG}text"))
    assert low < float(drawing.attrib["height"])


def test_the_words_say_what_the_picture_shows() -> None:
    found = ranked(4)
    words = in_words(found)
    assert all(name in words for name in found.systems)
    assert f"{found.critical_difference:.2f}" in words
    assert critical_difference_svg(found) == critical_difference_svg(ranked(4))
