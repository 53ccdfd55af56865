"""Processes that end with the one that started them, however that ends; only the standard library is needed to watch them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

POLL_SECONDS: Final = 0.5
CANNOT_START: Final = 127
"""Exit status where the command of a kept process does not exist, as a shell has it."""


def kept(command: Sequence[str]) -> list[str]:
    """A command line that runs a command as long as this process lives; its status is the command's."""
    start = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from bench.execution.keeper import keep; keep()"
    return [sys.executable, "-c", start, json.dumps(sys.path), str(os.getpid()), *command]


def keep() -> None:
    """Run the command that the arguments name, in a session of its own, and end with it or with the driver."""
    driver, command = int(sys.argv[2]), sys.argv[3:]
    stay_on_signals()
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        print(f"{command[0]} cannot be started ({error})", file=sys.stderr)
        sys.exit(CANNOT_START)
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            sys.exit(process.wait(timeout=POLL_SECONDS))
        if os.getppid() != driver:
            os.killpg(0, signal.SIGKILL)


def stay_on_signals() -> None:
    """Let the driver decide what Ctrl-C and a polite end mean, for processes that share its terminal or its job step.

    A handler, and not SIG_IGN: that would be inherited by whatever an adapter starts.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
