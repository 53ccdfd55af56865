"""What a card may say of a plain parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from bench.cards.parameters import check_parameters
from bench.cards.registry import build
from bench.errors import UsageError


@dataclass(frozen=True)
class Taken:
    """What a constructor may say."""

    standardise: bool = False
    steps: int = 3
    most: int | Literal["superb"] = 500
    rate: float = 0.1
    name: str = "a"
    clip: float | None = 1.0
    rates: Sequence[float] = (0.1,)
    anything: dict[str, int] | None = None


@pytest.mark.parametrize(
    "given",
    [
        {
            "standardise": True,
            "steps": 4,
            "most": "superb",
            "rate": 1,
            "name": "b",
            "clip": None,
            "rates": [1, 0.5],
            "anything": "left alone",
        },
        {"clip": 0.5, "unknown": "left to the constructor"},
    ],
)
def test_what_the_annotation_allows_passes(given: dict[str, Any]) -> None:
    check_parameters(Taken, given, "taken")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"standardise": "no"}, "standardise: found 'no', expected true or false"),
        ({"standardise": 1}, "standardise: found 1, expected true or false"),
        ({"steps": 2.5}, "steps: found 2.5, expected a whole number"),
        ({"steps": True}, "steps: found True, expected a whole number"),
        ({"rate": "6e-4"}, "rate: found '6e-4', expected a number (with a point before an exponent: 6.0e-4)"),
        ({"name": 3}, "name: found 3, expected text"),
        ({"clip": "none"}, "clip: found 'none', expected a number (with a point before an exponent: 6.0e-4) or nothing"),
        ({"most": "lots"}, "most: found 'lots', expected a whole number or 'superb'"),
        ({"rates": 0.01}, "rates: found 0.01, expected a list with a number (with a point before an exponent: 6.0e-4) or more of them"),
        ({"rates": []}, "rates: found [], expected a list with a number (with a point before an exponent: 6.0e-4) or more of them"),
    ],
)  # fmt: skip
def test_another_kind_is_one_sentence(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        check_parameters(Taken, given, "taken")
    assert str(error.value) == f"taken: {message}"


def test_all_that_is_wrong_is_said_at_once_and_before_anything_is_built() -> None:
    with pytest.raises(UsageError, match=r"standardise: found 'no'.*; steps: found '3'"):
        build(f"{__name__}:Taken", {"standardise": "no", "steps": "3"})


def test_a_constructor_that_says_nothing_is_left_alone() -> None:
    check_parameters(lambda **given: given, {"anything": "goes"}, "it")
