"""Memory that ran out, on a GPU or beside it: how it is known, how it is given back, and how much audio goes in after it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from bench.protocols import SAMPLE_RATE, Waveform

NO_MEMORY = ("not enough memory", "can't allocate memory", "cannot allocate memory")
"""What torch's CPU allocator says, in lower case, in a plain RuntimeError."""
NO_GPU_MEMORY = ("out of memory", "alloc_failed")
"""What CUDA and its libraries say (cuBLAS, cuDNN) in an exception that names one of them, where torch's own class is not raised."""


def ran_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or one that it was raised from, means that memory ran out.

    torch's class is known by its name, since torch is not wanted in every process.

    Args:
        error: any exception.

    >>> ran_out_of_memory(MemoryError()), ran_out_of_memory(RuntimeError("CUDA error: out of memory")), ran_out_of_memory(ValueError())
    (True, True, False)
    """
    while error is not None:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        said = str(error).lower() if isinstance(error, RuntimeError) else ""
        if any(words in said for words in NO_MEMORY):
            return True
        if said.startswith(("cuda", "cudnn", "cublas")) and any(words in said for words in NO_GPU_MEMORY):
            return True
        error = error.__cause__
    return False


def give_back_memory() -> None:
    """Give back what nobody refers to any more, and what torch keeps of the GPU for later."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


@dataclass
class AudioBatch:
    """How much audio goes in at a time; less, for good, after memory ran out.

    Args:
        seconds: of audio, padding to the longest clip counted.
    """

    seconds: float

    def first(self, lengths: Sequence[float]) -> int:
        """How many of these clips go in together, from the first on: one at least.

        Args:
            lengths: of each clip in seconds, shortest first.

        >>> AudioBatch(6.0).first([1.0, 2.0, 2.0, 3.0])
        3
        """
        count = min(1, len(lengths))
        while count < len(lengths) and (count + 1) * lengths[count] <= self.seconds:
            count += 1
        return count

    def halve(self, waveforms: Sequence[Waveform]) -> None:
        """Memory ran out at these clips: from now on half as much.

        Args:
            waveforms: that were too many, shortest first.
        """
        half = (len(waveforms) + 1) // 2
        self.seconds = min(self.seconds, half * len(waveforms[-1]) / SAMPLE_RATE)
        give_back_memory()
