"""Which tests go to one worker of pytest-xdist, and in which order: what is set up once, and long tests first.

Dealt out one by one, the tests of a file go to all workers, and each of them sets up what the file's tests share. So tests
that use a fixture of their module's or class's scope stay together, as those that a mark groups do. Long tests go first: one
that came last would leave the other workers idle. The order holds with ``--no-loadscope-reorder``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

SHARED = ("module", "class", "package")
"""Scopes of fixtures that are set up again by each worker that has a test of the file."""


def arrange(items: Sequence[pytest.Item], *, shares: Callable[[pytest.Item], bool]) -> list[pytest.Item]:
    """Mark what stays together, and put groups and tests in the order in which workers take them.

    Args:
        items: the tests, in the order of their files.
        shares: whether a test uses a fixture that others of its file use too.

    Returns:
        Groups with a test that is marked ``slow``, such tests alone, other groups, and the rest; otherwise in their order.
    """
    units: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("xdist_group") is None and shares(item):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
        mark = item.get_closest_marker("xdist_group")
        units.setdefault(item.nodeid if mark is None else f"group {mark.args[0]}", []).append(item)

    def rank(unit: list[pytest.Item]) -> tuple[bool, bool]:
        return not any(i.get_closest_marker("slow") for i in unit), len(unit) == 1

    return [item for unit in sorted(units.values(), key=rank) for item in unit]


def shares_a_fixture(item: pytest.Item) -> bool:
    """Whether a test asks for a fixture that its module's or class's tests share (what every test has does not count)."""
    found = getattr(item, "_fixtureinfo", None)
    definitions = {} if found is None else found.name2fixturedefs
    own = item.nodeid.partition("::")[0]
    return any(
        d.scope in SHARED and d.baseid.partition("::")[0] == own for ds in definitions.values() for d in ds
    )
