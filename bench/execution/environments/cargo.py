"""Clips, examples and answers as messages carry them. Both sides import this, which needs numpy and the adapter API alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.protocols import Answers, Clips, Examples, Waveform

Body = dict[str, Any]
Arrays = dict[str, NDArray[Any]]


def pack_clips(clips: Clips, number: int, at: str = "") -> tuple[Body, Arrays]:
    """Clips without their audio, which is asked for by ``number``.

    Args:
        clips: the clips.
        number: under which the suite keeps them.
        at: what the names of arrays begin with.
    """
    body = {
        "number": number,
        "ids": clips.ids,
        "pcm_hashes": clips.pcm_hashes,
        "languages": clips.languages,
        "transcripts": clips.transcripts,
    }
    return body, {f"{at}seconds": clips.seconds}


def unpack_clips(
    body: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    read: Callable[[int, int], Waveform],
    at: str = "",
) -> Clips:
    """The clips of :func:`pack_clips`.

    Args:
        body: what was told.
        arrays: the numbers beside it.
        read: gives the waveform of a number and a clip's place.
        at: what the names of arrays begin with.
    """
    number = body["number"]
    return Clips(
        ids=tuple(body["ids"]),
        pcm_hashes=tuple(body["pcm_hashes"]),
        seconds=arrays[f"{at}seconds"],
        languages=tuple(body["languages"]),
        read=lambda i: read(number, i),
        transcripts=tuple(body["transcripts"]),
    )


def pack_examples(examples: Examples, number: int, at: str) -> tuple[Body, Arrays]:
    """Examples without their audio; see :func:`pack_clips`.

    Args:
        examples: clips with labels.
        number: under which the suite keeps their clips.
        at: what the names of arrays begin with.
    """
    body, arrays = pack_clips(examples.clips, number, at)
    arrays[f"{at}dimensions"] = examples.dimensions
    if examples.soft_labels is not None:
        arrays[f"{at}soft_labels"] = examples.soft_labels
    return {"clips": body, "labels": examples.labels, "speakers": examples.speakers}, arrays


def unpack_examples(
    body: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    read: Callable[[int, int], Waveform],
    at: str,
) -> Examples:
    """The examples of :func:`pack_examples`.

    Args:
        body: what was told.
        arrays: the numbers beside it.
        read: gives the waveform of a number and a clip's place.
        at: what the names of arrays begin with.
    """
    return Examples(
        clips=unpack_clips(body["clips"], arrays, read, at),
        labels=tuple(body["labels"]),
        dimensions=arrays[f"{at}dimensions"],
        speakers=tuple(body["speakers"]),
        soft_labels=arrays.get(f"{at}soft_labels"),
    )


def pack_answers(answers: Answers, at: str = "") -> tuple[Body, Arrays]:
    """Answers as the adapter gave them: what is wrong with them is for the suite to see."""
    body: Body = {
        "statuses": list(answers.statuses),
        "labels": _plain(answers.labels),
        "replies": None if answers.replies is None else _plain(answers.replies),
        "notes": _plain(answers.notes),
        "variants": {},
    }
    arrays: Arrays = {}
    for kind in ("probabilities", "dimensions"):
        if (given := getattr(answers, kind)) is not None:
            arrays[f"{at}{kind}"] = np.asarray(given)
    for place, (name, part) in enumerate(answers.variants.items()):
        inner = f"{at}{place}."
        told, numbers = pack_answers(part, inner)
        body["variants"][name] = told | {"at": inner}
        arrays |= numbers
    return body, arrays


def unpack_answers(body: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], at: str = "") -> Answers:
    """The answers of :func:`pack_answers`.

    Args:
        body: what was told.
        arrays: the numbers beside it.
        at: what the names of arrays begin with.
    """
    replies = body["replies"]
    return Answers(
        statuses=tuple(body["statuses"]),
        labels=tuple(body["labels"]),
        probabilities=arrays.get(f"{at}probabilities"),
        dimensions=arrays.get(f"{at}dimensions"),
        replies=None if replies is None else tuple(replies),
        notes=body["notes"],
        variants={name: unpack_answers(part, arrays, part["at"]) for name, part in body["variants"].items()},
    )


def _plain(value: Any) -> Any:
    """Numpy's numbers and arrays as plain ones."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(v) for v in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
