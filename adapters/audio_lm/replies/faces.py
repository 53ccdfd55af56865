"""Faces that are an answer by themselves: a reply of emoji alone."""

from __future__ import annotations

_FACES = {
    "neutral": "😐😑",
    "happy": "😀😃😄😁😆😊🙂😂🤣☺🥰",
    "sad": "😢😭😔☹🙁😿💔",
    "angry": "😠😡🤬👿",
    "fearful": "😨😱",
    "disgusted": "🤢🤮",
    "surprised": "😮😲😯",
}
"""By canonical name, as Unicode names them; one that means several things (😞 disappointed, 😰 anxious) is left out."""
_NAMES = {face: name for name, drawn in _FACES.items() for face in drawn}


def faces(text: str) -> list[str]:
    """Return the canonical names of the faces in a text, in order.

    >>> faces("😡!")
    ['angry']
    """
    return [_NAMES[c] for c in text if c in _NAMES]
