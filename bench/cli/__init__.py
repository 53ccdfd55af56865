"""The command line. It may import everything, does so lazily, and nothing imports it."""

from __future__ import annotations

import sys

from bench.errors import BenchError, printable

INTERRUPTED = 130
"""Exit code of a command that was stopped by a signal."""


def main() -> None:
    """Run ``serbench``: one clear sentence for what a user can mend, exit code 0 done, 1 failed, 2 wrong usage."""
    from bench.cli.app import app
    from bench.cli.interrupts import hear_interrupts
    from bench.cli.usage import WrongUsage, is_help, sentence

    hear_interrupts()
    try:
        _see_to_our_packages()
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # Typer makes this of a KeyboardInterrupt, without a word
            _stop()
        sys.exit(code)
    except BenchError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    except WrongUsage as error:
        if is_help(error):
            error.show()
        else:
            _say(f"error: {sentence(error)}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _stop()
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        if not _stopped(error):
            raise
        _stop()


def _stop() -> None:
    _say("stopped; what is finished is kept, the same command goes on from there")
    sys.exit(INTERRUPTED)


def _stopped(error: BaseException) -> bool:
    """Whether an error is what became of an interrupt: one that comes while a module is imported may be told as another."""
    while (before := error.__cause__ or error.__context__) is not None:
        if isinstance(before, KeyboardInterrupt):
            return True
        error = before
    return False


STARTS_ALL_THE_SAME = ("doctor", "--version", "--help")
"""What can be asked while another package stands in the place of one of ours."""


def _see_to_our_packages() -> None:
    """Name packages of other people under our names: cards vanish, and code of strangers runs, when Python finds those."""
    from bench.cli.own_packages import find_clashes

    clashes = find_clashes()
    hiding = [c.sentence for c in clashes if c.hides_ours]
    if hiding and not set(sys.argv[1:]) & set(STARTS_ALL_THE_SAME):
        raise BenchError("\n".join(hiding))
    for clash in clashes:
        _say(f"warning: {clash.sentence}")


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr)
