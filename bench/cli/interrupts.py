"""What an interrupt means to a command: the same for Ctrl-C and a polite end, and it is never lost."""

from __future__ import annotations

import _thread
import signal
import sys
import threading

AGAIN_SECONDS = 0.05
"""After this time an interrupt that Python could not pass on is raised again."""


def hear_interrupts() -> None:
    """Have SIGTERM raise :class:`KeyboardInterrupt`, as SIGINT does, and raise what Python drops once more.

    Python raises it wherever it is. In a callback of a weak reference or a ``__del__`` (each import runs some) nobody can catch
    it: Python prints ``Exception ignored``, and the command would go on as if nobody had asked it to stop.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    sys.unraisablehook = _dropped


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _dropped(dropped: sys.UnraisableHookArgs) -> None:
    if not isinstance(dropped.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)
        return
    # Later, from elsewhere: raised here, it would be dropped again.
    again = threading.Timer(AGAIN_SECONDS, _thread.interrupt_main, (signal.SIGTERM,))
    again.daemon = True
    again.start()
