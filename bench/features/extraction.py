"""The pass over the audio: clips into an encoder, a batch at a time, and what is kept of each clip's frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from bench.errors import CannotRun, DataError
from bench.features.store import FloatArray, Keep
from bench.protocols import SAMPLE_RATE, Clips, Encoder, Progress, Waveform

CLIP_FAILURES = (DataError, RuntimeError, ValueError, ArithmeticError, AssertionError, IndexError, OSError)
"""What an encoder raises when a clip is at fault; anything else (CannotRun, a name error) stops the run."""

NO_MEMORY = ("not enough memory", "can't allocate memory", "cannot allocate memory")
"""What torch's CPU allocator says, in lower case, in a plain RuntimeError."""


def compute_features(
    encoder: Encoder,
    clips: Clips,
    indices: Sequence[int],
    pooled: bool,
    progress: Progress = lambda done, total: None,
    *,
    batch_seconds: float = 60.0,
) -> tuple[dict[str, FloatArray], dict[str, str]]:
    """:func:`compute_kept` for the means of frames (``pooled``), or for all frames.

    Args:
        encoder: the frozen encoder.
        clips: the clips to choose from.
        indices: which of them to encode.
        pooled: whether to keep means (layers, dims) or frames (layers, frames, dims).
        progress: called with clips done and clips in all.
        batch_seconds: seconds of audio, padding counted, that go in at a time.

    Returns:
        {PCM hash: float32 array}, and {PCM hash: why it failed}.

    Raises:
        CannotRun: no memory for a single clip.
    """
    (arrays,), failures = compute_kept(
        encoder, clips, indices, [Keep(pooled)], progress, batch_seconds=batch_seconds
    )
    return arrays, failures


def compute_kept(
    encoder: Encoder,
    clips: Clips,
    indices: Sequence[int],
    keeps: Sequence[Keep],
    progress: Progress = lambda done, total: None,
    *,
    batch_seconds: float = 60.0,
) -> tuple[tuple[dict[str, FloatArray], ...], dict[str, str]]:
    """Encode the clips at ``indices`` once: ({PCM hash: array} for each of ``keeps``, {PCM hash: why it failed}).

    Clips go in sorted by length, up to ``batch_seconds`` of audio at a time (what an encoder may put through together
    is its own affair). A batch that fails is taken again clip by clip, so that only the clip at fault fails; output that is empty or not
    finite is a failure of its clip. ``progress`` counts clips.

    Args:
        encoder: the frozen encoder.
        clips: the clips to choose from.
        indices: which of them to encode.
        keeps: what to keep of each clip's frames; all are made in one pass.
        progress: called with clips done and clips in all.
        batch_seconds: seconds of audio, padding counted, that go in at a time.

    Returns:
        One {PCM hash: float32 array} for each of ``keeps``, and {PCM hash: why it failed}.

    Raises:
        CannotRun: no memory for a single clip.
    """
    unique = {clips.pcm_hashes[i]: i for i in reversed(indices)}
    order = sorted(unique.values(), key=lambda i: (float(clips.seconds[i]), clips.pcm_hashes[i]))
    arrays: tuple[dict[str, FloatArray], ...] = tuple({} for _ in keeps)
    failures: dict[str, str] = {}
    done = 0
    for batch in _batches(order, clips, batch_seconds):
        waveforms: list[Waveform] = []
        readable: list[int] = []
        for i in batch:
            try:
                waveforms.append(clips.read(i))
                readable.append(i)
            except CLIP_FAILURES as error:
                failures[clips.pcm_hashes[i]] = str(error)
        for i, output in zip(readable, _encode(encoder, waveforms), strict=True):
            try:
                checked = _checked(output)
                for kept, keep in zip(arrays, keeps, strict=True):
                    kept[clips.pcm_hashes[i]] = keep.of(checked)
            except CLIP_FAILURES as error:
                failures[clips.pcm_hashes[i]] = str(error) or type(error).__name__
        done += len(batch)
        progress(done, len(order))
    return arrays, failures


def _batches(order: Sequence[int], clips: Clips, batch_seconds: float) -> Iterable[list[int]]:
    batch: list[int] = []
    for i in order:
        # Sorted by length: the newest clip is the longest, and its length times the count is what padding would cost.
        if batch and (len(batch) + 1) * float(clips.seconds[i]) > batch_seconds:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _encode(encoder: Encoder, waveforms: Sequence[Waveform]) -> list[FloatArray | Exception]:
    """One output or one error per waveform."""
    if len(waveforms) > 1:
        try:
            return list(_encode_exactly(encoder, waveforms))
        except (*CLIP_FAILURES, MemoryError) as error:
            if _out_of_memory(error):
                half = len(waveforms) // 2
                return [*_encode(encoder, waveforms[:half]), *_encode(encoder, waveforms[half:])]
            # Else one of them is at fault: find out which.
    outputs: list[FloatArray | Exception] = []
    for waveform in waveforms:
        try:
            outputs.extend(_encode_exactly(encoder, [waveform]))
        except (*CLIP_FAILURES, MemoryError) as error:
            if _out_of_memory(error):
                raise CannotRun(
                    f"The device has no memory for a single clip of {len(waveform) / SAMPLE_RATE:.1f} s: free it, choose "
                    "another --device, fewer --workers, or a smaller dtype of the system (--set SYSTEM:dtype=bfloat16)."
                ) from error
            outputs.append(error)
    return outputs


def _out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU (torch's class, found by name: torch is not wanted here) or on the CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in NO_MEMORY)


def _encode_exactly(encoder: Encoder, waveforms: Sequence[Waveform]) -> list[FloatArray]:
    outputs = encoder.encode(waveforms)
    if len(outputs) != len(waveforms):
        raise TypeError(
            f"{type(encoder).__name__}.encode answered {len(waveforms)} waveforms with {len(outputs)} arrays; "
            "it must give one array (layers, frames, dims) per waveform, in order."
        )
    return outputs


def _checked(output: FloatArray | Exception) -> FloatArray:
    if isinstance(output, Exception):
        raise output
    if output.ndim != 3 or 0 in output.shape:
        raise DataError(
            f"The encoder gave an array of shape {output.shape}; expected (layers, frames, dims)."
        )
    bad = int(output.size - np.count_nonzero(np.isfinite(output)))
    if bad:
        raise DataError(f"The encoder gave {bad} values that are not finite, of {output.size}.")
    return output
