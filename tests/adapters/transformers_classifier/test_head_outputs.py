"""What the outputs of a released head mean: by the label table, by the card, or a sentence that asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapters.transformers_classifier.outputs import HeadOutputs, head_outputs
from bench.errors import UsageError


def told(*names: str, **said: Any) -> HeadOutputs:
    whole: dict[str, Any] = {"labels": {}, "dimensions": {}, "scale": None, "regression": False}
    return head_outputs(names, **whole | said)


def test_classes_go_by_the_label_table_and_by_what_the_card_says() -> None:
    outputs = told("Happiness", "ANG", "other", labels={"ang": "anger", "other": None})
    assert outputs.classes == {0: "happy", 1: "angry", 2: None}
    places = outputs.places(("neutral", "happy", "angry"))
    assert places is not None
    assert places.tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_a_class_without_a_label_and_a_label_without_a_class_take_their_place_among_the_seven() -> None:
    excited = told("excited", "neutral").places(("happy", "calm", "neutral"))
    assert excited is not None
    assert excited.tolist() == [[1, 0, 0], [0, 0.5, 0.5]]
    own = told("excited", "happy").places(("happy", "excited"))
    assert own is not None
    assert own.tolist() == [[0, 1], [1, 0]]
    twice = told("joy", "happy", "bored").places(("happy", "sad"))
    assert twice is not None
    assert twice.tolist() == [[1, 0], [1, 0], [0, 0]]


@pytest.mark.parametrize(
    ("names", "said", "message"),
    [
        (("ANG", "happy"), {}, r"knows no ANG: say on the card what they are, as params.labels: \{ANG: angry\}, with null"),
        (("LABEL_0", "LABEL_1"), {}, "knows no LABEL_0, LABEL_1"),
        (("happy",), {"labels": {"hapy": "happy"}}, "'hapy', which is no class of the network; did you mean 'happy'"),
        (("X",), {"labels": {"X": "gladd"}}, "X is said to be 'gladd'; did you mean 'glad'"),
        (("a", "b", "c"), {"regression": True}, r"nothing says what a, b, c are: .*params.dimensions: \{valence: 0"),
        (("valence", "b"), {"regression": True, "scale": [0, 1]}, "nothing says what b is"),
        (("valence",), {}, r"answers valence: say on the card .* params.scale: \[1, 5\]"),
        (("valence",), {"scale": [5, 1]}, "lower number first"),
        (("valence",), {"scale": [1]}, "expected two numbers"),
        (("valence",), {"scale": [True, 2]}, "expected two numbers"),
        (("valence",), {"scale": {"arousal": [1, 5]}}, "names 'arousal'; the network answers valence"),
        (("valence", "arousal"), {"scale": {"arousal": [1, 5]}}, "where valence lies"),
        (("happy",), {"scale": [1, 5]}, "answers no dimension"),
        (("a", "b"), {"dimensions": {"valence": 2}}, "valence is 2; expected one of the network's outputs, a, b or 0 to 1"),
        (("a", "b"), {"dimensions": {"valence": "c"}}, "valence is 'c'"),
        (("a", "b"), {"dimensions": {"valence": 0, "arousal": 0}}, "one output to two"),
        (("a", "b"), {"dimensions": {"valense": 0}}, "'valense'; did you mean 'valence'"),
        (("a",), {"dimensions": [0]}, "expected {valence: 0"),
        (("a",), {"labels": ["a"]}, "expected names"),
    ],
)  # fmt: skip
def test_what_nothing_explains_is_asked_for_in_one_sentence(
    names: tuple[str, ...], said: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        told(*names, **said)


def test_an_output_of_a_regression_may_be_ignored_aloud() -> None:
    outputs = told(
        "v", "age", regression=True, dimensions={"valence": "v"}, labels={"age": None}, scale=[1, 7]
    )
    assert outputs.kept == []
    np.testing.assert_allclose(outputs.in_unit(np.array([[4.0, 33.0]])), [[0.5, np.nan, np.nan]])
