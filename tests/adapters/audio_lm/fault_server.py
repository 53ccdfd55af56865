"""An OpenAI-compatible server that misbehaves on demand, in this process, on loopback.

``Faults`` says what goes wrong; the server counts what it was asked, so that tests can tell what was asked twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

Reply = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass
class Faults:
    """What goes wrong, and the words of the model.

    ``script`` is used up first, one entry per request: an HTTP status, or ``drop`` (the connection breaks in the
    middle of the reply), ``garbage`` (no JSON), ``list`` (JSON that is no object), ``hang`` (longer than the client
    waits), ``page`` (HTML), ``trickle`` (a space now and then, for ever), ``flood`` (spaces as fast as they go), ``ok``. ``poison``: bodies that hold this text always answer ``poison_status``.
    """

    script: list[int | str] = field(default_factory=list)
    poison: str | None = None
    poison_status: int = 500
    poison_words: str = "this one hurts"
    loading_replies: int = 0
    models: tuple[str, ...] = ("tiny",)
    key: str | None = None
    seconds: float = 0.0
    words: Callable[[dict[str, Any]], str] = lambda body: "happy"
    reply: Reply | None = None
    """The whole completion, in place of ``words``."""
    raw: Callable[[dict[str, Any]], str] | None = None
    """The body as it is sent, in place of both: JSON that a strict writer would not write."""
    refuses: Callable[[dict[str, Any]], bool] | None = None
    """Whether a body is answered with HTTP 400."""
    retry_after: str | None = None
    die_after: int | None = None


class FaultServer:
    """The application and what it saw."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.busy = self.most_busy = 0
        self.connections: set[tuple[str, int]] = set()
        self.app = Starlette(
            routes=[
                Route("/v1/models", self.models),
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/tokenize", self.tokenize, methods=["POST"]),
            ]
        )

    async def models(self, request: Request) -> Response:
        if self._dead:
            raise ConnectionResetError
        if self.faults.loading_replies > 0:
            self.faults.loading_replies -= 1
            return PlainTextResponse("loading", 503)
        if self.faults.key and request.headers.get("authorization") != f"Bearer {self.faults.key}":
            return self._error(401, f"Incorrect API key provided: {request.headers.get('authorization')}")
        return JSONResponse(
            {"object": "list", "data": [{"id": m, "object": "model"} for m in self.faults.models]}
        )

    async def tokenize(self, request: Request) -> Response:
        body = await request.json()
        return JSONResponse({"tokens": list(body["prompt"].encode())})

    async def chat(self, request: Request) -> Response:
        assert request.client is not None
        self.connections.add((request.client.host, request.client.port))
        raw = await request.body()
        name = hashlib.sha1(raw).hexdigest()
        self.asked[name] += 1
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            return await self._answer(json.loads(raw), name)
        finally:
            self.busy -= 1

    async def _answer(self, body: dict[str, Any], name: str) -> Response:
        faults = self.faults
        if self._dead:
            raise ConnectionResetError
        if faults.seconds:
            await asyncio.sleep(faults.seconds)
        if faults.poison is not None and faults.poison in json.dumps(body, ensure_ascii=False):
            return self._error(faults.poison_status, faults.poison_words)
        if faults.refuses is not None and faults.refuses(body):
            return self._error(400, faults.poison_words)
        step = faults.script.pop(0) if faults.script else "ok"
        if isinstance(step, int):
            headers = {"retry-after": faults.retry_after} if faults.retry_after else None
            return self._error(step, "not now", headers)
        if step == "garbage":
            return Response('{"choices": [{"mess', media_type="application/json")
        if step == "list":
            return JSONResponse([1, 2, 3])
        if step == "page":
            return Response("<html>gateway</html>", media_type="text/html")
        if step in ("trickle", "flood"):
            return StreamingResponse(_endless(step), media_type="application/json")
        if step == "hang":
            await asyncio.sleep(30)
        if step == "drop":
            return StreamingResponse(
                _broken(), headers={"content-length": "1000"}, media_type="application/json"
            )
        self.answered[name] += 1
        if faults.raw is not None:
            return Response(faults.raw(body), media_type="application/json")
        return JSONResponse(faults.reply(body) if faults.reply else completion(faults.words(body)))

    @property
    def _dead(self) -> bool:
        return self.faults.die_after is not None and self.answered.total() >= self.faults.die_after

    def _error(self, status: int, text: str, headers: dict[str, str] | None = None) -> Response:
        return JSONResponse({"error": {"message": text, "code": status}}, status, headers=headers)


async def _broken() -> AsyncIterator[bytes]:
    yield b'{"choices": '
    raise ConnectionResetError


async def _endless(how: str) -> AsyncIterator[bytes]:
    while True:
        yield b" " * (1 if how == "trickle" else 2**16)
        await asyncio.sleep(0.02 if how == "trickle" else 0)


def completion(text: str, **choice: Any) -> dict[str, Any]:
    """A chat completion that says this text."""
    first = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **choice}
    usage = {"prompt_tokens": 100, "completion_tokens": 3, "total_tokens": 103}
    return {"id": "x", "object": "chat.completion", "model": "tiny", "choices": [first], "usage": usage}


@contextmanager
def running(faults: Faults | None = None) -> Iterator[tuple[FaultServer, str]]:
    """Run a server in a thread; yields it and its base address."""
    server = FaultServer(faults or Faults())
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(server.app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    machine = uvicorn.Server(config)
    thread = threading.Thread(target=machine.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        machine.should_exit = True
        thread.join(timeout=10)
        listener.close()
