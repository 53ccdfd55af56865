"""One OpenAI-compatible server: asked with retries, told apart when it is gone, refuses one request, or lacks a feature.

Keys come from the environment only and never reach a message: what a server says about a wrong key is not repeated.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit, urlunsplit

import openai
import tenacity

from adapters.audio_lm.replies.completions import Usage, usage_of
from adapters.audio_lm.replies.usability import QUOTED, unusable, wanted
from bench.errors import BenchError, CannotRun, nearest

LARGEST_REPLY = 8 * 2**20
"""Bytes of a reply at most; the log-probabilities of a long prompt take some 100 KB."""
BAD_ATTEMPTS = 3
"""How often a request is sent whose replies are of no use, or too slow."""
TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


T = TypeVar("T")


class ServerGone(BenchError):
    """The server does not answer any more; what it answered so far is stored."""


class Rejected(Exception):
    """The server is well and will not answer this one request; its text says why.

    Args:
        words: why.
        final: it said no, and will say so again; else another time may do.
    """

    def __init__(self, words: str, *, final: bool = False) -> None:
        super().__init__(words)
        self.final = final


@dataclass(frozen=True)
class RetryPolicy:
    """How long to go on trying.

    Args:
        request_seconds: limit of one request, from its sending to the last byte of its reply.
        attempts: how often it is sent; three times at most where the reply is of no use or too late.
        longest_wait: longest pause between two attempts, in seconds (exponential with full jitter, or what the server's
            Retry-After asks, up to that).
        loading_seconds: how long a server may take to load its model.
    """

    request_seconds: float = 120.0
    attempts: int = 6
    longest_wait: float = 20.0
    loading_seconds: float = 600.0


class Endpoint:
    """A model behind an address, connected to lazily.

    Use as an async context manager; many requests may run at once over its connections.

    Args:
        address: base address, ending in ``/v1``.
        model: the id under which it is served.
        key_variable: name of the environment variable that holds the key; None for servers without one.
        retry: how long to go on trying.

    Raises:
        CannotRun: the variable is not set, or the address carries a login besides.
    """

    def __init__(
        self, address: str, model: str, *, key_variable: str | None = None, retry: RetryPolicy | None = None
    ) -> None:
        login = urlsplit(address)
        self.address, self.model = _without_login(address).rstrip("/"), model
        self.shown_address = without_credentials(self.address)
        self.retry = retry or RetryPolicy()
        self._key_variable = key_variable
        if key_variable is not None and not os.environ.get(key_variable):
            raise CannotRun(
                f"{model} at {self.shown_address} needs a key: set the environment variable {key_variable}"
            )
        if key_variable is not None and login.username:
            raise CannotRun(
                f"{model} at {self.shown_address}: the address carries a user and the card a key ({key_variable}), and a request has "
                "room for one of them; leave the user out of the address, or the key out of the card"
            )
        self._secrets = secrets_of(address, os.environ.get(key_variable or ""))
        self._client = openai.AsyncOpenAI(
            api_key=os.environ[key_variable] if key_variable else "none",
            base_url=self.address,
            default_headers={"Authorization": f"Basic {_login(login)}"} if login.username else None,
            timeout=self.retry.request_seconds,
            max_retries=0,
            http_client=openai.DefaultAioHttpClient(
                timeout=self.retry.request_seconds, event_hooks={"response": [_read_bounded]}
            ),
        )
        self.requests_sent = 0
        self.discarded = Usage()
        """Tokens of replies that did not count."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def models(self) -> list[str]:
        """Return the ids of the models served. Raises what the client raises."""
        listed: Any = await self._client.get("/models", cast_to=object)
        return redacted([str(m["id"]) for m in listed["data"]], self._secrets)

    async def ready(self) -> None:
        """Wait until the server serves the model.

        Raises:
            ServerGone: nothing answers, or it is still loading after ``retry.loading_seconds``.
            CannotRun: the key is wrong, or the model is not served there.
        """
        loop = asyncio.get_running_loop()
        started, loading = loop.time(), False
        served: list[str] = []
        refused: int | None = None
        while True:
            try:
                served = await asyncio.wait_for(self.models(), 20)
                break
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                refused = error.status_code
                break
            except openai.NotFoundError:
                return  # some hosts list no models: the first request will tell
            except openai.APIStatusError as error:
                loading, seen = True, f"HTTP {error.status_code}"
            except (openai.APIConnectionError, TimeoutError, ValueError, KeyError, TypeError) as error:
                seen = type(error).__name__
            waited = loop.time() - started
            if waited > (self.retry.loading_seconds if loading else 2 * self.retry.longest_wait):
                state = "is still loading" if loading else "does not answer"
                raise ServerGone(
                    f"the server at {self.shown_address} {state} after {waited:.0f} s ({seen}); start it, or give its "
                    "address with --set SYSTEM:server=http://HOST:PORT/v1"
                )
            await asyncio.sleep(min(1.0, self.retry.longest_wait))
        if refused is not None:
            # Outside the handler: a server may repeat the key in its words, and a chained error would carry them.
            raise self._wrong_key(refused)
        if served and self.model not in served:
            raise CannotRun(
                f"the server at {self.shown_address} does not serve {self.model!r}; {nearest(self.model, served)}"
            )

    async def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send one chat request and return the reply as JSON.

        Raises:
            Rejected: the server is well and refuses, or fails on, this request again and again.
            ServerGone: it does not answer any more, or keeps asking to slow down.
            CannotRun: the key is wrong, or the model is not served.
        """
        refused: int | None = None
        try:
            async for attempt in tenacity.AsyncRetrying(
                stop=self._enough,
                wait=self._pause,
                retry=tenacity.retry_if_exception(_transient),
                reraise=True,
            ):
                with attempt:
                    return self._counting(await self._send("/chat/completions", body), body)
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            refused = error.status_code
        except openai.NotFoundError as error:
            raise CannotRun(
                f"the server at {self.shown_address} does not serve {self.model!r} ({self._server_message(error)})"
            ) from None
        except openai.RateLimitError:
            raise ServerGone(
                f"the server at {self.shown_address} kept asking to slow down (HTTP 429, {self.retry.attempts} attempts); "
                "what it answered is stored: run again later, or lower the concurrency"
            ) from None
        except openai.APIStatusError as error:
            if error.status_code not in TRANSIENT_STATUS:
                words = f"HTTP {error.status_code}: {self._server_message(error)}"
                raise Rejected(words, final=True) from None
            await self._must_be_well(error)
            raise Rejected(
                f"HTTP {error.status_code}, {self.retry.attempts} times: {self._server_message(error)}"
            ) from None
        except BadReply as error:
            await self._must_be_well(error)
            raise Rejected(f"{error}, {min(self.retry.attempts, BAD_ATTEMPTS)} times") from None
        except openai.APIConnectionError as error:
            await self._must_be_well(error)
            words = redacted(str(error) or type(error).__name__, self._secrets)
            raise Rejected(f"{words}, {self.retry.attempts} times") from None
        raise self._wrong_key(refused or 401)

    async def tokens(self, text: str) -> list[int]:
        """Return the token ids of a text, as vLLM's ``/tokenize`` gives them (without special tokens).

        Raises:
            CannotRun: the server has no such door.
        """
        root = self.address.removesuffix("/v1")
        body = {"model": self.model, "prompt": text, "add_special_tokens": False}
        try:
            found = await self._send(f"{root}/tokenize", body)
            return [int(t) for t in found["tokens"]]
        except (openai.OpenAIError, BadReply, KeyError, TypeError, ValueError) as error:
            raise CannotRun(
                f"the server at {self.shown_address} does not tell how it cuts text into tokens (/tokenize: {self._server_message(error)}), "
                "which label likelihoods need; use mode: choice there"
            ) from None

    async def _send(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.requests_sent += 1
        try:
            # The client's own timeout starts anew with every byte.
            async with asyncio.timeout(self.retry.request_seconds):
                reply: Any = await self._client.post(path, cast_to=object, body=dict(body))
        except (TimeoutError, openai.APITimeoutError):
            raise BadReply(f"no whole reply within {self.retry.request_seconds:g} s") from None
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, BadReply):
                raise error.__cause__ from None
            raise
        except (ValueError, openai.APIResponseValidationError) as error:
            raise BadReply(f"the reply is no JSON ({type(error).__name__})") from None
        if isinstance(reply, str) and reply.lstrip().startswith("<"):
            raise BadReply("the reply is a web page, not JSON")
        if not isinstance(reply, dict):
            raise BadReply(f"the reply is no JSON object but {type(reply).__name__}")
        return redacted(reply, self._secrets) if self._secrets else reply

    def _counting(self, reply: dict[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a reply that counts; see :func:`unusable`."""
        problem = unusable(reply, wanted(body))
        if problem is not None:
            self.discarded += usage_of(reply)
            raise BadReply(problem)
        return reply

    def _enough(self, state: tenacity.RetryCallState) -> bool:
        """Whether to send no more: a reply that is of no use costs tokens or time, and rarely comes out otherwise."""
        error = state.outcome.exception() if state.outcome else None
        most = min(self.retry.attempts, BAD_ATTEMPTS) if isinstance(error, BadReply) else self.retry.attempts
        return state.attempt_number >= most

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Seconds until the next attempt: what the server asks for, else exponential with full jitter."""
        error = state.outcome.exception() if state.outcome else None
        asked = (
            error.response.headers.get("retry-after") if isinstance(error, openai.APIStatusError) else None
        )
        try:
            return min(float(asked or ""), self.retry.longest_wait)
        except ValueError:
            jitter = tenacity.wait_random_exponential(multiplier=0.5, max=self.retry.longest_wait)
            return jitter(state)

    async def _must_be_well(self, cause: Exception) -> None:
        """Tell a server that fails on one request from one that is gone."""
        try:
            await asyncio.wait_for(self.models(), min(10, self.retry.request_seconds))
        except openai.NotFoundError:
            return
        except (openai.OpenAIError, TimeoutError, ValueError, KeyError, TypeError):
            raise ServerGone(
                f"the server at {self.shown_address} is gone ({type(cause).__name__}); what it answered is stored: start it "
                "again and run again"
            ) from None

    def _server_message(self, error: BaseException) -> str:
        """Return a server's own words, on one line, cut, and without the key."""
        body = error.body if isinstance(error, openai.APIError) else None
        inner = body.get("error", body) if isinstance(body, dict) else None
        text = str(inner.get("message") or error) if isinstance(inner, dict) else str(error)
        text = redacted(text, self._secrets)
        line = " ".join(text.split())
        return line if len(line) <= QUOTED else line[: QUOTED - 1] + "…"

    def _wrong_key(self, status: int) -> CannotRun:
        source = f"the key in {self._key_variable}" if self._key_variable else "requests without a key"
        return CannotRun(f"the server at {self.shown_address} refuses {source} (HTTP {status})")


class BadReply(Exception):
    """What came back is not what the interface promises."""


def without_credentials(address: str) -> str:
    """Return an address without user, password and query.

    >>> without_credentials("https://me:secret@host:8000/v1?key=secret")
    'https://host:8000/v1'
    """
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _without_login(address: str) -> str:
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _login(parts: SplitResult) -> str:
    """Return user and password as HTTP's basic authentication sends them; the HTTP library takes no address that carries them."""
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def secrets_of(address: str, key: str | None) -> list[str]:
    """Return what a server may know and nobody else: the key, and what an address carries, in each form it is sent in.

    The longest first, so that no part of one is left behind by another.

    >>> secrets_of("https://me:p%40ss@host/v1?token=abc", "sk-1")
    ['bWU6cEBzcw==', 'p%40ss', 'p@ss', 'sk-1', 'abc']
    """
    parts = urlsplit(address)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    found = {key or "", *(value for _, value in parse_qsl(parts.query))}
    if password:
        found |= {parts.password or "", password, _login(parts)}
    elif user:  # a token in the place of a name
        found |= {parts.username or "", user, _login(parts)}
    return sorted(found - {""}, key=lambda secret: (-len(secret), secret))


def redacted(value: T, secrets: Sequence[str]) -> T:
    """Return JSON without the secrets that its strings hold.

    >>> redacted({"a": ["my key", 1]}, ["key"])
    {'a': ['my …', 1]}
    """
    found: Any = value
    if isinstance(found, str):
        for secret in secrets:
            found = found.replace(secret, "…")
    elif isinstance(found, dict):
        found = {redacted(k, secrets): redacted(v, secrets) for k, v in found.items()}
    elif isinstance(found, list):
        found = [redacted(v, secrets) for v in found]
    return cast("T", found)


async def _read_bounded(response: Any) -> None:
    """Read a response of any status up to the limit; a server may send without end."""
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > LARGEST_REPLY:
            raise BadReply(f"the reply is larger than {LARGEST_REPLY // 2**20} MiB")
        parts.append(part)
    response._content = b"".join(parts)  # as its own aread() does, which knows no limit


def _transient(error: BaseException) -> bool:
    if isinstance(error, openai.APIStatusError):
        return error.status_code in TRANSIENT_STATUS
    return isinstance(error, openai.APIConnectionError | BadReply)
