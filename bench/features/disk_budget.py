"""How much of the disk stored frames may take: means are small, frames are not."""

from __future__ import annotations

import os

from bench.errors import DataError, UsageError
from bench.features.store import FeatureStore

VARIABLE = "SERBENCH_FRAMES_GIB"
DEFAULT_GIB = "50"
GIB = 1 << 30


def frame_bound() -> int:
    """Bytes that all stored frames together may take: SERBENCH_FRAMES_GIB, else 50 GiB.

    Raises:
        UsageError: the variable holds no number above 0.
    """
    text = os.environ.get(VARIABLE, DEFAULT_GIB)
    try:
        bound = float(text)
    except ValueError:
        bound = 0.0
    if not 0.0 < bound < float("inf"):
        raise UsageError(f"{VARIABLE} is {text!r}; expected a number of GiB above 0, such as {VARIABLE}=200")
    return int(bound * GIB)


def require_room(store: FeatureStore, needed: int) -> None:
    """Refuse ``needed`` bytes of frames that would exceed the bound.

    Raises:
        DataError: with the frames stored so far they would.
    """
    stored, bound = sum(store.frame_bytes(key) for key in store.stored_keys()), frame_bound()
    if stored + needed > bound:
        raise DataError(
            f"frames in {store.root} take {stored / GIB:.2f} GiB and {needed / GIB:.2f} GiB more are needed, over the "
            f"bound of {bound / GIB:g} GiB. Free what no card reaches (serbench features gc --delete), raise {VARIABLE}, "
            "or keep fewer frames (features: {every: 5} on the card)"
        )
