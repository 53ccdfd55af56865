"""The command line. It may import everything, does so lazily, and nothing imports it."""

from __future__ import annotations

import sys

from bench.errors import BenchError, printable


def main() -> None:
    """Run ``serbench``: one clear sentence for what a user can mend, exit code 0 done, 1 failed, 2 wrong usage."""
    import signal

    from bench.cli.app import app

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except BenchError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say("stopped; what is finished is kept, the same command goes on from there")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr)
