"""The pass over the audio: clips into an encoder, a batch at a time, and what is kept of each clip's frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from bench.errors import CannotRun, DataError
from bench.features.out_of_memory import AudioBatch, ran_out_of_memory
from bench.features.store import FloatArray, Keep
from bench.protocols import SAMPLE_RATE, Clips, Encoder, Progress, Waveform

MOST_CLIPS = 4096
"""Of very short clips, in one batch."""
CLIP_FAILURES = (DataError, RuntimeError, ValueError, ArithmeticError, AssertionError, IndexError, OSError)
"""What an encoder raises when a clip is at fault; anything else (CannotRun, a name error) stops the run."""


def compute_features(
    encoder: Encoder,
    clips: Clips,
    indices: Sequence[int],
    pooled: bool,
    progress: Progress = lambda done, total: None,
    *,
    batch_seconds: float | AudioBatch = 60.0,
) -> tuple[dict[str, FloatArray], dict[str, str]]:
    """:func:`compute_kept` for the means of frames (``pooled``), or for all frames.

    Args:
        encoder: the frozen encoder.
        clips: the clips to choose from.
        indices: which of them to encode.
        pooled: whether to keep means (layers, dims) or frames (layers, frames, dims).
        progress: called with clips done and clips in all.
        batch_seconds: seconds of audio, padding counted, that go in at a time. Where memory runs out the half of it goes in from
            then on; an :class:`AudioBatch` keeps that for the next call.

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
    batch_seconds: float | AudioBatch = 60.0,
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
        batch_seconds: seconds of audio, padding counted, that go in at a time. Where memory runs out the half of it goes in from
            then on; an :class:`AudioBatch` keeps that for the next call.

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
    limit = batch_seconds if isinstance(batch_seconds, AudioBatch) else AudioBatch(batch_seconds)
    for batch in _batches(order, clips, limit):
        waveforms: list[Waveform] = []
        readable: list[int] = []
        for i in batch:
            try:
                waveforms.append(clips.read(i))
                readable.append(i)
            except CLIP_FAILURES as error:
                failures[clips.pcm_hashes[i]] = str(error)
        for i, output in zip(readable, _encode(encoder, waveforms, limit), strict=True):
            try:
                checked = _checked(output)
                for kept, keep in zip(arrays, keeps, strict=True):
                    kept[clips.pcm_hashes[i]] = keep.of(checked)
            except CLIP_FAILURES as error:
                failures[clips.pcm_hashes[i]] = str(error) or type(error).__name__
        done += len(batch)
        progress(done, len(order))
    return arrays, failures


def _batches(order: Sequence[int], clips: Clips, limit: AudioBatch) -> Iterable[Sequence[int]]:
    start = 0
    while start < len(order):
        # What fits into the last batch of all is reckoned anew each time: memory may have run out meanwhile.
        count = limit.first([float(clips.seconds[i]) for i in order[start : start + MOST_CLIPS]])
        yield order[start : start + count]
        start += count


def _encode(
    encoder: Encoder, waveforms: Sequence[Waveform], limit: AudioBatch
) -> list[FloatArray | Exception]:
    """One output or one error per waveform, shortest first."""
    outputs: list[FloatArray | Exception] = []
    while len(outputs) < len(waveforms):
        left = waveforms[len(outputs) :]
        chosen = left[: limit.first([len(w) / SAMPLE_RATE for w in left])]
        found = _encode_together(encoder, chosen)
        if found is not None:
            outputs += found
        elif len(chosen) > 1:
            limit.halve(chosen)
        else:
            raise CannotRun(
                f"The device has no memory for a single clip of {len(chosen[0]) / SAMPLE_RATE:.1f} s: free it, choose "
                "another --device, fewer --workers, or a smaller dtype of the system (--set SYSTEM:dtype=bfloat16)."
            ) from MemoryError()
    return outputs


def _encode_together(
    encoder: Encoder, waveforms: Sequence[Waveform]
) -> Sequence[FloatArray | Exception] | None:
    """One output or one error per waveform; None where memory ran out."""
    try:
        return _encode_exactly(encoder, waveforms)
    except (*CLIP_FAILURES, MemoryError) as error:
        if ran_out_of_memory(error):
            return None
        if len(waveforms) == 1:
            return [error]
    outputs: list[FloatArray | Exception] = []  # one of them is at fault: find out which
    for waveform in waveforms:
        alone = _encode_together(encoder, [waveform])
        if alone is None:
            return None
        outputs += alone
    return outputs


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
