"""Emotion names: the canonical ones, their synonyms, and the views a task is scored in.

Everything here is read from ``tasks/labels.yaml``, the one table that decides where a label goes.
"""

from __future__ import annotations

import difflib
import functools
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from bench.cards.typed_yaml import Strict, parse_typed
from bench.errors import UsageError, nearest, quoted

View = Literal["native", "seven", "four"]
VIEWS: tuple[View, ...] = ("native", "seven", "four")
"""Label spaces, from the corpus's own classes to the smallest set that most corpora share."""


def fold_name(text: str) -> str:
    """Normalise a label for comparison: Unicode NFKC, case folded, separators as one space.

    >>> fold_name("  Pleasant_Surprise ")
    'pleasant surprise'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.replace("_", " ").replace("-", " ").split())


@dataclass(frozen=True)
class LabelTable:
    """The normative table: canonical names in order, their place in each view, their synonyms per language."""

    names: tuple[str, ...]
    views: dict[str, tuple[str, ...]]
    places: dict[str, dict[str, str | None]]
    """``places[view][canonical]`` is the label's name in the view, or None when it lies outside."""
    synonyms: dict[str, dict[str, tuple[str, ...]]]
    """``synonyms[canonical][language]``."""
    index: dict[str, str]

    def canonical(self, raw: str) -> str | None:
        """Return the canonical name for a raw label, or None when the table does not know it.

        >>> label_table().canonical("Happiness")
        'happy'
        """
        return self.index.get(fold_name(raw))

    def place(self, view: str, label: str) -> str | None:
        """Return a canonical label's name in a view, or None when it lies outside it, as a corpus's own classes do.

        >>> label_table().place("four", "excited"), label_table().place("four", "bored")
        ('happy', None)
        """
        if view == "native":
            return label
        if view not in self.places:
            raise UsageError(f"unknown view {view!r}: {nearest(view, VIEWS)}")
        return self.places[view].get(label)

    def near(self, name: str, also: Iterable[str] = ()) -> str:
        """Say which name, or which of its synonyms, comes closest to one that the table does not know.

        Args:
            name: as written.
            also: further names that would be right.

        >>> label_table().near("gladd")[:33]
        "did you mean 'glad' (our 'happy')"
        """
        folded = {**self.index, **{fold_name(x): x for x in also}}
        close = difflib.get_close_matches(fold_name(name), folded, n=1, cutoff=0.6)
        if not close:
            return nearest(name, [*also, *self.names])
        meant = folded[close[0]]
        shown = repr(close[0]) if fold_name(meant) == close[0] else f"{close[0]!r} (our {meant!r})"
        return f"did you mean {shown}? Known: {', '.join([*also, *self.names][:12])}, …, and their synonyms"

    def ordered(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Return distinct labels in the table's order, a corpus's own classes behind them in alphabetical order."""
        wanted = set(labels)
        return (*(n for n in self.names if n in wanted), *sorted(wanted - set(self.names)))

    def view_labels(self, view: str, native: Iterable[str]) -> tuple[str, ...]:
        """Return the classes of a view that a corpus with these native labels can have, in the view's order."""
        native = self.ordered(native)
        if view == "native":
            return native
        present = {self.place(view, n) for n in native}
        return tuple(v for v in self.views[view] if v in present)


class LabelEntry(Strict):
    """One canonical label as the file has it: its place in each view, and its words per language."""

    seven: str | None
    four: str | None
    synonyms: dict[str, tuple[str, ...]]


class LabelFile(Strict):
    """``tasks/labels.yaml``."""

    views: dict[Literal["seven", "four"], tuple[str, ...]]
    labels: dict[str, LabelEntry]


@functools.cache
def label_table() -> LabelTable:
    """Read ``tasks/labels.yaml`` (once)."""
    return parse_labels(
        files("tasks").joinpath("labels.yaml").read_text(encoding="utf-8"), "tasks/labels.yaml"
    )


def parse_labels(text: str, source: str) -> LabelTable:
    """Read a label table.

    Raises:
        UsageError: not such a table; a word under two labels; a place that is not in its view. Names file and line.
    """
    file = parse_typed(text, source, LabelFile)
    index: dict[str, str] = {}
    for name, entry in file.labels.items():
        for word in (name, *(s for words in entry.synonyms.values() for s in words)):
            other = index.setdefault(fold_name(word), name)
            if other != name:
                raise UsageError(f"{source}: {word!r} stands under both {other!r} and {name!r}; one must go")
    places: dict[str, dict[str, str | None]] = {
        "seven": {n: e.seven for n, e in file.labels.items()},
        "four": {n: e.four for n, e in file.labels.items()},
    }
    for view, placed in places.items():
        members = file.views.get(view)  # type: ignore[call-overload]  # the two keys above
        if not members:
            raise UsageError(f"{source}: the view {view!r} has no labels under 'views'")
        for name, place in placed.items():
            if place is not None and place not in members:
                raise UsageError(
                    f"{source}: {name}: {view}: {quoted(place)} is not in that view; {nearest(place[:80], [m[:80] for m in members])}"
                )
    return LabelTable(
        names=tuple(file.labels),
        views={view: tuple(members) for view, members in file.views.items()},
        places=places,
        synonyms={n: dict(e.synonyms) for n, e in file.labels.items()},
        index=index,
    )
