"""The other side: builds an adapter in its own environment, and does what the suite asks of it.

Imported there by ``boot.py``; it needs numpy, pyarrow and the adapter API, and nothing of the suite's own environment.
"""

from __future__ import annotations

import importlib
import inspect
import os
import platform
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.errors import CannotRun, DataError, UsageError
from bench.execution.environments import cargo
from bench.execution.environments.wire import PROTOCOL, Message, packed, receive
from bench.protocols import Answers, FitContext, Waveform, Weights

TAIL_FRAMES = 6
"""Calls of a traceback that cross the border, the last ones."""


class Line:
    """The pipe to the suite, seen from here."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._in, self._out = incoming, outgoing
        self._owner = os.getpid()
        self._turn = threading.RLock()
        self.working = False
        """Whether a request is being worked on: only then does the suite listen."""

    def tell(self, message: Message, *, last: bool = False) -> None:
        """Send a message; the ``last`` one ends a request. Between requests the suite wants to know of nothing."""
        raw = memoryview(packed(message))
        with self._turn:
            if message.kind == "progress" and not self.working:
                return
            self.working = self.working and not last
            while raw:
                raw = raw[os.write(self._out, raw) :]

    def hear(self) -> Message:
        """Wait for a message."""
        return receive(lambda count: os.read(self._in, count))

    def ask(self, kind: str, **body: Any) -> Message:
        """Ask the suite for something while it waits for an answer."""
        if os.getpid() != self._owner:
            raise RuntimeError(
                "audio and features can be read in the adapter's own process alone: let loaders use no worker processes (num_workers=0)"
            )
        with self._turn:
            if not self.working:
                raise RuntimeError(
                    "audio and features can be read while fit or predict runs, and not by a thread afterwards"
                )
            self.tell(Message(kind, body))
            answer = self.hear()
        if answer.kind == "refused":
            raise _REFUSALS.get(answer.body["type"], DataError)(answer.body["message"])
        return answer


_REFUSALS: dict[str, type[Exception]] = {"KeyError": KeyError, "CannotRun": CannotRun}


class RemoteFeatures:
    """Stored features, read through the pipe; see :class:`bench.protocols.FeatureReader`."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def __getitem__(self, pcm_hash: str) -> NDArray[np.float32]:
        return self._line.ask("feature", pcm_hash=pcm_hash).arrays["value"]

    def __contains__(self, pcm_hash: object) -> bool:
        return bool(self._line.ask("has_feature", pcm_hash=str(pcm_hash)).body["value"])


class Desk:
    """The adapter, and one method for each request."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._adapter: Any = None

    def answer(self, request: Message) -> Message:
        """Do what is asked."""
        does = {"build": self.build, "encode": self.encode, "fit": self.fit, "predict": self.predict}
        if request.kind not in does:
            raise UsageError(f"the other side knows no request {request.kind!r}")
        return does[request.kind](request)

    def build(self, request: Message) -> Message:
        """Import the adapter and call it with its parameters."""
        told = request.body
        made = _imported(told["dotted"])
        params = dict(told["params"])
        if told["weights"] is not None and (told["weights_always"] or _takes_weights(made)):
            params["weights"] = _weights(told["weights"])
        try:
            self._adapter = made(**params)
        except TypeError as error:
            raise UsageError(
                f"{told['dotted']} does not take these parameters ({error}); given: {', '.join(sorted(params))}"
            ) from error
        return Message("done")

    def encode(self, request: Message) -> Message:
        """Encode waveforms, in the order of their names."""
        waveforms = [request.arrays[str(i)] for i in range(len(request.arrays))]
        given = self._adapter.encode(waveforms)
        return Message("done", {"count": len(given)}, {str(i): np.asarray(a) for i, a in enumerate(given)})

    def fit(self, request: Message) -> Message:
        """Fit on examples."""
        told = request.body
        context = FitContext(
            **told["context"]
            | {"labels": tuple(told["context"]["labels"]), "workdir": Path(told["context"]["workdir"])},
            features=RemoteFeatures(self._line) if told["features"] else None,
            progress=lambda done, total: self._line.tell(
                Message("progress", {"done": float(done), "total": float(total)})
            ),
        )
        train, dev = (
            cargo.unpack_examples(told[part], request.arrays, self._read, f"{part}.")
            for part in ("train", "dev")
        )
        self._adapter.fit(train, dev, context)
        return Message("done")

    def predict(self, request: Message) -> Message:
        """Answer clips."""
        answers = self._adapter.predict(cargo.unpack_clips(request.body, request.arrays, self._read))
        if not isinstance(answers, Answers):
            raise TypeError(f"predict gave {type(answers).__name__}, expected bench.protocols.Answers")
        try:
            return _checked(Message("done", *cargo.pack_answers(answers)))
        except (TypeError, ValueError) as error:
            raise DataError(f"the adapter's answers hold what is neither text nor number: {error}") from error

    def _read(self, number: int, i: int) -> Waveform:
        return self._line.ask("read", number=number, i=int(i)).arrays["value"]


def serve(incoming: int, outgoing: int) -> None:
    """Say hello, then do what is asked until the pipe closes."""
    threading.Thread(target=_follow_parent, args=(os.getppid(),), daemon=True).start()
    line = Line(incoming, outgoing)
    desk = Desk(line)
    versions = {"python": platform.python_version(), "numpy": np.__version__, "pyarrow": pa.__version__}
    line.tell(Message("hello", {"protocol": PROTOCOL, "versions": versions}))
    while True:
        try:
            request = line.hear()
        except EOFError:
            return
        line.working = True
        try:
            answer = _checked(desk.answer(request))
        except BaseException as error:  # noqa: BLE001 - an adapter may raise anything; the suite decides what it means
            answer = Message("error", _told(error))
        try:
            line.tell(answer, last=True)
        except BrokenPipeError:
            return


def _checked(message: Message) -> Message:
    """The message, which can be packed."""
    packed(message)
    return message


def _told(error: BaseException) -> dict[str, Any]:
    """An exception in words: what it is, what it says, and the last calls that led to it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename not in (__file__, cargo.__file__)] or frames
    return {
        "types": [kind.__name__ for kind in type(error).__mro__],
        "message": str(error),
        "tail": "".join(traceback.format_list(own[-TAIL_FRAMES:])),
    }


def _follow_parent(parent: int) -> None:
    """End when the suite's process is gone, in the middle of a request too."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _imported(dotted: str) -> Any:
    module, _, name = dotted.partition(":")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise CannotRun(
            f"{dotted} cannot be imported in its own environment ({sys.prefix}): {error}. Add what is missing to its requirements file, "
            "and build that anew"
        ) from error
    try:
        return getattr(found, name)
    except AttributeError:
        raise UsageError(f"{module} has no {name!r}") from None


def _takes_weights(made: Any) -> bool:
    taken = inspect.signature(made).parameters.values()
    return any(p.name == "weights" or p.kind is p.VAR_KEYWORD for p in taken)


def _weights(told: Mapping[str, Any]) -> Weights:
    paths = {k: None if told[k] is None else Path(told[k]) for k in ("folder", "file")}
    return Weights(**{**told, **paths})
