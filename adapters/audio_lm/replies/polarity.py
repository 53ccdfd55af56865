"""How each emotion word of a sentence is meant: stated, denied, or only supposed; as the main one or as a trace."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

from adapters.audio_lm.replies.asserting import asserted
from adapters.audio_lm.replies.cues import CuePattern, cue_pattern
from adapters.audio_lm.replies.mentions import Lexicon, Mention

Standing = Literal["stated", "denied", "possible", "void"]
Weight = Literal["primary", "plain", "minor"]

_SENTENCE = re.compile(r"[^.!?。;\n…]+(?:\.(?=\w)[^.!?。;\n…]+)*[.!?。;…]*")
_COMMA = re.compile(r"[,:()\[\]、—–|]|\s-\s")
_RESTATED = re.compile(r"\s*(?::|[—–]|\s-\s)\W*\Z")
_PAUSE = re.compile(r"[,()\[\]、—–|]|\s-\s")
_LIST_FILLER = re.compile(
    r"(?:any|even|signs?|of|the|a|an|very|particularly|especially|or|nor|and|either|\W|_|的)*"
)
_QUOTED = re.compile(r'"([^"\n]{1,300})"|(?<!\w)\'([^\'\n]{1,300})\'(?!\w)')
_EXCLAIMED = re.compile(r"\s{0,2}[\"'][^\"'\s]{1,6}[\"']")
_EXCLAIMED_BEFORE = re.compile(r"[\"'][^\"'\s]{1,6}[\"']\s{0,2}\Z")
_LIST_GAP = re.compile(r"(?:\W|_|\d|\b[a-h]\b)*")
_THAI_BREAK = re.compile(r"(?<=[\u0e00-\u0e45\u0e47-\u0e7f]) (?=[\u0e00-\u0e45\u0e47-\u0e7f])")
"""Thai puts a space where other scripts put a comma; beside the mark of repetition (ๆ) it is none."""
_OUTCRY = re.compile(r"(?<=[\"'])([^\"'\s]{1,8}?)([.!?…]{1,3})(?=[\"'])")
"""The marks within a quoted exclamation ("what?!" tells of surprise) end no sentence."""
_OWN_SENTENCE = 12
"""Letters before a colon from which on they are a sentence rather than a key."""
_HEAD = 12
"""Characters before a colon in which a denial or a supposition governs what follows."""
_NEAR = 28
"""Characters between a cue and the one emotion word it governs."""


@dataclass(frozen=True)
class Statement:
    """One emotion word and how it is meant.

    Args:
        mention: the word.
        standing: stated, denied, only held possible, or not said of the speaker at all.
        weight: how much it counts among others.
        after_turn: whether a contrast or a conclusion stands before it in its sentence ("I cannot hear it, but …").
        sentence: number of the sentence.
        clause: number of the sentence, and of the contrast within it.
        asserted: whether it is stated, and in words that assert it of the speaker, the voice or the answer.
    """

    mention: Mention
    standing: Standing
    weight: Weight
    after_turn: bool
    sentence: int
    clause: tuple[int, int]
    asserted: bool


@dataclass(frozen=True)
class Passage:
    """What a text states about emotion, and whether it declines to.

    Args:
        statements: in the order of the text.
        refused: whether the text declines to answer.
        alternatives: indices of statements that a word like "or" ties to a neighbour.
    """

    statements: tuple[Statement, ...]
    refused: bool
    alternatives: frozenset[int]


Spans = list[tuple[int, int]]


def read_passage(text: str, words: Lexicon, languages: frozenset[str]) -> Passage:
    """Read every emotion word of a folded text; enumerations of all labels on offer state nothing.

    Args:
        text: folded.
        words: names of emotions, each with the label on offer that it stands for.
        languages: whose cues are read.
    """
    text = _OUTCRY.sub(lambda m: m[1] + " " * len(m[2]), _THAI_BREAK.sub(",", text))
    mentions = words.mentions(text)
    ignored = _spans("ignored", text, languages)
    mentions = [m for m in mentions if not _inside(m, ignored)]
    for start, end in ignored:
        text = text[:start] + " " * (end - start) + text[end:]
    echoed = _echoes(text, mentions, words, languages)
    mentions = [m for i, m in enumerate(mentions) if i not in echoed]
    quoted = _quotations(text, mentions)
    starts = [m.start for m in mentions]
    statements: list[Statement] = []
    refused = False
    for number, sentence in enumerate(_SENTENCE.finditer(text)):
        left, right = bisect_left(starts, sentence.start()), bisect_left(starts, sentence.end())
        reading = _Sentence(sentence.group(), sentence.start(), mentions[left:right], languages, number)
        refused |= bool(reading.refusals)
        for index in range(left, right):
            statements.append(reading.statement(mentions[index], _inside(mentions[index], quoted)))
    return Passage(tuple(statements), refused, _alternatives(text, mentions, languages))


class _Sentence:
    """One sentence with its cues found once."""

    def __init__(
        self, text: str, offset: int, mentions: list[Mention], languages: frozenset[str], number: int
    ) -> None:
        self.text, self.offset, self.number = text, offset, number
        self.places = [(m.start - offset, m.end - offset) for m in mentions]
        self.languages = languages
        self.question = text.rstrip(" \"')").endswith("?")
        self.refusals = _spans("refusal", text, languages)
        self._found: dict[str, Spans] = {}
        self.turns = self._turns()

    def _cues(self, kind: str) -> Spans:
        """Return the cues of a kind; one that overlaps an emotion word is part of that word (不安), but for what stands before it (ไม่|มีความสุข)."""
        if kind not in self._found:
            pattern = cue_pattern(kind, self.languages)
            spans = (self._beside_words(span, pattern) for span in _spans(kind, self.text, self.languages))
            self._found[kind] = [span for span in spans if span is not None]
        return self._found[kind]

    def _beside_words(self, span: tuple[int, int], pattern: CuePattern) -> tuple[int, int] | None:
        """Return a cue's span, cut where an emotion word begins in it; None where no cue is left."""
        start, end = span
        overlapped = [(left, right) for left, right in self.places if start < right and left < end]
        if not overlapped:
            return span
        left = overlapped[0][0]
        shorter = pattern.match(self.text, start, left) if start < left else None
        return shorter.span() if shorter else None

    def _turns(self) -> Spans:
        """Where the sentence starts afresh.

        At a contrast or a conclusion ("if …, so the answer is sad"); at the comma that ends a concessive opening ("while one might expect anger, …"); at the second half
        of "less angry than sad"; at a colon or dash before a last word that is all answer ("neither happy nor sad: neutral").
        """
        self.opening = 0
        if not self.places:
            return []
        turns = self._cues("contrast") + self._cues("conclusion")
        blank = len(self.text) - len(self.text.lstrip())
        opening = cue_pattern("concessive", self.languages).match(self.text, blank)
        self.opening = opening.end() if opening else 0
        comma = self.text.find(",") if opening else -1
        if comma >= 0:
            turns.append((comma, comma + 1))
        for swap in cue_pattern("swapped", self.languages).finditer(self.text):
            turns.append(swap.span(swap.lastindex or 0))
        start, end = self.places[-1]
        restated = _RESTATED.search(self.text, self.places[-2][1] if len(self.places) > 1 else 0, start)
        if restated and not re.search(r"\w", self.text[end:]) and self._explains(restated.start()):
            turns.append(restated.span())
        return sorted(turns)

    def _explains(self, colon: int) -> bool:
        """Whether what stands before a colon is a sentence of its own, rather than the head of what follows ("never: sad")."""
        if len(self.places) > 1:
            return True
        if len(re.sub(r"\W", "", self.text[:colon])) < _OWN_SENTENCE or any(
            s < colon for s, _ in self._topics()
        ):
            return False
        open_kinds = ("negators", "denies_all", "supposed", "counterfactual", "compared")
        return all(e <= colon - _HEAD for kind in open_kinds for _, e in self._cues(kind) if e <= colon)

    def statement(self, mention: Mention, void: bool) -> Statement:
        """Judge one emotion word of this sentence."""
        start, end = mention.start - self.offset, mention.end - self.offset
        turn = max((e for _, e in self.turns if e <= start), default=0)
        following = min((s for s, _ in self.turns if s >= end), default=len(self.text))
        standing: Standing = "stated"
        if void or self.question or self._supposed(start, end, turn, following):
            standing = "void"
        elif mention.denied or self._denied(start, end, turn, following):
            standing = "denied"
        elif self._hedged(start, turn):
            standing = "possible"
        return Statement(
            mention,
            standing,
            self._weight(start, end),
            after_turn=turn > 0 or any(e <= start for _, e in self._cues("conclusion")),
            sentence=self.number,
            clause=(self.number, turn),
            asserted=standing == "stated" and self._asserted(start, end, turn, following),
        )

    def _asserted(self, start: int, end: int, turn: int, following: int) -> bool:
        left, right = self._comma_clause(start, end, turn, following)
        clear = self.text
        for s, e in self.places:
            clear = clear[:s] + " " * (e - s) + clear[e:]
        return asserted(clear[left:start], clear[end:right], self.languages)

    def _supposed(self, start: int, end: int, turn: int, following: int) -> bool:
        if any(turn <= s and e <= start for s, e in self._cues("supposed")):
            return True
        if any(end <= s for s, _ in self._cues("withdrawn")) or self._conceded(start):
            return True
        if any(e <= start and not self._contrasted(e, start) for _, e in self._cues("counterfactual")):
            return True
        if any(turn <= e <= start for _, e in self.refusals):
            return True
        left, right = self._comma_clause(start, end, turn, following)
        if any(end <= s <= right for s, _ in self._cues("conceded_before")):
            return True
        return any(s < right and e > left and not self._exclaimed(s, e) for s, e in self._topics())

    def _contrasted(self, left: int, right: int) -> bool:
        return any(left <= s and e <= right for s, e in self._cues("contrast"))

    def _topics(self) -> Spans:
        return _spans("topic", self.text, self.languages)

    def _exclaimed(self, start: int, end: int) -> bool:
        """Whether the words spoken of are an exclamation: a sound of the voice (the word "ugh" shows disgust), not a topic."""
        beside = (
            _EXCLAIMED.match(self.text, end),
            _EXCLAIMED_BEFORE.search(self.text, max(0, start - _NEAR), start),
        )
        return any(m and not any(m.start() <= s and e <= m.end() for s, e in self.places) for m in beside)

    def _hedged(self, start: int, turn: int) -> bool:
        return any(turn <= s and e <= start for s, e in self._cues("hedges"))

    def _conceded(self, start: int) -> bool:
        """Whether the sentence only grants this emotion word.

        It stands in a concessive opening ("although the words are happy, …"), or behind a concession in mid-sentence
        ("sad although the words are happy").
        """
        if self.opening and start < next((e for _, e in self.turns if e > self.opening), len(self.text)):
            return True
        for s, e in self._cues("conceded"):
            if (
                e <= start
                and re.search(r"\w", self.text[:s])
                and not any(e <= t < start for t, _ in self.turns)
            ):
                return True
        return False

    def _comma_clause(self, start: int, end: int, turn: int, following: int) -> tuple[int, int]:
        left = max((m.end() for m in _COMMA.finditer(self.text, turn, start)), default=turn)
        right = next((m.start() for m in _COMMA.finditer(self.text, end, following)), following)
        return left, right

    def _denied(self, start: int, end: int, turn: int, following: int) -> bool:
        if any(turn <= s and e <= start for s, e in self._cues("denies_all")):
            return True
        if any(e <= start and self._reaches(e, start) for s, e in self._cues("negators") if s >= turn):
            return True
        for s, e in self._cues("compared"):
            between = self.text[e:start]
            if not (turn <= s and e <= start):
                continue
            if self._mention_between(e, start):
                if self._only_listing(e, start):
                    return True
            elif start <= e + _NEAR and not _COMMA.search(between):
                return True
        pattern = cue_pattern("denied_after", self.languages)
        behind = end + len(self.text[end:]) - len(self.text[end:].lstrip(" \"')-"))
        if pattern.match(self.text, behind):
            return True
        _, right = self._comma_clause(start, end, turn, following)
        return any(end <= s < right for s, _ in self._cues("denied_before"))

    def _reaches(self, cue_end: int, start: int) -> bool:
        """Whether a denial's scope reaches an emotion word: to the next comma, and on along a list."""
        pieces: list[tuple[int, int]] = []
        at = cue_end
        for comma in _COMMA.finditer(self.text, cue_end, start):
            if comma[0] == ":" and not self.text[cue_end : comma.start()].strip():
                continue  # "certainly not: sad"
            pieces.append((at, comma.start()))
            at = comma.end()
        if not pieces:
            return True
        if re.search(r"\bany\b", self.text[at:start]):
            return True
        if not self._mention_between(*pieces[0]):
            return False
        return all(self._only_listing(left, right) for left, right in [*pieces[1:], (at, start)])

    def _only_listing(self, left: int, right: int) -> bool:
        rest = self.text[left:right]
        for s, e in sorted(self.places, reverse=True):
            if left <= s and e <= right:
                rest = rest[: s - left] + rest[e - left :]
        rest = cue_pattern("joined", self.languages).sub(" ", rest)
        return _LIST_FILLER.fullmatch(rest) is not None

    def _joined(self, left: int, right: int) -> bool:
        """Whether nothing but a word like "and" stands between two emotion words: the second has the first one's weight."""
        gap = self.text[left:right]
        joining = cue_pattern("joined", self.languages)
        return joining.search(gap) is not None and not joining.sub("", gap).strip()

    def _mention_between(self, left: int, right: int) -> bool:
        return any(left <= s and e <= right for s, e in self.places)

    def _weight(self, start: int, end: int) -> Weight:
        after = cue_pattern("primary_after", self.languages).search(self.text, end, end + _NEAR)
        if (
            after
            and not self._mention_between(end, after.start())
            and not _PAUSE.search(self.text, end, after.start())
        ):
            return "primary"
        nearest: tuple[int, Weight] = (-1, "plain")
        for kind in ("primary", "minor"):
            for _, e in self._cues(kind):
                near = e <= start <= e + _NEAR and not self._mention_between(e, start)
                if near and not _PAUSE.search(self.text, e, start):
                    nearest = max(nearest, (e, "primary" if kind == "primary" else "minor"))
        before = max(((s, e) for s, e in self.places if e <= start), default=None)
        if nearest[0] < 0 and before and self._joined(before[1], start):
            return self._weight(*before)
        return nearest[1]


def _spans(kind: str, text: str, languages: frozenset[str]) -> Spans:
    return [m.span() for m in cue_pattern(kind, languages).finditer(text)]


def _inside(mention: Mention, spans: Spans) -> bool:
    return any(start <= mention.start and mention.end <= end for start, end in spans)


def _echoes(text: str, mentions: list[Mention], words: Lexicon, languages: frozenset[str]) -> set[int]:
    """Return the mentions in lists that hold every label on offer: the question said again, not an answer."""
    if len(words.labels) < 3:
        return set()
    found: set[int] = set()
    run: list[int] = []
    for index, mention in enumerate(mentions):
        if run and not _only_between(text[mentions[run[-1]].end : mention.start], languages):
            run = []
        run.append(index)
        if {mentions[i].label for i in run} >= words.labels:
            found |= set(run)
    return found


def _only_between(gap: str, languages: frozenset[str]) -> bool:
    return len(gap) < 60 and _LIST_GAP.fullmatch(cue_pattern("joined", languages).sub(" ", gap)) is not None


def _quotations(text: str, mentions: list[Mention]) -> Spans:
    """Return quoted speech: quotation marks that hold more than one emotion word and punctuation."""
    spans = []
    for match in _QUOTED.finditer(text):
        held = [m for m in mentions if match.start() <= m.start and m.end <= match.end()]
        if held:
            rest = text[match.start() : held[0].start] + text[held[-1].end : match.end()]
            if len(held) > 1 or re.search(r"\w", rest):
                spans.append(match.span())
    return spans


def _alternatives(text: str, mentions: list[Mention], languages: frozenset[str]) -> frozenset[int]:
    pattern = cue_pattern("alternative", languages)
    ties = set()
    for index in range(1, len(mentions)):
        gap = text[mentions[index - 1].end : mentions[index].start]
        if len(gap) <= _NEAR and ("/" in gap or pattern.search(gap)):
            ties |= {index - 1, index}
    return frozenset(ties)
