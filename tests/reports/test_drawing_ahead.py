"""Pages of a big board are drawn by further processes too, and by this one alone where those fail or hang."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.leaderboard.cache import RememberedPages
from reports.pages.drawing import WORTH_A_PROCESS, PlannedPage, drawn_ahead

PAGES = 2 * WORTH_A_PROCESS
pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="processes cannot be copied on this system"
)


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)


def drawn(folder: Path, make: Callable[[str], str], pages: int = PAGES) -> list[str]:
    """Draw pages, this process from the first on."""
    memory = RememberedPages(folder, "code", "shared")
    planned = [PlannedPage(f"{i}.html", f"page {i}", (), make, str(i)) for i in range(pages)]
    with drawn_ahead(memory, planned):
        return [memory(p.key, p.records, p.make, p.name) for p in planned]


def by_whom(name: str) -> str:
    """A page that says which process made it."""
    time.sleep(0.02)
    return f"{name} {os.getpid()}"


def test_another_process_draws_from_the_last_page_on(tmp_path: Path) -> None:
    pages = drawn(tmp_path, by_whom)
    assert [p.split()[0] for p in pages] == [str(i) for i in range(PAGES)]
    makers = [int(p.split()[1]) for p in pages]
    assert makers[0] == os.getpid() != makers[-1]
    assert len(set(makers)) == 2
    assert makers == sorted(makers, key=lambda m: m != os.getpid())  # ours, then theirs


@pytest.mark.parametrize("fault", ["hangs", "fails"])
def test_what_a_process_does_not_draw_this_one_draws(
    tmp_path: Path, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    own = os.getpid()

    def make(name: str) -> str:
        if os.getpid() != own:
            if fault == "hangs":
                time.sleep(60)
            raise RuntimeError("of a copy")
        return by_whom(name)

    assert drawn(tmp_path, make) == [f"{i} {own}" for i in range(PAGES)]
    assert not multiprocessing.active_children()
    assert capfd.readouterr().err == ""


def test_few_pages_are_drawn_here(tmp_path: Path) -> None:
    assert {p.split()[1] for p in drawn(tmp_path, by_whom, WORTH_A_PROCESS - 1)} == {str(os.getpid())}


def test_pages_in_the_memory_are_not_drawn_again(tmp_path: Path) -> None:
    first = drawn(tmp_path, by_whom)
    assert drawn(tmp_path, by_whom) == first
