"""Whatever is handed to a metric, an interval or a test: a number in range, or one of the suite's own sentences."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import metrics, significance
from bench.errors import BenchError, CannotSeparate, InputError, UsageError
from bench.metrics import METRICS
from bench.statistics.intervals import difference_interval
from bench.statistics.resampling import Jackknifed

SCORES: dict[str, Callable[..., float]] = {
    "ua": metrics.unweighted_accuracy,
    "wa": metrics.weighted_accuracy,
    "macro_f1": metrics.macro_f1,
    "ccc": metrics.concordance_cc,
    "pearson": metrics.pearson_cc,
    "rmse": metrics.root_mean_square_error,
    "mean_ccc": lambda t, p: metrics.mean_over_dimensions("ccc", t, p),
    "mean_pearson": lambda t, p: metrics.mean_over_dimensions("pearson", t, p),
    "mean_rmse": lambda t, p: metrics.mean_over_dimensions("rmse", t, p),
    "cross_entropy": metrics.cross_entropy,
    "kullback_leibler": metrics.kullback_leibler,
    "jensen_shannon": metrics.jensen_shannon,
    "brier": metrics.brier_score,
    "ece": metrics.expected_calibration_error,
}
WITH_LABELS = {"ua", "wa", "macro_f1", "brier", "ece"}

entry = st.one_of(
    st.sampled_from(["a", "b", "", " ", "0", "1", "nan", b"a", np.str_("b")]),
    st.sampled_from(
        [None, math.nan, math.inf, -math.inf, pd.NA, pd.NaT, np.datetime64("NaT"), pd.Timestamp("2024")]
    ),
    st.sampled_from(
        [0, 1, True, False, 0.0, 0.3, 0.7, 1.5, -1, 10**400, 1e300, 5e-324, np.int64(1), np.True_, 1j]
    ),
    st.sampled_from([(), ("a",), [], ["a"], {}, {"a"}, {"a": 0.5, "b": 0.5}, frozenset("a"), object(), len]),
    st.sampled_from([[0.5, 0.5], [0.7, 0.3], (1, 0), [1, 0, 0], [0.5, None], ["0.5", "0.5"], [math.nan] * 2]),
    st.sampled_from([np.array([0.5, 0.5]), np.array(1), torch.tensor(1), torch.tensor([0.5, 0.5])]),
    st.floats(),
)
uniform = st.one_of(
    st.lists(st.sampled_from(["a", "b", None, "c"]), max_size=8),
    st.lists(st.sampled_from([0, 1, True, 1.0, None, math.nan]), max_size=8),
    st.lists(st.floats(-2, 2), max_size=8),
    st.lists(st.floats(), max_size=8),
    st.lists(st.sampled_from([[0.5, 0.5], [0.7, 0.3], [1, 0], None, [math.nan] * 2, [0, 0]]), max_size=8),
)


def _wrappers(rows: list[Any]) -> list[Callable[[list[Any]], Any]]:
    def objects(given: list[Any]) -> Any:
        array = np.empty(len(given), dtype=object)
        for place, each in enumerate(given):
            array[place] = each
        return array

    hashable = all(type(r).__hash__ is not None and not isinstance(r, tuple) for r in rows)
    found: list[Callable[[list[Any]], Any]] = [
        list,
        tuple,
        deque,
        iter,
        objects,
        lambda given: (each for each in given),
        lambda given: dict(enumerate(given)),
        lambda given: dict(enumerate(given)).values(),
        lambda given: OrderedDict(enumerate(given)).keys(),
        lambda given: objects(given).reshape(-1, 1),
        lambda given: np.ma.array(objects(given), mask=[place == 1 for place in range(len(given))]),
        lambda given: pd.Series(objects(given), index=range(5, 5 + len(given)), dtype=object),
        lambda given: pd.DataFrame({"a": objects(given), "b": objects(given)}, dtype=object),
    ]
    if hashable:
        found.append(set)
    if rows and all(isinstance(r, float | int) and abs(r) < 2**60 for r in rows):
        numbers = [np.asarray, torch.tensor, np.matrix, lambda g: np.asarray(g, np.float16)]
        numbers += [lambda g: np.ma.masked_invalid(np.asarray(g, float)), lambda g: pd.array(g, "Float64")]
        numbers += [lambda g: pd.arrays.SparseArray(np.asarray(g, float)), lambda g: np.asarray(g).tobytes()]
        found += numbers
    if all(isinstance(r, str | None) for r in rows):
        found += [
            pd.Categorical,
            lambda g: pd.Series(g, dtype="string"),
            lambda g: "".join(r or "" for r in g),
        ]
    return found


@st.composite
def columns(draw: st.DrawFn) -> Any:
    """A column that may be right, odd, or no column at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.one_of(entry, st.just("abab"), st.just(np.float64(1)), st.just(np.array(None))))
    rows = draw(st.one_of(uniform, uniform, st.lists(entry, max_size=6)))
    if draw(st.booleans()):
        return rows
    return draw(st.sampled_from(_wrappers(rows)))(rows)


ROWS = st.sampled_from([[0.5, 0.5], [0.75, 0.25], [1, 0], None, [math.nan] * 2])
LABELS: dict[str, list[Any]] = {
    "text": ["a", "b"],
    "numbers": [0, 1],
    "truths": [True, False],
    "tuples": [("a", 1), ("b", 1)],
}


@st.composite
def questions(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Arguments of one length and of the kind the metric wants, of which none, one or two are then made odd."""
    clips = draw(st.integers(2, 9))

    def listed(entries: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(entries, min_size=clips, max_size=clips))

    names = LABELS[draw(st.sampled_from(sorted(LABELS)))]
    kind = METRICS[name].kind
    if kind == "confusion":
        found = {
            "truth": listed(st.sampled_from(names)),
            "said": listed(st.sampled_from([*names, None, math.nan])),
        }
    elif kind == "calibration":
        found = {"truth": listed(st.sampled_from(names)), "said": listed(ROWS)}
    elif kind == "soft":
        found = {"truth": listed(st.sampled_from([[1, 0], [2, 3], [0.5, 0.5]])), "said": listed(ROWS)}
    else:
        number = st.one_of(st.integers(0, 4).map(lambda n: n / 4), st.floats(-2, 2))
        one = number if kind == "moments" else st.lists(number, min_size=2, max_size=2)
        found = {"truth": listed(one), "said": listed(one)}
    found |= {
        "other": list(found["said"][::-1]),
        "groups": listed(st.sampled_from(["x", "y", "z"])),
        "labels": names,
    }
    for argument in draw(st.lists(st.sampled_from(sorted(found)), max_size=2)):
        found[argument] = _made_odd(draw, found[argument])
    if kind == "confusion" and draw(st.booleans()):
        found["labels"] = None
    return found


def _made_odd(draw: st.DrawFn, column: Any) -> Any:
    if not isinstance(column, list):
        return column
    how = draw(st.sampled_from(["entry", "wrapped", "wrapped", "shorter", "longer", "another", "as text"]))
    if how == "entry" and column:
        place = draw(st.integers(0, len(column) - 1))
        return [*column[:place], draw(entry), *column[place + 1 :]]
    if how == "wrapped":
        return draw(st.sampled_from(_wrappers(column)))(column)
    if how == "shorter":
        return column[:-1]
    if how == "longer":
        return [*column, *column[:1]]
    return [str(each) for each in column] if how == "as text" else draw(columns())


asked = st.sampled_from(sorted(SCORES)).flatmap(lambda name: st.tuples(st.just(name), questions(name)))


def _is_one_clear_sentence(error: BenchError) -> None:
    said = str(error)
    assert 20 < len(said) < 700, said
    assert "\n" not in said
    assert said[-1] in ".)", said
    for raw in ("unsupported operand", "has no len", "unhashable", "not subscriptable", "ambiguous"):
        assert raw not in said


def _in_range(name: str, found: float) -> None:
    metric = METRICS[name]
    assert isinstance(found, float)
    assert metric.minimum - 1e-9 <= found <= metric.maximum + 1e-9


@pytest.mark.filterwarnings("error::RuntimeWarning")
@settings(max_examples=1500, deadline=None, derandomize=True)
@given(asked)
def test_a_score_is_in_range_or_refused_in_one_sentence(question: tuple[str, dict[str, Any]]) -> None:
    name, column = question
    options = {"labels": column["labels"]} if name in WITH_LABELS else {}
    try:
        _in_range(name, SCORES[name](column["truth"], column["said"], **options))
    except BenchError as error:
        _is_one_clear_sentence(error)


options = st.one_of(
    st.none(), st.sampled_from([True, "1", b"1", 0, -1, 1.5, 7, math.nan, 0.95, [1], {}, np.ones(2)])
)
odd_name = st.one_of(
    st.sampled_from(
        [*METRICS, "UA", "Ccc", "", "uar", None, 3, b"ua", ["ua"], {"ua"}, np.array(["ua"]), np.str_("ua")]
    )
)


odd_method = st.sampled_from(
    ["jackknife-t"] * 3 + ["bootstrap-t", "percentile", "Percentile", None, ["percentile"], np.ones(2)]
)


@settings(max_examples=800, deadline=None, derandomize=True)
@given(asked, st.one_of(st.none(), odd_name), odd_method, st.booleans())
def test_an_interval_or_a_test_has_ends_or_is_refused_in_one_sentence(
    question: tuple[str, dict[str, Any]], another: Any, method: Any, by_clip: bool
) -> None:
    name, column = question
    metric = name if another is None else another
    shared = {"groups": None if by_clip else column["groups"], "labels": column["labels"], "n_resamples": 50}
    try:
        found = significance.bootstrap_ci(metric, column["truth"], column["said"], method=method, **shared)
        assert found.low <= found.high
        assert not math.isnan(found.standard_error)
    except BenchError as error:
        _is_one_clear_sentence(error)
    try:
        pair = significance.paired_test(metric, column["truth"], column["said"], column["other"], **shared)
        assert pair.low <= pair.difference + 1e-9
        assert pair.difference <= pair.high + 1e-9
        assert 0 < pair.p_value <= 1
    except BenchError as error:
        _is_one_clear_sentence(error)


TRUTH, SAID = ["a", "b"] * 6, ["a", "b", "b"] * 4


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    columns(),
    st.sampled_from(["bootstrap-t", "percentile", "jackknife-t"]),
    options,
    options,
    options,
    options,
)
def test_odd_groups_and_options_of_a_sound_question(
    groups: Any, method: Any, level: Any, seed: Any, draws: Any, margin: Any
) -> None:
    for given_ in (
        {"groups": groups},
        {"level": level},
        {"seed": seed},
        {"n_resamples": draws},
        {"margin": margin},
    ):
        base: dict[str, Any] = {"groups": [i // 2 for i in range(12)], "n_resamples": 50} | given_
        calls: list[Callable[[], Any]] = [
            lambda b=base: significance.paired_test("wa", TRUTH, SAID, TRUTH, **b)
        ]
        if "margin" not in given_:
            calls.append(lambda b=base: significance.bootstrap_ci("wa", TRUTH, SAID, method=method, **b))
        for call in calls:
            try:
                found = call()
                assert found.low <= found.high
            except BenchError as error:
                _is_one_clear_sentence(error)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(odd_name, columns(), columns(), columns(), options, options)
def test_what_lies_under_the_scores_refuses_in_one_sentence_too(
    metric: Any, one: Any, other: Any, third: Any, size: Any, option: Any
) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: metrics.statistics_of(metric, one, other, third, n_clusters=size, labels=option),
        lambda: metrics.value(metric, one),
        lambda: metrics.chance(metric, one),
        lambda: metrics.recalls(one),
        lambda: metrics.precisions(one),
        lambda: metrics.confusion_statistics(one, other, third, n_labels=size, n_clusters=option),
        lambda: metrics.moment_statistics(one, other, third, n_clusters=size, centre=option),
        lambda: metrics.dimension_statistics(one, other, third, n_clusters=size),
        lambda: metrics.soft_label_statistics(one, other, third, n_clusters=size, smoothing=option),
        lambda: metrics.calibration_statistics(one, other, third, n_clusters=size),
        lambda: metrics.confusion_matrix(one, other, labels=third),
        lambda: metrics.per_class(one, other, labels=third),
        lambda: metrics.reliability_curve(one, other, labels=third, bins=option),
        lambda: metrics.mean_over_dimensions(metric, one, other),
        lambda: significance.interval(metric, one, method=option),
        lambda: significance.compare_family(metric, one, other, margin=option),
        lambda: significance.holm(one),
    ]
    for call in calls:
        try:
            call()
        except BenchError as error:
            _is_one_clear_sentence(error)


# Cases that a property cannot judge: what came out was a number before, and a wrong one.


def test_labels_of_another_type_than_the_truth_are_refused_and_equal_numbers_are_not() -> None:
    for truth, said in (
        ([0, 1], ["0", "1"]),
        (["0", "1"], [0, None]),
        (["a", "b"], [b"a", b"b"]),
        (["a", 1], ["a", 1]),
    ):
        with pytest.raises(InputError, match="one type"):
            metrics.unweighted_accuracy(truth, said)
    with pytest.raises(InputError, match=r"truth\[0\] is 0 \(number.*'0' \(text\)"):
        metrics.brier_score([0, 1], [[1, 0], [0, 1]], labels=["0", "1"])
    with pytest.raises(InputError, match=r"prediction\[1\] is 1 \(number"):
        metrics.macro_f1(["a", "b"], ["a", 1])
    assert metrics.unweighted_accuracy([0, 1, 0], np.array([0.0, 1.0, 1.0])) == 0.75
    assert metrics.unweighted_accuracy([True, False], [1, 0]) == 1.0
    assert metrics.unweighted_accuracy(["a", "b", "a"], pd.Series(["a", "b", None])) == 0.75
    assert metrics.unweighted_accuracy(["a", "b", "a"], pd.Series(["a", "b", pd.NA], dtype="string")) == 0.75


@pytest.mark.parametrize("blank", ["", "  ", "\t", None, math.nan, pd.NA, np.nan, pd.NaT])
def test_a_blank_group_is_missing_and_no_speaker(blank: Any) -> None:
    groups = [blank] * 2 + [f"s{i // 2}" for i in range(10)]
    for call in (
        lambda: significance.bootstrap_ci("wa", TRUTH, SAID, groups=groups),
        lambda: significance.paired_test("wa", TRUTH, SAID, TRUTH, groups=groups),
    ):
        with pytest.raises(
            InputError, match=r"groups\[0\] is .* \(2 such clips\): every clip needs its speaker"
        ):
            call()


def test_speakers_that_are_written_alike_are_refused() -> None:
    with pytest.raises(InputError, match="written alike"):
        significance.bootstrap_ci("wa", TRUTH, SAID, groups=[1, "1"] * 6)


def test_text_dicts_sets_and_iterators_are_no_columns() -> None:
    for odd in (
        "aab",
        b"aab",
        {"a": 1, "b": 2, "c": 3},
        {"a", "b", "c"},
        iter("aab"),
        3,
        None,
        np.array("aab"),
    ):
        with pytest.raises(InputError, match=r"(truth|prediction) is .*it must be a list"):
            metrics.weighted_accuracy(odd, ["a", "a", "b"])  # type: ignore[arg-type]
        with pytest.raises(InputError, match="it must be a list"):
            metrics.weighted_accuracy(["a", "a", "b"], odd)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"probabilities\[0\] is .*dict"):
        metrics.brier_score(["a", "b"], [{0: 0.5, 1: 0.5}] * 2, labels=["a", "b"])


def test_a_masked_rating_is_not_scored_by_what_lies_under_the_mask() -> None:
    masked = np.ma.array([0.1, 0.9, 0.2], mask=[False, True, False])
    with pytest.raises(InputError, match=r"prediction\[1\] is nan"):
        metrics.concordance_cc([0.1, 0.2, 0.3], masked)


def test_numbers_written_as_text_are_refused_in_object_arrays_too() -> None:
    with pytest.raises(InputError, match=r"'\.1' is text"):
        metrics.concordance_cc(np.array([".1", 0.2], dtype=object), [0.1, 0.2])


def test_the_system_that_cannot_be_scored_is_named() -> None:
    with pytest.raises(InputError, match="prediction_b"):
        significance.paired_test("wa", TRUTH, SAID, [1] * 12)


def test_a_metric_in_another_case_is_found_by_its_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'ua'"):
        significance.bootstrap_ci("UA", TRUTH, SAID)


# Never NaN


@pytest.mark.parametrize("method", ["jackknife-t", "bootstrap-t", "percentile"])
def test_an_ece_of_exactly_0_has_an_interval_without_nan(method: Any) -> None:
    # Confidence 0.75, right 3 times in 4 over all speakers, and not within each: ECE 0, standard error above 0.
    truth = ["a", "a", "a", "a", "a", "a", "b", "b"] * 3
    groups = ["one"] * 8 + ["two"] * 4 + ["three"] * 4 + ["four"] * 4 + ["five"] * 4
    found = significance.bootstrap_ci(
        "ece", truth, [[0.75, 0.25]] * 24, groups=groups, labels=["a", "b"], n_resamples=200, method=method
    )
    assert found.estimate == 0.0
    assert found.standard_error > 0
    assert 0.0 == found.low <= found.high <= 1.0
    assert found.high > 0


def test_no_end_is_nan_at_a_level_next_to_1() -> None:
    nothing = Jackknifed(estimate=0.0, standard_error=0.0, undefined=0)
    assert difference_interval(METRICS["ua"], nothing, np.nextafter(1.0, 0.0), 9) == (0.0, 0.0)


def test_a_score_lost_in_rounding_is_no_score() -> None:
    tiny = 1e-162 * np.arange(1, 5)
    with pytest.raises(CannotSeparate):
        metrics.pearson_cc(tiny, tiny[::-1])
