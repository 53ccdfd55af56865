"""Tamil in Latin letters: no two writers spell it alike, so a word is found by its sounds and in its inflections.

Folded away: the length of vowels and consonants, d/dh/th for one dental, zh for l, sh for s, ch for c. A word in -am
changes before an ending (kobam, kobama, kobathudan); one in a vowel keeps its stem (magizhchi, magizhchiyaaga).
"""

from __future__ import annotations

import re

_SPELLINGS = {
    "a": "a{1,2}", "i": "(?:i{1,2}|ee)", "u": "(?:u{1,2}|oo)", "t": "(?:[td]h?){1,2}", "l": "(?:zh|l{1,2})",
    "s": "(?:sh|s){1,2}", "c": "(?:ch|c){1,2}",
}  # fmt: skip
_ADVERB = "(?:a{1,2}(?:ga?|ka?|ha?|na|va?)?)"
_CASE = "(?:[uo]d(?:an|u|a)|oda?|ula|la|il|in|ai|ukku|inaal)"
_DENIAL = "(?:il+a(?:i|a?mal)?)"
_ENDING_AM = rf"(?:a{{1,2}}m{_ADVERB}?|a{{1,2}}(?:[td]h?){{1,2}}{_CASE}|a{{1,2}}m{_DENIAL})"
_ENDING_VOWEL = rf"(?:y?{_ADVERB}|y?{_CASE}|y?{_DENIAL})?"


def sounds(word: str) -> str:
    """Fold a spelling to its sounds.

    >>> sounds("magizhchiyaaga"), sounds("santhosham"), sounds("sandosam")
    ('magilciyaga', 'santosam', 'santosam')
    """
    for pattern, by in (
        (r"zh", "l"),
        (r"[td]h?", "t"),
        (r"sh", "s"),
        (r"ch", "c"),
        (r"ee", "i"),
        (r"oo", "u"),
    ):
        word = re.sub(pattern, by, word)
    return re.sub(r"(.)\1+", r"\1", word)


def stem(word: str) -> str:
    """Return the sounds that every inflection begins with.

    >>> stem("kobam"), stem("viyappu")
    ('kob', 'viyap')
    """
    heard = sounds(word)
    return heard[:-2] if heard.endswith("am") else heard.removesuffix("u")


def forms(word: str) -> str:
    """Return a pattern for the spellings and inflections of a word as the dictionary has it.

    >>> [bool(re.fullmatch(forms("kobam"), w)) for w in ("kobam", "kobamaaga", "kobathoda", "kobamillai", "koban")]
    [True, True, True, True, False]
    """
    spelled = "".join(_SPELLINGS.get(c, f"{re.escape(c)}{{1,2}}") for c in stem(word))
    heard = sounds(word)
    if heard.endswith("am"):
        return spelled + _ENDING_AM
    return spelled + (
        rf"(?:(?:u{{1,2}}|oo){_ENDING_VOWEL}|{_CASE})" if heard.endswith("u") else _ENDING_VOWEL
    )


def denies(form: str) -> bool:
    """Whether an inflection fuses a denial into the word ("kobamillai")."""
    return re.search(rf"[my]{_DENIAL}\Z|i{_DENIAL}\Z", form) is not None
