"""Charts hold their data whatever its size, and nothing is drawn outside their frame."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.charts.chart import Chart, count_scale, unit_scale, value_scale

FINITE = st.floats(-1e11, 1e11, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-9)


@given(st.lists(FINITE, min_size=1, max_size=20), st.booleans())
def test_a_scale_holds_every_value_between_two_to_six_ticks(values: list[float], percent: bool) -> None:
    scale = value_scale(values, "loss", percent=percent)
    slack = 1e-6 * (scale.high - scale.low)
    assert scale.low - slack <= min(values)
    assert max(values) <= scale.high + slack
    assert 2 <= len(scale.ticks) <= 6


def test_ticks_of_a_scale_read_differently() -> None:
    for values in ([0.501, 0.502], [1.0, 1.0], [0.0], [-3.0, 12.0], [1e-5, 4e-5]):
        words = [w for _, w in value_scale(values, "loss").ticks]
        assert len(set(words)) == len(words), (values, words)


@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=8))
def test_what_lies_beyond_the_ends_stands_at_the_ends(points: list[tuple[float, float]]) -> None:
    chart = Chart("any", unit_scale("x"), unit_scale("y"))
    chart.line("curve", points)
    chart.dots("dots", points)
    chart.arrow("arrow", points[0], points[-1])
    left, top, right, bottom = chart.box
    for _, path in chart.paths[:2]:
        for x, y in re.findall(r"[ML](\S+) ([^LMh]+)", path):
            assert left <= float(x) <= right
            assert top <= float(y) <= bottom


@pytest.mark.parametrize("layers", [1, 2, 13, 25, 49])
def test_layers_are_named_at_most_eight_times(layers: int) -> None:
    scale = count_scale(layers, "layer")
    assert 1 <= len(scale.ticks) <= 8
    assert scale.low < 0 < layers - 1 + 1e-9 < scale.high or layers == 1


def test_higher_values_stand_higher() -> None:
    chart = Chart("any", unit_scale("x"), unit_scale("y"))
    assert chart.y(0.9) < chart.y(0.1)
    assert chart.x(0.9) > chart.x(0.1)
