"""Asking many questions at once: one leader per clip, then its followers, every reply stored before it counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.audio_lm.replies.completions import Usage, usage_of
from adapters.audio_lm.replies.usability import unusable, wanted
from adapters.audio_lm.requests.client import Endpoint, Rejected
from adapters.audio_lm.requests.questions import Question, RequestOutcome, with_audio
from adapters.audio_lm.requests.reply_cache import ReplyStore, reply_key
from bench.errors import BenchError


@dataclass(frozen=True)
class Price:
    """What a model's owner charges, per million tokens, in the currency of ``--max-cost``."""

    input: float = 0.0
    output: float = 0.0

    def of(self, usage: Usage) -> float:
        """Cost of some tokens."""
        return (usage.prompt * self.input + usage.completion * self.output) / 1e6


@dataclass
class RequestCounts:
    """What asking took.

    Args:
        asked: requests answered now.
        found: replies from the store.
        rejected: requests that the server would not answer.
        usage: tokens of all replies.
        cost: of the requests answered now.
    """

    asked: int = 0
    found: int = 0
    rejected: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: float = 0.0


class Dispatcher:
    """Answers clips' questions from the store, and from a server what the store has not.

    Nothing is connected before a reply is missing.

    Args:
        store: replies by key.
        connect: makes the endpoint; called once, when the first reply is missing.
        concurrency: clips in work at once, and requests.
        price: of the model's tokens.
        max_cost: asking stops before the answers of this run cost more; None: no limit.
    """

    def __init__(
        self,
        store: ReplyStore,
        connect: Callable[[], Endpoint],
        *,
        concurrency: int = 64,
        price: Price | None = None,
        max_cost: float | None = None,
    ) -> None:
        self._store, self._connect = store, connect
        self._concurrency, self.price, self._max_cost = concurrency, price or Price(), max_cost
        self._endpoint: Endpoint | None = None
        self._connecting = asyncio.Lock()
        self._slots = asyncio.Semaphore(concurrency)
        self._in_flight: dict[str, asyncio.Future[RequestOutcome]] = {}
        self._unusable: set[str] = set()
        self.counts = RequestCounts()

    async def close(self) -> None:
        """Close the connections."""
        if self._endpoint is not None:
            await self._endpoint.__aexit__(None, None, None)

    async def endpoint(self) -> Endpoint:
        """Return the server, waiting for it to be ready the first time.

        Raises:
            ServerGone, CannotRun: it is not there, or does not serve the model.
        """
        async with self._connecting:
            if self._endpoint is None:
                made = self._connect()
                try:
                    await made.ready()
                except BaseException:
                    await made.__aexit__(None, None, None)
                    raise
                self._endpoint = made
            return self._endpoint

    async def tokens(self, model: str, revision: str | None, text: str) -> list[int]:
        """Return the token ids of a text, from the store or the server.

        Args:
            model: the id under which it is served.
            revision: of the model.
            text: what is cut.
        """
        key = reply_key(model, revision, {"tokenize": text}, (), 0)
        stored = self._store.get(key)
        if stored is None:
            stored = {"tokens": await (await self.endpoint()).tokens(text)}
            self._store.put(key, stored, 0.0)
        return [int(t) for t in stored["tokens"]]

    def forget(self, keys: Iterable[str]) -> None:
        """Remove stored replies, so that the next run asks for them again."""
        self._store.forget(keys)

    async def ask_all(
        self,
        clips: Sequence[Callable[[], Sequence[Question]]],
        done: Callable[[int, list[RequestOutcome]], None],
    ) -> None:
        """Ask every clip's questions and hand the outcomes over, clip by clip, in the order in which they are ready.

        A clip's questions are made when its turn comes, so that only as many clips as are asked about are in memory.

        Args:
            clips: makes each clip's questions.
            done: called with the clip's index and its outcomes, in the order of its questions.

        Raises:
            ServerGone, CannotRun, BudgetSpent: nothing more can be asked; what was answered is stored.
        """
        waiting = iter(enumerate(clips))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._concurrency, len(clips))):
                    group.create_task(self._work(waiting, done))
        except ExceptionGroup as several:
            raise _first(several) from None

    async def _work(
        self,
        waiting: Iterator[tuple[int, Callable[[], Sequence[Question]]]],
        done: Callable[[int, list[RequestOutcome]], None],
    ) -> None:
        for index, questions in waiting:
            done(index, await self._ask_clip(questions()))

    async def _ask_clip(self, questions: Sequence[Question]) -> list[RequestOutcome]:
        """Ask the first missing question alone and the others when it is answered: they find its audio in the server's cache."""
        outcomes: dict[int, RequestOutcome] = {}
        for i, question in enumerate(questions):
            if (stored := self._stored(question)) is not None:
                outcomes[i] = RequestOutcome(stored)
                self.counts.found += 1
                self.counts.usage += usage_of(stored)
        missing = [i for i in range(len(questions)) if i not in outcomes]
        if missing:
            encoded: dict[str, str] = {}
            for sound in (s for i in missing for s in questions[i].sounds):
                if sound.hash not in encoded:
                    encoded[sound.hash] = sound.base64_wav()
            leader, *followers = missing
            outcomes[leader] = await self._ask(questions[leader], encoded)
            answers = await asyncio.gather(*(self._ask(questions[i], encoded) for i in followers))
            outcomes |= dict(zip(followers, answers, strict=True))
        return [outcomes[i] for i in range(len(questions))]

    def _stored(self, question: Question) -> dict[str, Any] | None:
        """Return a stored reply that counts; one from before the gate that does not is as good as none."""
        stored = self._store.get(question.key)
        if stored is not None and unusable(stored, wanted(question.body)) is not None:
            self._unusable.add(question.key)
            return None
        return stored

    async def _ask(self, question: Question, encoded: Mapping[str, str]) -> RequestOutcome:
        """Ask once, also where two clips hold the same sound and come at the same time."""
        asked = self._in_flight.get(question.key)
        if asked is None:
            asked = asyncio.ensure_future(self._send(question, encoded))
            self._in_flight[question.key] = asked
            asked.add_done_callback(lambda _: self._in_flight.pop(question.key, None))
        return await asked

    async def _send(self, question: Question, encoded: Mapping[str, str]) -> RequestOutcome:
        endpoint = await self.endpoint()
        async with self._slots:
            self._within_budget()
            started = time.perf_counter()
            try:
                body = with_audio(question.body, [encoded[s.hash] for s in question.sounds])
                reply = await endpoint.chat(body)
            except Rejected as problem:
                self.counts.rejected += 1
                return RequestOutcome(None, str(problem), ask_again=not problem.final)
            seconds = time.perf_counter() - started
            self._store.put(question.key, reply, seconds, replace=question.key in self._unusable)
        usage = usage_of(reply)
        self.counts.asked += 1
        self.counts.usage += usage
        self.counts.cost += self.price.of(usage)
        return RequestOutcome(reply)

    def _within_budget(self) -> None:
        wasted = Usage() if self._endpoint is None else self._endpoint.discarded
        cost = self.counts.cost + self.price.of(wasted)
        if self._max_cost is not None and cost >= self._max_cost:
            raise BudgetSpent(
                f"asking stopped: {self.counts.asked} replies cost {cost:.2f}, and --max-cost is "
                f"{self._max_cost:g}; they are stored: raise --max-cost and run again to go on"
            )


class BudgetSpent(BenchError):
    """The replies cost as much as the user allows."""


def _first(group: ExceptionGroup[Exception]) -> Exception:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first
