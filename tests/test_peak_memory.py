"""The memory that ``make perf`` reports is that of what it measures."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tests.peak_memory import forget_peak, largest_child_mebibytes, peak_mebibytes

SIZE = 300
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a peak be forgotten")


def hold(mebibytes: int) -> None:
    np.ones(mebibytes * 2**17)


@linux
def test_a_peak_of_before_is_not_counted() -> None:
    hold(SIZE)
    high = peak_mebibytes()
    forget_peak()
    before = peak_mebibytes()
    assert before < high - 0.8 * SIZE
    hold(SIZE // 2)
    assert peak_mebibytes() - before == pytest.approx(SIZE // 2, rel=0.1)


@linux
def test_a_program_does_not_inherit_the_peak_of_the_one_that_started_it() -> None:
    held = np.ones(SIZE * 2**17)
    program = "from tests.peak_memory import peak_mebibytes; print(peak_mebibytes())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < SIZE / 2
    assert len(held) == SIZE * 2**17


def test_processes_that_ended_are_counted() -> None:
    program = f"import numpy; numpy.ones({SIZE} * 2**17)"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert largest_child_mebibytes() >= SIZE
