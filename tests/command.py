"""Running ``serbench`` inside the test's own process: what it printed and how it ended, without a second start-up."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from bench.cli import main


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The error it ended with; fails unless it is short, plain, and all that stands on standard error."""
        assert self.code in (1, 2), (self.code, self.out, self.err)
        lines = self.err.strip().splitlines()
        assert lines, "nothing was said"
        assert lines[0].startswith("error: ")
        assert "Traceback" not in self.err + self.out
        return self.err


Command = Callable[..., Said]


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs ``serbench`` with arguments."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr("sys.argv", ["serbench", *map(str, arguments)])
        before = signal.getsignal(signal.SIGTERM)
        capsys.readouterr()
        code: int | str | None = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        finally:
            signal.signal(signal.SIGTERM, before)
        out, err = capsys.readouterr()
        assert code is None or isinstance(code, int)
        return Said(code or 0, out, err)

    return run
