"""A command that is told to stop stops, wherever Python was at that moment."""

from __future__ import annotations

import signal
import sys
import time
import weakref

import pytest

from bench.cli.interrupts import hear_interrupts


class Gone:
    pass


def interrupted_in_a_callback(sign: signal.Signals) -> None:
    """What is raised in the callback is dropped by Python; whoever is interrupted must not wait to the end."""
    gone = Gone()
    watch = weakref.ref(gone, lambda _: signal.raise_signal(sign))
    del gone
    assert watch() is None
    time.sleep(20)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_where_nobody_can_catch_it_is_raised_again(
    sign: signal.Signals, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    before = signal.getsignal(signal.SIGTERM)
    try:
        hear_interrupts()
        with pytest.raises(KeyboardInterrupt):
            interrupted_in_a_callback(sign)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capfd.readouterr().err == ""
