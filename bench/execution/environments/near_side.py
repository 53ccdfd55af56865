"""This side: an encoder and a predictor that work in an environment of their own, as any other to whoever uses them."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import select
import signal
import subprocess
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
import psutil
from numpy.typing import NDArray

from bench.errors import BenchError, CannotRun, DataError, NeedsServer, UsageError
from bench.execution.environments import boot, cargo
from bench.execution.environments.interpreter import Environment
from bench.execution.environments.wire import PROTOCOL, Garbled, Message, packed, receive
from bench.protocols import Answers, Clips, Examples, FitContext, Waveform, Weights
from bench.storage.source_code import split_dotted

HELLO_SECONDS = 120.0
SILENT_SECONDS = 3600.0
"""How long a request may go without an answer or any sign of life (a clip read, progress told)."""
SILENT_VARIABLE = "SERBENCH_ENVIRONMENT_SECONDS"
END_SECONDS = 5.0


class OutOfMemoryError(RuntimeError):
    """A device of the other side has no memory left; called as torch calls it, by which it is known."""


RAISED: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        NeedsServer, CannotRun, UsageError, DataError, BenchError, MemoryError, OutOfMemoryError, TypeError, KeyError, IndexError,
        ArithmeticError, AssertionError, OSError, ValueError, RuntimeError,
    )
}  # fmt: skip
"""What an exception of the other side becomes here: the first of its classes that is among these."""


class FarProcess:
    """A process in another environment with one adapter in it; it ends when this object does.

    Args:
        environment: whose Python is started.
        dotted: ``package.module:Name`` of the adapter.
        params: what it is built with.
        weights: found for it, or None.
        weights_always: given even where its signature does not name them.
    """

    def __init__(
        self,
        environment: Environment,
        dotted: str,
        params: Mapping[str, Any],
        weights: Weights | None,
        *,
        weights_always: bool = True,
    ) -> None:
        self.environment = environment
        self.clips: list[Clips] = []
        self.context: FitContext | None = None
        self._limit = _silent_seconds()
        self._process = _start(environment, dotted)
        self._end = weakref.finalize(self, _end, self._process)
        self._greet()
        told = None if weights is None else {k: _text(v) for k, v in vars(weights).items()}
        body = {"dotted": dotted, "params": params, "weights": told, "weights_always": weights_always}
        self.ask(Message("build", body))

    @property
    def ended(self) -> bool:
        """Whether it can be asked no more."""
        return not self._end.alive or self._process.poll() is not None

    def ask(self, request: Message) -> Message:
        """Send a request, answer what the other side asks meanwhile, and return what it answers.

        Raises:
            BenchError: it was silent for too long, and was ended.
            CannotRun: it died, or something else writes into the pipe.
            Exception: what the adapter raised, as the nearest class that is known here.
        """
        what = f"{request.kind} in the environment of {self.environment.system}"
        if self.ended:
            raise CannotRun(
                f"{what}: its process ended with an earlier request, and what it had learnt with it"
            )
        try:
            answer = self._exchange(request, what)
        except BaseException:
            self._kill()  # an interrupt, say: what comes next would be taken for the answer to another request
            raise
        if answer.kind == "error":
            _raise(answer.body, self.environment.system)
        return answer

    def _exchange(self, request: Message, what: str) -> Message:
        """Send a request, serve the other side while it works, and return how it ended."""
        self._send(request, what)
        while True:
            message = self._hear(what, self._limit)
            if message.kind in ("done", "error"):
                return message
            if message.kind == "progress" and self.context is not None:
                self.context.progress(message.body["done"], message.body["total"])
            elif message.kind != "progress":
                self._send(self._served(message), what)

    def _served(self, message: Message) -> Message:
        """What the other side wants of the suite: a clip's audio, or stored features."""
        told = message.body
        try:
            if message.kind == "read":
                return Message("value", arrays={"value": self.clips[told["number"]].read(told["i"])})
            features = None if self.context is None else self.context.features
            if message.kind == "feature" and features is not None:
                return Message("value", arrays={"value": np.asarray(features[told["pcm_hash"]])})
            if message.kind == "has_feature" and features is not None:
                return Message("value", {"value": told["pcm_hash"] in features})
        except Exception as error:  # noqa: BLE001 - the adapter sees what it would have seen here
            return Message("refused", {"type": type(error).__name__, "message": str(error)})
        self._kill()
        raise CannotRun(
            f"{self.environment.system}: its other side asked for {message.kind!r}, which is not known here"
        )

    def _greet(self) -> None:
        hello = self._hear(f"starting the environment of {self.environment.system}", HELLO_SECONDS)
        if hello.kind != "hello" or hello.body.get("protocol") != PROTOCOL:
            self._kill()
            raise CannotRun(
                f"{self.environment.python} speaks protocol {hello.body.get('protocol')}, expected {PROTOCOL}; build the environment anew"
            )

    def _send(self, message: Message, what: str) -> None:
        assert self._process.stdin is not None
        raw = memoryview(packed(message))
        deadline = time.monotonic() + self._limit
        pipe = self._process.stdin.fileno()
        try:
            while raw:
                if not select.select([], [pipe], [], max(0.0, deadline - time.monotonic()))[1]:
                    self._too_long(what, self._limit)
                raw = raw[os.write(pipe, raw) :]
        except (BrokenPipeError, ValueError):
            self._died(what)

    def _hear(self, what: str, seconds: float) -> Message:
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        pipe: IO[bytes] = self._process.stdout

        def read(count: int) -> bytes:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                self._too_long(what, seconds)
            return os.read(pipe.fileno(), count)

        try:
            return receive(read)
        except EOFError:
            self._died(what)
        except Garbled as error:
            self._kill()
            raise CannotRun(
                f"{what}: what came back is no message ({error}); does the adapter write to a file descriptor that is not its own?"
            ) from None

    def _too_long(self, what: str, seconds: float) -> NoReturn:
        self._kill()
        raise BenchError(
            f"{what}: no answer and no sign of life for {seconds:g} s; it was ended. Where it needs longer, set {SILENT_VARIABLE}"
        )

    def _died(self, what: str) -> NoReturn:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=END_SECONDS)
        code = self._process.poll()
        self._kill()
        how = "closed its pipe" if code is None else _how_it_ended(code)
        raise CannotRun(f"{what}: its process {how}; what it printed is above, or in run.log")

    def _kill(self) -> None:
        self._end()


class SeparateEncoder:
    """A frozen encoder in an environment of its own; see :class:`bench.protocols.Encoder`.

    ``start`` gives its process: a new one when the last one ended, for an encoder keeps nothing from clip to clip.
    """

    def __init__(self, start: Callable[[], FarProcess]) -> None:
        self._start, self._far = start, start()

    def encode(self, waveforms: Sequence[Waveform]) -> list[NDArray[np.float32]]:
        """One array (layers, frames, dims) per waveform."""
        if self._far.ended:
            self._far = self._start()
        answer = self._far.ask(Message("encode", arrays={str(i): w for i, w in enumerate(waveforms)}))
        return [answer.arrays[str(i)] for i in range(answer.body["count"])]


class SeparatePredictor:
    """A predictor in an environment of its own; see :class:`bench.protocols.Predictor`. What it learnt ends with its process."""

    def __init__(self, far: FarProcess) -> None:
        self._far = far

    def fit(self, train: Examples, dev: Examples, context: FitContext) -> None:
        """Learn from ``train``; the clips' audio is read here and sent as the adapter asks for it.

        Args:
            train: clips with labels to learn from.
            dev: clips of other speakers, to choose and stop on.
            context: what surrounds the fit; its features are read here too, and its progress told here.
        """
        self._far.context = context
        plain = ("labels", "dimensions", "seed", "device", "feature_params", "server", "max_cost", "log")
        body: dict[str, Any] = {
            "context": {k: getattr(context, k) for k in plain} | {"workdir": str(context.workdir.resolve())},
            "features": context.features is not None,
        }
        arrays: cargo.Arrays = {}
        for part, examples in (("train", train), ("dev", dev)):
            body[part], numbers = cargo.pack_examples(examples, self._keep(examples.clips), f"{part}.")
            arrays |= numbers
        self._far.ask(Message("fit", body, arrays))

    def predict(self, clips: Clips) -> Answers:
        """One answer per clip, in order."""
        answer = self._far.ask(Message("predict", *cargo.pack_clips(clips, self._keep(clips))))
        return cargo.unpack_answers(answer.body, answer.arrays)

    def _keep(self, clips: Clips) -> int:
        """Keep clips for as long as the adapter may ask for their audio; under which number."""
        self._far.clips.append(clips)
        return len(self._far.clips) - 1


def _start(environment: Environment, dotted: str) -> subprocess.Popen[bytes]:
    """Start the other side: in the same process group, so that it ends with its worker."""
    top = split_dotted(dotted)[0].partition(".")[0]
    found = importlib.util.find_spec(top)
    if found is None or found.origin is None:
        raise UsageError(f"no module named {top!r}: put the adapter's code beside its card, or install it")
    order = {
        "suite": str(Path(boot.__file__).parents[2]),
        "adapter": str(Path(found.origin).resolve()),
        "top": top,
    }
    try:
        return subprocess.Popen(
            [environment.python, "-I", str(Path(boot.__file__)), json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
    except OSError as error:
        raise CannotRun(f"{environment.python} cannot be started ({error})") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process with all that it started."""
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in family:
        with contextlib.suppress(psutil.Error):
            child.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=END_SECONDS)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _raise(told: Mapping[str, Any], system: str) -> NoReturn:
    """Raise here what the adapter raised there; the log gets the calls that led to it."""
    own, *bases = told["types"]
    kind = next((RAISED[name] for name in (own, *bases) if name in RAISED), BenchError)
    message = told["message"] if kind.__name__ == own else f"{own}: {told['message']}"
    error = kind(message)
    error.add_note(f"In the environment of {system}:\n{told['tail'].rstrip()}")
    raise error


def _silent_seconds() -> float:
    given = os.environ.get(SILENT_VARIABLE)
    try:
        seconds = SILENT_SECONDS if given is None else float(given)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise UsageError(f"{SILENT_VARIABLE} is {given!r}, expected seconds, like 3600")
    return min(seconds, 1e9)


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def _text(value: Any) -> Any:
    return str(value.resolve()) if isinstance(value, Path) else value
