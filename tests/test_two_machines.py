"""What two machines answered, as it is committed, follows from the published tables."""

from __future__ import annotations

import json

import pytest

from tests.two_machines import ONE, OTHER, OUT, Repeat, compared, repeats


@pytest.fixture(scope="module")
def committed() -> dict[str, object]:
    """The committed figures."""
    found: dict[str, object] = json.loads(OUT.read_text(encoding="utf-8"))
    return found


def test_the_figures_follow_from_the_tables(committed: dict[str, object]) -> None:
    assert json.loads(json.dumps(compared(ONE, OTHER))) == committed


def test_the_processors_are_two(committed: dict[str, dict[str, list[dict[str, str]]]]) -> None:
    one, other = ({s["processor"] for s in committed[side]["sessions"]} for side in ("one", "other"))
    assert one
    assert other
    assert not one & other


def test_an_answer_that_differs_is_counted() -> None:
    def by_task(found: list[Repeat]) -> dict[str, Repeat]:
        return {r.task: r for r in found if r.system == "whisper-base-superb"}

    found = by_task(list(repeats(ONE, OTHER)))
    same = by_task(list(repeats(OTHER, OTHER)))
    assert {r.otherwise for r in same.values()} == {0}
    assert found["nemo-subset.pl"].otherwise > 0
    assert found["nemo-subset.pl"].answers == 477
    assert same["nemo-subset.pl"].answers == 477
