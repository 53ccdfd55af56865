"""A server that stumbles is asked again; one that is gone, or says no, is told apart and said so in one sentence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from adapters.audio_lm.requests.client import Endpoint, Rejected, RetryPolicy, ServerGone
from bench.errors import CannotRun
from tests.adapters.audio_lm.fault_server import Faults, running

QUICK = RetryPolicy(request_seconds=1.0, attempts=4, longest_wait=0.05, loading_seconds=1.0)
BODY: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "how does she feel?"}]}


def ask(address: str, body: dict[str, Any] = BODY, **settings: Any) -> dict[str, Any]:
    async def go() -> dict[str, Any]:
        async with Endpoint(address, "tiny", **{"retry": QUICK, **settings}) as endpoint:
            await endpoint.ready()
            return await endpoint.chat(body)

    return asyncio.run(go())


@pytest.mark.parametrize("stumble", [429, 500, 503, "drop", "garbage", "list", "hang"])
def test_one_stumble_is_asked_again(stumble: int | str) -> None:
    with running(Faults(script=[stumble])) as (server, address):
        reply = ask(address)
        assert reply["choices"][0]["message"]["content"] == "happy"
        assert server.asked.total() == 2


def test_a_server_that_is_loading_is_waited_for() -> None:
    with running(Faults(loading_replies=2)) as (_, address):
        assert ask(address)["choices"]


def test_a_server_that_never_stops_loading_is_given_up_with_its_address() -> None:
    with (
        running(Faults(loading_replies=10**6)) as (_, address),
        pytest.raises(ServerGone, match="still loading"),
    ):
        ask(address)


def test_no_server_at_all() -> None:
    with pytest.raises(ServerGone, match=r"http://127\.0\.0\.1:9/v1 does not answer"):
        ask("http://127.0.0.1:9/v1")


def test_a_request_that_always_fails_is_rejected_while_the_server_is_well() -> None:
    with running(Faults(poison="feel", poison_status=500)) as (server, address):
        with pytest.raises(Rejected, match="HTTP 500, 4 times: this one hurts"):
            ask(address)
        assert server.asked.total() == QUICK.attempts


def test_a_request_that_is_refused_is_not_sent_again() -> None:
    with running(Faults(poison="feel", poison_status=400)) as (server, address):
        with pytest.raises(Rejected, match="HTTP 400: this one hurts"):
            ask(address)
        assert server.asked.total() == 1


def test_endless_rate_limits_end_the_run_and_not_the_clip() -> None:
    with running(Faults(script=[429] * 50)) as (_, address), pytest.raises(ServerGone, match="slow down"):
        ask(address)


def test_retry_after_is_heeded() -> None:
    retry = RetryPolicy(request_seconds=2.0, attempts=3, longest_wait=5.0)
    with running(Faults(script=[429], retry_after="0.7")) as (_, address):
        started = time.perf_counter()
        ask(address, retry=retry)
        assert time.perf_counter() - started >= 0.7


def test_a_wrong_key_is_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_KEY", "sk-very-secret")
    with running(Faults(key="another")) as (_, address), pytest.raises(CannotRun) as caught:
        ask(address, key_variable="TINY_KEY")
    assert "TINY_KEY" in str(caught.value)
    assert "sk-very-secret" not in str(caught.value) + repr(caught.value.__cause__) + repr(
        caught.value.__context__
    )


def test_a_key_that_is_not_set_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINY_KEY", raising=False)
    with pytest.raises(CannotRun, match="set the environment variable TINY_KEY"):
        ask("http://127.0.0.1:9/v1", key_variable="TINY_KEY")


def test_a_model_that_is_not_served_is_named_beside_those_that_are() -> None:
    with (
        running(Faults(models=("tinny",))) as (_, address),
        pytest.raises(CannotRun, match="did you mean 'tinny'"),
    ):
        ask(address)


def test_connections_are_used_again() -> None:
    async def go(address: str) -> None:
        async with Endpoint(address, "tiny", retry=QUICK) as endpoint:
            for _ in range(20):
                await endpoint.chat(BODY)

    with running() as (server, address):
        asyncio.run(go(address))
        assert len(server.connections) == 1


def test_a_server_that_dies_between_requests_is_gone() -> None:
    async def go(address: str, stop: Callable[[], None]) -> None:
        async with Endpoint(address, "tiny", retry=QUICK) as endpoint:
            await endpoint.chat(BODY)
            await asyncio.to_thread(stop)
            await endpoint.chat(BODY)

    context = running()
    _, address = context.__enter__()

    def stop() -> None:
        context.__exit__(None, None, None)

    with pytest.raises(ServerGone, match="is gone"):
        asyncio.run(go(address, stop))
