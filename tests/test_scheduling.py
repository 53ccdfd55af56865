"""Workers set up once what the tests of a file share, and no long test is left for the end."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.scheduling import arrange, shares_a_fixture


class Item:
    """A collected test, as far as it is asked."""

    def __init__(self, nodeid: str, *marks: pytest.MarkDecorator) -> None:
        self.nodeid, self.marks = nodeid, {m.name: m.mark for m in marks}

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return self.marks.get(name)

    def add_marker(self, mark: pytest.MarkDecorator) -> None:
        self.marks[mark.name] = mark.mark


def arranged(*items: Item, shared: str = "?") -> list[str]:
    """Names in the order of the workers; tests with ``shared`` in their names use their module's fixture."""
    found = arrange(cast(list[Any], items), shares=lambda item: shared in item.nodeid)
    return [item.nodeid for item in found]


def test_what_shares_a_fixture_stays_together_and_long_tests_come_first() -> None:
    slow, browser = pytest.mark.slow, pytest.mark.xdist_group("browser")
    items = [
        Item("a.py::short"),
        Item("a.py::with_run[1]"),
        Item("b.py::page", browser),
        Item("a.py::with_run[2]"),
        Item("c.py::long", slow),
        Item("d.py::page", browser),
        Item("e.py::server", pytest.mark.xdist_group("server")),
        Item("e.py::server_killed", pytest.mark.xdist_group("server"), slow),
        Item("f.py::short"),
    ]
    assert arranged(*items, shared="with_run") == [
        "e.py::server", "e.py::server_killed", "c.py::long",
        "a.py::with_run[1]", "a.py::with_run[2]", "b.py::page", "d.py::page",
        "a.py::short", "f.py::short",
    ]  # fmt: skip
    groups = {i.nodeid: m.args[0] for i in items if (m := i.get_closest_marker("xdist_group"))}
    assert groups["a.py::with_run[1]"] == groups["a.py::with_run[2]"] == "a.py"
    assert "a.py::short" not in groups
    assert groups["d.py::page"] == "browser", "a mark says more"


@pytest.fixture(scope="module")
def costly() -> int:
    return 1


@pytest.fixture
def dearer(costly: int) -> int:
    return costly + 1


def test_a_fixture_of_the_module_is_seen_through_others(request: pytest.FixtureRequest, dearer: int) -> None:
    assert shares_a_fixture(request.node)


def test_what_every_test_has_is_not_shared(request: pytest.FixtureRequest, tmp_path: object) -> None:
    assert not shares_a_fixture(request.node)
