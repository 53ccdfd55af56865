"""What is said of a table beside its score: each kind of liberty taken in reading it, once, with how often and where first."""

from __future__ import annotations


class Remarks:
    """Kinds of things noticed while a table is read, in the order they were met."""

    def __init__(self) -> None:
        self._met: dict[str, tuple[int, str]] = {}

    def note(self, text: str, place: str = "") -> None:
        """Note one occurrence of something; ``text`` says what, ``place`` where it stood (blank: of the whole table)."""
        times, first = self._met.get(text, (0, place))
        self._met[text] = (times + 1, first)

    def sentences(self) -> tuple[str, ...]:
        """One sentence for each kind.

        >>> remarks = Remarks()
        >>> remarks.note("decimal commas are read as points", "line 2")
        >>> remarks.note("decimal commas are read as points", "line 3")
        >>> remarks.sentences()
        ('decimal commas are read as points (2 times, first in line 2)',)
        """
        return tuple(
            text if not first else f"{text} ({f'{times} times, first in' if times > 1 else 'in'} {first})"
            for text, (times, first) in self._met.items()
        )
