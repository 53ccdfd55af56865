"""Conditions: what is done to audio before a system hears it, as names with a number in them.

``clean`` · ``noise-20db`` (pink), ``white-20db``, ``babble-20db``, ``recorded-20db`` · ``reverb``, ``reverb-0.3s`` · ``telephone`` ·
``opus-16k``, ``mp3-32k`` · ``speed-0.9`` · ``cut-2s`` · ``pad-30s``, ``tile-30s``. What each does to the samples is in
:mod:`bench.audio.degradation`; here is the grammar. Their identity in keys and the store of what
came out: :mod:`bench.audio.conditioned`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.errors import CannotRun, nearest
from bench.storage.atomic import clear_os_errors

FORMAT = "serbench-conditions-1"
"""Raised whenever the same condition would give other samples."""
CLEAN = "clean"
NOISE_VARIABLE = "SERBENCH_NOISE"
NOISE_ENDINGS = (".wav", ".flac", ".ogg", ".mp3")
MP3_RATES = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
"""Kilobits per second that MPEG-2 layer III has at 16 kHz."""


@dataclass(frozen=True)
class ConditionKind:
    """One kind of condition: the number it takes, in which unit and range, and the packages whose code decides the samples."""

    says: str
    unit: str = ""
    low: float = 0.0
    high: float = 0.0
    default: float | None = None
    number: bool = True
    packages: tuple[str, ...] = ()


KINDS: Mapping[str, ConditionKind] = {
    CLEAN: ConditionKind("the audio as it is", number=False),
    "noise": ConditionKind("pink noise at a signal-to-noise ratio", "db", -20, 60, packages=("numpy",)),
    "white": ConditionKind("white noise at a signal-to-noise ratio", "db", -20, 60, packages=("numpy",)),
    "babble": ConditionKind("six other voices of the same task", "db", -20, 60, packages=("numpy",)),
    "recorded": ConditionKind(f"a recording from the folder {NOISE_VARIABLE}", "db", -20, 60, packages=("numpy",)),
    "reverb": ConditionKind(
        "a room of that reverberation time (Sabine)", "s", 0.1, 0.8, 0.5,
        packages=("numpy", "scipy", "pyroomacoustics"),
    ),
    "telephone": ConditionKind("300–3400 Hz at 8 kHz through G.711 µ-law", number=False, packages=("scipy", "soxr", "av")),
    "opus": ConditionKind("Opus at that many kbit/s", "k", 6, 256, packages=("soxr", "av")),
    "mp3": ConditionKind("MP3 at that many kbit/s", "k", 8, 160, packages=("soxr", "av")),
    "speed": ConditionKind("played faster or slower, pitch included", "", 0.5, 2.0, packages=("soxr",)),
    "cut": ConditionKind("at most the middle so many seconds", "s", 0.1, 3600),
    "pad": ConditionKind("trailing silence up to a length", "s", 0.1, 3600),
    "tile": ConditionKind("repeated up to a length", "s", 0.1, 3600),
}  # fmt: skip
EXAMPLES = (
    CLEAN, "noise-20db", "white-10db", "babble-10db", "recorded-10db", "reverb", "reverb-0.3s", "telephone", "opus-16k",
    "mp3-32k", "speed-0.9", "cut-2s", "pad-30s", "tile-30s",
)  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """A parsed condition: its kind and number, and the name that says both."""

    name: str
    kind: str
    amount: float = 0.0


def parse_condition(text: str) -> Condition:
    """Parse a condition's name.

    Raises:
        ValueError: no such kind, a number out of range or in another unit; the message names the nearest valid one.

    >>> parse_condition("noise-20db")
    Condition(name='noise-20db', kind='noise', amount=20.0)
    >>> parse_condition("reverb").amount
    0.5
    """
    parts = re.fullmatch(r"([a-z0-9]+?)(?:-(-?\d+(?:\.\d+)?)([a-z]*))?", text)
    kind = KINDS.get(parts[1]) if parts else None
    if parts is None or kind is None:
        raise ValueError(f"{text!r} is no condition; {nearest(text, EXAMPLES, shown=len(EXAMPLES))}")
    name, number, unit = parts[1], parts[2], parts[3] or ""
    if not kind.number:
        if number is not None:
            raise ValueError(f"{text!r}: {name} takes no number; write {name!r}")
        return Condition(name, name)
    if number is None and kind.default is not None:
        return Condition(name, name, kind.default)
    form = f"{name}-NUMBER{kind.unit}"
    if number is None or unit != kind.unit:
        raise ValueError(f"{text!r}: expected {form}, like {_example(name)!r} ({kind.says})")
    amount = float(number)
    if not kind.low <= amount <= kind.high:
        raise ValueError(f"{text!r}: {form} takes {kind.low:g} to {kind.high:g}")
    if name == "mp3" and amount not in MP3_RATES:
        raise ValueError(f"{text!r}: MP3 has {', '.join(map(str, MP3_RATES))} kbit/s at 16 kHz")
    canonical = name if amount == kind.default else f"{name}-{amount:g}{kind.unit}"
    if text != canonical:
        raise ValueError(f"{text!r}: write {canonical!r}, so that one thing has one name")
    return Condition(canonical, name, amount)


def _example(kind: str) -> str:
    return next(e for e in EXAMPLES if e.partition("-")[0] == kind and "-" in e)


def noise_files() -> list[Path]:
    """Return the recordings of the folder that SERBENCH_NOISE names, in a fixed order.

    Raises:
        CannotRun: the variable names no folder, or one without recordings.
    """
    folder = Path(os.environ.get(NOISE_VARIABLE, ""))
    if not os.environ.get(NOISE_VARIABLE) or not folder.is_dir():
        raise CannotRun(
            f"the condition 'recorded-…db' needs noises: name a folder of recordings in {NOISE_VARIABLE}, or use noise-…db, "
            "white-…db or babble-…db, which need none"
        )
    with clear_os_errors(folder):
        found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in NOISE_ENDINGS)
    if not found:
        raise CannotRun(
            f"{folder}: holds no recording ({', '.join(NOISE_ENDINGS)}) to make 'recorded-…db' of"
        )
    return found
