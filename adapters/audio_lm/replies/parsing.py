"""The deterministic reader of free replies: one label, or an honest "unparsed" or "refused". It never guesses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from adapters.audio_lm.replies.corrections import after_correction
from adapters.audio_lm.replies.cues import cue_pattern, languages_read
from adapters.audio_lm.replies.decision import Reading, read_answer
from adapters.audio_lm.replies.faces import faces
from adapters.audio_lm.replies.letters import letter_of, lone_letter, stated_letters
from adapters.audio_lm.replies.mentions import Lexicon, lexicon
from adapters.audio_lm.replies.normalising import LONGEST_RAW, LONGEST_TEXT, plain, visible
from adapters.audio_lm.replies.structure import (
    Fields,
    after_reasoning,
    headed_answers,
    is_answer_key,
    is_object,
    json_objects,
    scored_names,
    tagged_answers,
    takes_another_turn,
)

_NOTHING = Reading("none")
_UNCERTAIN = Reading("many")
_DEEPEST = 3
_LONGEST_SCORE_LIST = 2_000


@dataclass(frozen=True)
class Reply:
    """What a reply says: ``status`` as in the prediction table, and the label where the status is ``ok``."""

    status: Literal["ok", "unparsed", "refused"]
    label: str | None = None


def parse_reply(
    text: str, labels: Sequence[str], *, language: str = "en", options: Sequence[str] | None = None
) -> Reply:
    """Read a free reply as one of the labels on offer; never raises, whatever the text.

    Args:
        text: the reply as it came.
        labels: the canonical names on offer; the answer may use any synonym of ``tasks/labels.yaml`` in any language. An
            emotion that is not on offer is never turned into one that is, not even where a view would merge the two.
        language: of the prompt; cues of that language (denial, contrast, refusal) are read beside those always read.
        options: the labels in the order of their letters A, B, C …; without it a letter is no answer.

    Returns:
        ``ok`` and one of the labels, or ``unparsed`` or ``refused`` and None.

    >>> parse_reply("The speaker is not angry but sad.", ["happy", "sad", "angry"])
    Reply(status='ok', label='sad')
    >>> parse_reply("happy or surprised", ["happy", "surprised"]).status
    'unparsed'
    >>> parse_reply("(B)", ["happy", "sad"], options=["happy", "sad"]).label
    'sad'
    """
    shortened = after_reasoning(text)
    if shortened is None or len(shortened.strip()) > LONGEST_RAW or takes_another_turn(shortened):
        return Reply("unparsed")
    seen = visible(shortened.strip())
    shown = plain(seen)
    if not seen or max(len(seen), len(shown)) > LONGEST_TEXT:
        return Reply("unparsed")
    reader = _ReplyReader(lexicon(tuple(labels)), language, tuple(options or ()))
    reading = reader.read(seen, shown)
    if reading.kind == "one":
        return Reply("ok", reading.label)
    return Reply("refused" if reading.refused or reader.refuses(shown) else "unparsed")


class _ReplyReader:
    """The ways to find an answer, the most explicit first; the first that finds one, or a conflict, decides."""

    def __init__(self, words: Lexicon, language: str, options: tuple[str, ...]) -> None:
        self.words, self.language, self.options = words, language, options
        self.languages = languages_read(language)

    def read(self, seen: str, shown: str) -> Reading:
        """Read visible text ``seen`` (with mark-up) and plain text ``shown``."""
        for reading in (
            self._agree(self._segment(s) for s in tagged_answers(seen)),
            self._objects(json_objects(seen), 0),
            self._score_list(shown),
            self._corrected(shown),
        ):
            if reading.kind != "none":
                return reading
        return self._stated(shown)

    def _corrected(self, shown: str) -> Reading:
        """Read what follows the last correction, where something was answered before it; else nothing."""
        parts = after_correction(shown, self.languages)
        if parts is None:
            return _NOTHING
        before, after = parts
        lettered = self.options and re.search(r"\b[A-Ha-h]\b", before)
        if not lettered and not self.words.mentions(before.casefold()):
            return _NOTHING
        reading = self._stated(plain(after))
        return reading if reading.kind == "one" else Reading("many", refused=reading.refused)

    def _stated(self, shown: str) -> Reading:
        for reading in (
            self._headed(shown, "final_keys"),
            self._headed(shown, "answer_keys"),
            self._letters(shown),
            self._bare_line(shown),
        ):
            if reading.kind != "none":
                return reading
        if not re.search(r"\w", shown):
            return self._agree(self._segment(name) for name in faces(shown))
        return read_answer(_unquoted(shown).casefold(), self.words, self.language)

    def refuses(self, shown: str) -> bool:
        """Whether the text declines to answer."""
        return cue_pattern("refusal", self.languages).search(shown.casefold()) is not None

    def _segment(self, text: str) -> Reading:
        """Read a part of the text that is an answer: a letter, or a statement."""
        text = _unquoted(text.strip())
        if self.options:
            lettered = letter_of(text, self.options)
            if lettered is not None:
                label, rest = lettered
                named = read_answer(rest.casefold(), self.words, self.language) if rest else _NOTHING
                if label is None or named.kind == "many" or named.label not in (None, label):
                    return _UNCERTAIN
                return Reading("one", label)
        if self._opens_off_offer(text):
            return _UNCERTAIN
        return read_answer(text.casefold(), self.words, self.language)

    def _opens_off_offer(self, text: str) -> bool:
        """Whether the first sentence is an emotion that is not on offer, and nothing else: that was the answer."""
        first = re.split(r"[.;!。\n]", text, maxsplit=1)[0].casefold()
        found = self.words.mentions(first)
        if not found or any(m.label is not None for m in found):
            return False
        return re.search(r"\w", first[: found[0].start] + first[found[-1].end :]) is None

    def _agree(self, readings: Iterable[Reading]) -> Reading:
        """Several answers count as one where they agree, and as none where none names an emotion."""
        named = [r for r in readings if r.kind != "none" or r.named]
        if not named:
            return _NOTHING
        labels = {r.label for r in named}
        return named[0] if len(labels) == 1 and named[0].kind == "one" else _UNCERTAIN

    def _headed(self, shown: str, kind: str) -> Reading:
        return self._agree(self._segment(s) for s in headed_answers(shown, kind, self.languages))

    def _letters(self, shown: str) -> Reading:
        if not self.options:
            return _NOTHING
        letters = stated_letters(shown, self.options, self.languages)
        if letters:
            (label,) = letters if len(letters) == 1 else (None,)
            named = read_answer(shown.casefold(), self.words, self.language)
            clash = named.kind == "one" and named.label != label
            return Reading("one", label) if label is not None and not clash else _UNCERTAIN
        first = shown.splitlines()[0] if "\n" in shown else shown
        if letter_of(first, self.options) is None:
            return self._lone_letter(shown)
        return self._segment(first) if first != shown else self._segment(shown)

    def _lone_letter(self, shown: str) -> Reading:
        if self.words.mentions(shown.casefold()):
            return _NOTHING
        label = lone_letter(shown, self.options, self.languages)
        return _NOTHING if label is None else Reading("one", label)

    def _bare_line(self, shown: str) -> Reading:
        """A first or last line that is a label and nothing else, where no other such line and no upshot disagrees."""
        lines = shown.splitlines()
        if len(lines) < 2:
            return _NOTHING
        bare = {i: label for i, line in enumerate(lines) if (label := self._whole(line)) is not None}
        if len(set(bare.values())) != 1 or not {0, len(lines) - 1} & set(bare):
            return _NOTHING
        label = next(iter(bare.values()))
        rest = "\n".join(line for i, line in enumerate(lines) if i not in bare).casefold()
        opening = re.compile(
            rf"\W*(?:wait|no\b|hmm|{cue_pattern('alternative', self.languages).pattern}"
            rf"|{cue_pattern('contrast', self.languages).pattern})"
        )
        if rest and (
            opening.match(rest) or read_answer(rest, self.words, self.language).label not in (None, label)
        ):
            return _UNCERTAIN
        return Reading("one", label)

    def _whole(self, line: str) -> str | None:
        folded = line.casefold()
        found = self.words.mentions(folded)
        if len(found) != 1 or found[0].denied or found[0].label is None:
            return None
        rest = folded[: found[0].start] + folded[found[0].end :]
        return None if re.search(r"\w|\?", rest) else found[0].label

    def _objects(self, objects: Sequence[Fields], depth: int) -> Reading:
        """Read JSON objects: a label with its score in each, or answers that agree."""
        ranked = [self._ranked(fields) for fields in objects]
        if len(objects) > 1 and all(ranked):
            return self._scores([pair for pair in ranked if pair])
        return self._agree(self._fields(f, depth) for f in objects)

    def _ranked(self, fields: Fields) -> tuple[str, object] | None:
        """Return the label and the score of ``{"label": "sad", "score": 0.8}``; None where that is not all it says."""
        labels = [v for k, v in fields if isinstance(v, str) and is_answer_key(k, self.languages)]
        scores = [v for _, v in fields if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(labels) != 1 or len(scores) != 1 or self._whole(plain(labels[0])) is None:
            return None
        return plain(labels[0]), scores[0]

    def _fields(self, fields: Fields, depth: int) -> Reading:
        """Read one JSON object: its answer key, or that of an object in it, or scores per label of which one is the highest."""
        if depth > _DEEPEST:
            return _NOTHING
        answers = [v for k, v in fields if is_answer_key(k, self.languages)]
        if answers:
            return self._agree(self._value(v, depth) for v in answers)
        inner = [
            o for _, v in fields if isinstance(v, list) for o in ([v] if is_object(v) else v) if is_object(o)
        ]
        return self._objects(inner, depth + 1) if inner else self._scores(fields)

    def _value(self, value: object, depth: int) -> Reading:
        if isinstance(value, str):
            return self._segment(plain(value)) if value.strip() else _UNCERTAIN
        if is_object(value) and isinstance(value, list):
            return self._fields(list(value), depth + 1)
        if isinstance(value, dict):
            return self._fields([(str(k), v) for k, v in value.items()], depth + 1)
        if isinstance(value, list) and len(value) > 1 and all(map(is_object, value)) and depth < _DEEPEST:
            return self._objects([list(v) for v in value], depth + 1)
        if isinstance(value, list | tuple):
            return self._value(value[0], depth + 1) if len(value) == 1 and depth < _DEEPEST else _UNCERTAIN
        return _UNCERTAIN

    def _score_list(self, shown: str) -> Reading:
        """Read a list of emotions with their shares, or with yes and no, where nothing else names an emotion."""
        scores = list(scored_names(shown, self.languages)) if len(shown) <= _LONGEST_SCORE_LIST else []
        if any(score is None and self.words.mentions(name.casefold()) for name, score in scores):
            return _NOTHING
        fields: Fields = [
            (name, score)
            for name, score in scores
            if score is not None and self.words.mentions(name.casefold())
        ]
        return self._scores(fields) if len(fields) > 1 else _NOTHING

    def _scores(self, fields: Fields) -> Reading:
        named = [(self._whole(k), v) for k, v in fields]
        scores = [(label, float(v)) for label, v in named if isinstance(v, int | float) and abs(v) < 1e300]
        if len(scores) < 2 or len(scores) != len(fields):
            return _UNCERTAIN if fields else _NOTHING
        best = max(v for _, v in scores)
        winners = [label for label, v in scores if v == best]
        return Reading("one", winners[0]) if len(winners) == 1 and winners[0] is not None else _UNCERTAIN


def _unquoted(text: str) -> str:
    """Take off quotation marks that hold the whole text."""
    while len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text
