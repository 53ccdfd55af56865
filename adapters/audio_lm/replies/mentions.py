"""Where a text names an emotion: the words of ``tasks/labels.yaml`` in any language, inflected where the script needs it."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from dataclasses import dataclass

from adapters.audio_lm.replies.cues import WORD
from adapters.audio_lm.replies.normalising import plain, visible
from adapters.audio_lm.replies.romanised import denies, forms, sounds, stem
from bench.cards.labels import fold_name, label_table

_TAMIL = r"[\u0b80-\u0bff]"
_TAMIL_DENIAL = re.compile("இல்ல|ில்ல|ற்ற|ின்றி|ல்லாத|ல்லாம|டாத|டாம|டாது|டமாட்ட|டுவ(?!த)|ட்டால்")
"""Endings that deny, forbid, foresee or suppose (கோபமில்லாமல், கோபப்படாதே, கோபப்படுவார், கோபப்பட்டால்)."""
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]")
_WHOLE_ONLY = "other"
"""Its words ("other", "unknown") are everyday words: they count only where they are the whole answer."""


@dataclass(frozen=True)
class Mention:
    """One emotion word of a folded text.

    Args:
        start: where it begins.
        end: where it ends.
        label: the label on offer that it names; None for an emotion that is not on offer.
        canonical: the canonical name; None for a label on offer that the table does not know.
        languages: those that have the word.
        denied: whether the word itself denies: Tamil fuses the denial into it.
    """

    start: int
    end: int
    label: str | None
    canonical: str | None
    languages: frozenset[str]
    denied: bool


@dataclass(frozen=True)
class _Word:
    label: str | None
    canonical: str | None
    languages: frozenset[str]


@dataclass(frozen=True)
class Lexicon:
    """All words that name an emotion, each with the label on offer that it stands for.

    Args:
        words: by folded spelling.
        pattern: finds any of them.
        romanised: Tamil words in Latin letters by the sounds of their stem.
        labels: names on offer.
    """

    words: dict[str, _Word]
    romanised: dict[str, _Word]
    pattern: re.Pattern[str]
    labels: frozenset[str]

    def mentions(self, text: str) -> list[Mention]:
        """Return every emotion word of a folded text, longest first where two overlap, in order."""
        found = []
        for match in self.pattern.finditer(text):
            word = self._meaning(match)
            if word.canonical == _WHOLE_ONLY and match.group().strip() != text.strip(" .!,;:\"'()[]\n"):
                continue
            roman = match.group("roman")
            denied = _TAMIL_DENIAL.search(match.group("tail") or "") is not None or bool(
                roman and denies(roman)
            )
            found.append(
                Mention(match.start(), match.end(), word.label, word.canonical, word.languages, denied)
            )
        return found

    def _meaning(self, match: re.Match[str]) -> _Word:
        if roman := match.group("roman"):
            heard = sounds(roman)
            return self.romanised[max((s for s in self.romanised if heard.startswith(s)), key=len)]
        return self.words[match.group("stem") or fold_name(match.group("word"))]


@functools.lru_cache(maxsize=64)
def lexicon(labels: tuple[str, ...]) -> Lexicon:
    """Build the lexicon for labels on offer, written as the caller wrote them.

    A label on offer is found by its own name first, then by the synonyms of the canonical name behind it. Where two
    labels on offer share a canonical name ("joy" and "happy"), each has its own name only.
    """
    table = label_table()
    behind: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        canonical = table.canonical(label)
        if canonical is not None:
            behind[canonical].append(label)
    words: dict[str, _Word] = {}
    for name in table.names:
        offered = behind.get(name, [])
        meant = offered[0] if len(offered) == 1 else None
        spoken: dict[str, set[str]] = defaultdict(set)
        for language, synonyms in table.synonyms[name].items():
            for synonym in synonyms:
                spoken[fold_name(synonym)].add(language)
        spoken[fold_name(name)].add("en")
        for word, languages in spoken.items():
            words[word] = _Word(meant, name, frozenset(languages))
    for label in labels:
        folded = fold_name(plain(visible(label)).strip("\"' "))
        if folded:
            known = words.get(folded)
            words[folded] = _Word(label, table.canonical(label), known.languages if known else frozenset())
    for word, meaning in list(words.items()):
        if meaning.languages and meaning.languages <= {"ms", "id"}:
            for clitic in ("nya", "lah"):
                words.setdefault(word + clitic, meaning)
    romanised = {
        w: words.pop(w) for w in list(words) if words[w].languages == {"ta"} and w.isascii() and " " not in w
    }
    pattern = _pattern(tuple(words), tuple(romanised))
    stems = {_tamil_stem(word): meaning for word, meaning in words.items() if re.match(_TAMIL, word)}
    return Lexicon(words | stems, {stem(w): m for w, m in romanised.items()}, pattern, frozenset(labels))


def _tamil_stem(word: str) -> str:
    """Return what an inflected form keeps: கோபம் → கோப, வெறுப்பு → வெறுப்ப, மகிழ்ச்சி whole."""
    return word.removesuffix("ம்") if word.endswith("ம்") else word.removesuffix("ு")


def _tamil_form(word: str) -> str:
    """Return a pattern for the stem where one of the word's own inflections follows (பயம், பயத்துடன், பயப்படு, not பயணம்).

    The causative "make angry" (கோபப்படுத்து) is somebody else's anger and no form of the word here.
    """
    stem = re.escape(_tamil_stem(word))
    if word.endswith("ம்"):
        return f"{stem}(?=ம|த்த|ப்ப[\u0b9f](?!\u0bc1த்த))"
    return f"{stem}(?=[\u0bbe-\u0bcd])" if word.endswith("ு") else stem


def _pattern(words: tuple[str, ...], romanised: tuple[str, ...]) -> re.Pattern[str]:
    edged: dict[str, list[str]] = defaultdict(list)
    unedged: dict[str, list[str]] = defaultdict(list)
    for word in words:
        if not re.match(_TAMIL, word):
            (unedged if _UNSPACED.match(word) else edged)[word[0]].append(word)
    tamil = sorted((w for w in words if re.match(_TAMIL, w)), key=lambda w: (-len(w), w))
    parts = [
        rf"(?<!(?:{WORD}))(?:{_grouped(edged)})(?!{WORD})" if edged else "(?!)",
        _grouped(unedged) or "(?!)",
    ]
    inflected = "|".join(_tamil_form(word) for word in tamil) or "(?!)"
    latin = "|".join(sorted({forms(word) for word in romanised}, key=len, reverse=True)) or "(?!)"
    return re.compile(
        rf"(?P<word>{'|'.join(parts)})|(?<!{_TAMIL})(?P<stem>{inflected})(?P<tail>{_TAMIL}*)"
        rf"|(?<!(?:{WORD}))(?P<roman>{latin})(?!{WORD})"
    )


def _grouped(by_first: dict[str, list[str]]) -> str:
    """Alternatives by first letter, which the engine tells apart at once; the longest first within a letter."""
    groups = []
    for first, members in sorted(by_first.items()):
        tails = "|".join(_spelled(w[1:]) for w in sorted(members, key=lambda w: (-len(w), w)))
        groups.append(f"{re.escape(first)}(?:{tails})")
    return "|".join(groups)


def _spelled(word: str) -> str:
    """Spaces of a name match spaces, hyphens and underscores."""
    return r"[\s_-]+".join(re.escape(part) for part in word.split(" "))
