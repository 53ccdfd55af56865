"""Every reply is on the disk before it counts: what was answered is never asked again, whoever dies in between."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from adapters.audio_lm.requests.client import Endpoint, RetryPolicy, ServerGone
from adapters.audio_lm.requests.dispatch import BudgetSpent, Dispatcher, Price
from adapters.audio_lm.requests.questions import Question, RequestOutcome, Sound, messages
from adapters.audio_lm.requests.reply_cache import ReplyStore, reply_key
from tests.adapters.audio_lm.fault_server import Faults, FaultServer, running

QUICK = RetryPolicy(request_seconds=2.0, attempts=3, longest_wait=0.05, loading_seconds=1.0)


def questions(clip: int, variants: int = 3) -> list[Question]:
    sound = Sound.of(np.full(1600, clip / 1000, np.float32))
    found = []
    for variant in range(variants):
        text = f"variant {variant}"
        body = {"model": "tiny", "messages": messages(text, system=None, sounds=1, audio_first=True)}
        found.append(Question(reply_key("tiny", None, body, (sound.hash,), 0), body, (sound,)))
    return found


def ask(
    store: Path,
    address: str,
    clips: int,
    *,
    concurrency: int = 4,
    price: Price | None = None,
    max_cost: float | None = None,
) -> tuple[dict[int, list[RequestOutcome]], Dispatcher]:
    outcomes: dict[int, list[RequestOutcome]] = {}

    async def go() -> Dispatcher:
        with ReplyStore(store) as replies:
            dispatcher = Dispatcher(
                replies,
                lambda: Endpoint(address, "tiny", retry=QUICK),
                concurrency=concurrency,
                price=price,
                max_cost=max_cost,
            )
            try:
                await dispatcher.ask_all(
                    [lambda i=i: questions(i) for i in range(clips)], outcomes.__setitem__
                )  # type: ignore[misc]
            finally:
                await dispatcher.close()
            return dispatcher

    return outcomes, asyncio.run(go())


def stored(path: Path) -> dict[str, str]:
    with sqlite3.connect(path) as connection:
        return dict(connection.execute("SELECT key, reply FROM replies"))


def test_a_second_run_asks_nothing_and_needs_no_server(tmp_path: Path) -> None:
    with running() as (server, address):
        first, _ = ask(tmp_path / "r.sqlite", address, 10)
        assert server.asked.total() == 30
    second, dispatcher = ask(tmp_path / "r.sqlite", "http://127.0.0.1:9/v1", 10)
    assert second == first
    assert (dispatcher.counts.asked, dispatcher.counts.found) == (0, 30)


def test_the_first_question_of_a_clip_is_answered_before_the_others_are_sent(tmp_path: Path) -> None:
    order: list[str] = []

    def words(body: dict[str, object]) -> str:
        order.append(str(body["messages"])[-60:])
        return "happy"

    with running(Faults(words=words, seconds=0.01)) as (server, address):
        ask(tmp_path / "r.sqlite", address, 1, concurrency=8)
        assert server.most_busy == 2
    assert "variant 0" in order[0]


def test_concurrency_is_kept_and_used(tmp_path: Path) -> None:
    with running(Faults(seconds=0.1)) as (server, address):
        ask(tmp_path / "r.sqlite", address, 30, concurrency=7)
        assert server.most_busy == 7


def test_one_clip_that_the_server_cannot_take_is_one_row_with_its_reason(tmp_path: Path) -> None:
    poison = Sound.of(np.full(1600, 5 / 1000, np.float32)).base64_wav()[-40:]
    with running(Faults(poison=poison, poison_status=400)) as (_, address):
        outcomes, dispatcher = ask(tmp_path / "r.sqlite", address, 10)
    assert all(o.reply is None and "HTTP 400" in str(o.problem) for o in outcomes[5])
    assert all(o.reply for i, found in outcomes.items() if i != 5 for o in found)
    assert dispatcher.counts.rejected == 3
    with running() as (server, address):
        healed, _ = ask(tmp_path / "r.sqlite", address, 10)
        assert server.asked.total() == 3, "only the failed rows are asked again"
    assert all(o.reply for found in healed.values() for o in found)


def test_a_server_that_dies_costs_only_what_it_had_not_answered(tmp_path: Path) -> None:
    store = tmp_path / "r.sqlite"
    with running(Faults(die_after=20)) as (_, address), pytest.raises(ServerGone):
        ask(store, address, 20)
    before = stored(store)
    assert 0 < len(before) <= 20
    with running() as (second, address):
        ask(store, address, 20)
        assert second.asked.total() == 60 - len(before)
        assert set(second.asked.values()) == {1}
    after = stored(store)
    assert len(after) == 60
    assert all(after[key] == reply for key, reply in before.items())


CHILD = """
import sys
from pathlib import Path
from tests.adapters.audio_lm.test_asking import ask
ask(Path(sys.argv[1]), sys.argv[2], 60, concurrency=3)
"""


def test_a_client_killed_at_any_moment_loses_no_reply_and_asks_nothing_twice(tmp_path: Path) -> None:
    store = tmp_path / "r.sqlite"
    with running(Faults(seconds=0.01)) as (server, address):
        lengths: list[int] = []
        for kill in range(3):
            child = subprocess.Popen([sys.executable, "-c", CHILD, str(store), address])
            _wait_for(server, 40 * (kill + 1))
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            before = stored(store)
            lengths.append(len(before))
            time.sleep(0.1)
        unanswered = server.asked.total() - len(before)
        assert unanswered <= 3 * 3, "at most what was on its way at each kill"
        asked = server.asked.total()
        outcomes, _ = ask(store, address, 60)
        assert server.asked.total() - asked == 180 - len(before)
    after = stored(store)
    assert lengths == sorted(lengths)
    assert len(after) == 180
    assert len(outcomes) == 60
    assert all(after[key] == reply for key, reply in before.items())


def _wait_for(server: FaultServer, answers: int) -> None:
    deadline = time.monotonic() + 20
    while server.answered.total() < answers:
        assert time.monotonic() < deadline, "the child asked too little"
        time.sleep(0.005)


def test_asking_stops_at_the_budget_and_goes_on_with_a_larger_one(tmp_path: Path) -> None:
    price = Price(input=10_000.0)  # a reply of 100 prompt tokens costs 1
    with running() as (server, address):
        with pytest.raises(BudgetSpent, match="max-cost is 6"):
            ask(tmp_path / "r.sqlite", address, 10, concurrency=1, price=price, max_cost=6)
        assert server.asked.total() == 6
        outcomes, dispatcher = ask(tmp_path / "r.sqlite", address, 10, price=price)
        assert dispatcher.counts.found == 6
        assert len(outcomes) == 10


def test_two_processes_may_write_one_store(tmp_path: Path) -> None:
    store = tmp_path / "r.sqlite"
    with running(Faults(seconds=0.002)) as (_, address):
        children = [subprocess.Popen([sys.executable, "-c", CHILD, str(store), address]) for _ in range(2)]
        assert [c.wait(timeout=60) for c in children] == [0, 0]
    assert len(stored(store)) == 180


def test_the_key_covers_what_decides_a_reply() -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "temperature": 0}
    keys: Sequence[str] = [
        reply_key("m", None, body, ("a",), 0),
        reply_key("n", None, body, ("a",), 0),
        reply_key("m", "r1", body, ("a",), 0),
        reply_key("m", None, body | {"temperature": 1}, ("a",), 0),
        reply_key("m", None, body, ("b",), 0),
        reply_key("m", None, body, ("a",), 1),
    ]
    assert len(set(keys)) == len(keys)
