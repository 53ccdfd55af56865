"""The clips that an Audio-LLM is taught: those of a fold that have a label and went through its tower."""

from __future__ import annotations

from typing import Any

import torch

from adapters.audio_lm.tuning.loop import TaughtClips
from bench.errors import CannotRun
from bench.protocols import Examples, FitContext
from bench.storage.hashing import digest


def taught(examples: Examples, context: FitContext, which: str) -> TaughtClips:
    """The clips that have a label and went through the tower.

    Args:
        examples: of a fold.
        context: where the tower's output is stored.
        which: ``all``, or ``none`` for no clip.

    Raises:
        CannotRun: the tower's output is not stored.
    """
    if which == "none" or not len(examples):
        return no_clips()
    if context.features is None:
        raise CannotRun(
            "the tower's output is not stored: give the card a features section with "
            "encoder: adapters.audio_lm.tuning.tower:AudioTower, and pooled: false"
        )
    clips = examples.clips
    usable = [
        i for i, x in enumerate(examples.labels) if x is not None and clips.pcm_hashes[i] in context.features
    ]
    return TaughtClips(
        ids=tuple(clips.ids[i] for i in usable),
        labels=tuple(str(examples.labels[i]) for i in usable),
        languages=tuple(clips.languages[i] for i in usable),
        rows=tuple(torch.from_numpy(context.features[clips.pcm_hashes[i]][0].copy()) for i in usable),
    )


def no_clips() -> TaughtClips:
    """No clip at all."""
    return TaughtClips((), (), (), ())


def joined(a: TaughtClips, b: TaughtClips) -> TaughtClips:
    """The clips of both, in order."""
    return TaughtClips(a.ids + b.ids, a.labels + b.labels, a.languages + b.languages, a.rows + b.rows)


def described(clips: TaughtClips) -> list[Any]:
    """Clips by what decides a training: their labels, languages and rows, in order."""
    heard = digest(*(row.numpy().tobytes() for row in clips.rows))
    return [clips.ids, clips.labels, clips.languages, [[*r.shape] for r in clips.rows], heard]
