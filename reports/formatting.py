"""Numbers and sentences of a report: one way to write a score, an interval, a language, a verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from bench.scoring.pair_results import NO_VERDICT, PairResult
from bench.scoring.record_schema import ScoreRow
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from bench.statistics.families import CANNOT_SEPARATE
from bench.statistics.ranking import RankInterval
from reports.data.comparisons import TaskComparison

_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
METRIC_TITLES = {"ua": "UA", "wa": "WA", "macro_f1": "macro-F1", "ccc": "CCC", "pearson": "Pearson r"}
TRACK_TITLES = {
    "adapted": "Adapted",
    "probed": "Probed",
    "released": "Released",
    "reference": "Reference",
}
TRACK_GLOSS = {
    "adapted": "weights trained here",
    "probed": "frozen features, a probe trained here",
    "released": "weights as released, nothing trained here",
    "reference": "yardsticks that do not listen",
}
LANGUAGES = {
    "am": "Amharic", "ar": "Arabic", "bn": "Bengali", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "et": "Estonian", "fa": "Persian", "fil": "Filipino", "fr": "French", "hi": "Hindi", "id": "Indonesian",
    "it": "Italian", "ja": "Japanese", "jv": "Javanese", "km": "Khmer", "ko": "Korean", "lo": "Lao",
    "ms": "Malay", "mul": "Several languages", "my": "Burmese", "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "qu": "Quechua", "ru": "Russian",
    "su": "Sundanese", "ta": "Tamil", "te": "Telugu", "th": "Thai", "tl": "Tagalog", "tr": "Turkish",
    "ur": "Urdu", "vi": "Vietnamese", "yue": "Cantonese", "zh": "Mandarin",
}  # fmt: skip
VIEWS = {
    "native": "the corpus’s own classes",
    "seven": "seven classes",
    "four": "four classes",
}
OUTSIDE = {
    "wrong": "an answer outside the view counts as wrong",
    "masked": "the likeliest class inside the view counts as the answer",
}
VERIFIED = {
    "data": "prepared from real files",
    "layout": "prepared rightly from a tree built from its published file listing",
    "described": "written from public descriptions, never prepared",
}
"""What a corpus card's ``verification`` means."""
MINUS = "−"


def number(
    value: float | None, *, percent: bool = True, digits: int | None = None, signed: bool = False
) -> str:
    """Write a score: per cent with one decimal, or a correlation with two; a dash where there is none.

    Args:
        value: a share (0..1) or a correlation (−1..1).
        percent: whether it is a share, to be written in per cent.
        digits: decimals, where not one (per cent) or two.
        signed: whether a positive value gets its sign.

    Returns:
        The figure without its unit.

    >>> number(0.7667), number(-0.031, percent=False, signed=True), number(None)
    ('76.7', '−0.03', '–')
    """
    if value is None:
        return "–"
    places = digits if digits is not None else 1 if percent else 2
    rounded = round(value * 100 if percent else value, places) + 0.0  # + 0.0: no "-0.0"
    return f"{rounded:{'+' if signed else ''}.{places}f}".replace("-", MINUS)


def span(low: float | None, high: float | None, *, percent: bool = True) -> str:
    """Write an interval, or say why there is none: a width of zero is no certainty, only clusters that do not differ.

    Args:
        low: lower end, a share (0..1) or a correlation (−1..1).
        high: upper end.
        percent: whether they are shares, to be written in per cent.

    Returns:
        Both ends without their unit, or words.

    >>> span(0.68, 0.836), span(None, None), span(1.0, 1.0)
    ('68.0 to 83.6', 'no interval', 'no spread')
    """
    if low is None or high is None:
        return "no interval"
    if low == high:
        return "no spread"
    return f"{number(low, percent=percent)} to {number(high, percent=percent)}"


def p_value(p: float) -> str:
    """Write a p-value with two significant digits, never as zero.

    >>> p_value(0.00195), p_value(0.5), p_value(0.00001)
    ('0.0019', '0.5', '< 0.0001')
    """
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def coverage(share: float) -> str:
    """Write the share of answered clips; only all of them is 100 %.

    >>> coverage(1.0), coverage(0.9999)
    ('100 %', '99.9 %')
    """
    return "100 %" if share == 1 else f"{math.floor(share * 1000) / 10:.1f} %"


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Write a count with its noun.

    Args:
        n: how many.
        noun: what is counted, in the singular.
        plural: its plural, where that is not the noun with an s.

    Returns:
        Both, thousands parted by commas.

    >>> counted(1, "clip"), counted(1651, "clip"), counted(2, "corpus", "corpora")
    ('1 clip', '1,651 clips', '2 corpora')
    """
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def size(parameters: int | None) -> str:
    """Write a number of parameters shortly; nothing where there are none, or none is stated.

    >>> size(8_633_714), size(315_000_000), size(8_400_000_000), size(0), size(None)
    ('8.6 M', '315 M', '8.4 B', '', '')
    """
    if not parameters:
        return ""
    unit, letter = next(((u, x) for u, x in ((1e9, "B"), (1e6, "M"), (1e3, "k")) if parameters >= u), (1, ""))
    return f"{parameters / unit:.{1 if parameters < 100 * unit and unit > 1 else 0}f} {letter}".strip()


def cut(text: str, longest: int) -> str:
    """A text of at most ``longest`` characters, with a mark where its end is left out.

    >>> cut("anger", 5), cut("sadness", 5)
    ('anger', 'sadn…')
    """
    return text if len(text) <= longest else text[: longest - 1] + "…"


def listed(names: Sequence[str]) -> str:
    """Join names as prose does.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def language_name(tag: str) -> str:
    """Name a language by its tag, the tag itself where it is not among the names known here.

    >>> language_name("id"), language_name("zh-Hans"), language_name("qaa")
    ('Indonesian', 'Mandarin', 'qaa')
    """
    return LANGUAGES.get(tag.partition("-")[0], tag)


def is_percent(subject: Subject) -> bool:
    """Whether a subject's unit is per cent (else a correlation)."""
    return subject.metric != "ccc"


def subject_title(subject: Subject) -> str:
    """Name what is compared: ``UA, %`` or ``CCC, valence``."""
    return (
        f"{METRIC_TITLES[subject.metric]}, %"
        if subject.dimension is None
        else f"{METRIC_TITLES[subject.metric]}, {subject.dimension}"
    )


def estimate(subject: Subject, row: ScoreRow, level: float) -> str:
    """Write a score with its interval, inside a sentence.

    Args:
        subject: decides the unit.
        row: the score, in 0..1 (−1..1 for CCC).
        level: coverage of its interval, 0..1.

    Returns:
        Score and interval with units; where there is no interval, why.
    """
    percent = is_percent(subject)
    value = number(row.estimate, percent=percent) + (" %" if percent else "")
    if row.low is None or row.low == row.high:
        return f"{value} (no interval: too few clusters, or clusters that do not differ)"
    return f"{value} ({level_words(level)} interval {span(row.low, row.high, percent=percent)})"


def level_words(level: float) -> str:
    """Write a confidence level.

    >>> level_words(0.95), level_words(0.995)
    ('95 %', '99.5 %')
    """
    return f"{level * 100:.4g} %"


def misses_words(level: float) -> str:
    """Say how often intervals of a level miss by chance.

    >>> misses_words(0.95), misses_words(0.9)
    ('of 100 such intervals 5 miss by chance', 'of 100 such intervals 10 miss by chance')
    """
    return f"of 100 such intervals {100 * (1 - level):.3g} miss by chance"


def margin_words(subject: Subject, margin: float) -> str:
    """Write a margin of equivalence in the subject's unit.

    >>> margin_words(Subject("native", "wrong", "ua"), 0.02)
    '2.0 points'
    """
    return f"{number(margin)} points" if is_percent(subject) else number(margin, percent=False)


def board_caption(comparison: TaskComparison, subject: Subject) -> str:
    """Say what a board shows and on how much data."""
    facts = comparison.facts
    clusters = len(facts.clusters)
    data = f"{counted(facts.clips, 'clip')}, {counted(facts.speakers, 'speaker')}"
    if facts.cluster != "speaker":
        data += f", {counted(clusters, facts.cluster)}"
    view = "" if subject.dimension else f", view {subject.view} ({VIEWS.get(subject.view, subject.view)})"
    marks = [m for m, on in (("SYNTHETIC", facts.synthetic), ("LIMITED", facts.limited)) if on]
    head = f"{' '.join(marks)}: " if marks else ""
    intervals = f"{level_words(comparison.plan.level)} intervals by {facts.cluster}"
    return f"{head}{subject_title(subject)}{view}: {data}, {intervals}."


def unhidden(text: str) -> str:
    """Text for other programs: characters that reorder, hide or break it become blanks.

    >>> unhidden("a" + chr(0x202E) + "b")
    'a b'
    """
    return _HIDDEN.sub(" ", text)


def rank_words(rank: RankInterval | None) -> str:
    """Write a rank interval.

    >>> rank_words(RankInterval(1, 2, 4)), rank_words(RankInterval(3, 3, 4)), rank_words(None)
    ('1–2 of 4', '3 of 4', '–')
    """
    if rank is None:
        return "–"
    return (
        f"{rank.best}–{rank.worst} of {rank.of}" if rank.best != rank.worst else f"{rank.best} of {rank.of}"
    )


def lead(comparison: TaskComparison, subject: Subject, track: str) -> str:
    """Say who leads a track on a task, whom it beats, and whom the data cannot tell from it.

    Args:
        comparison: the comparison of the task's systems.
        subject: view, metric and dimension in which systems are ranked.
        track: a track in which at least one system has the subject's score.

    Returns:
        One sentence or more.
    """
    members = comparison.members(subject, track)
    best = members[0]
    row = subject.row(best)
    assert row is not None
    what = METRIC_TITLES[subject.metric] + (f" for {subject.dimension}" if subject.dimension else "")
    figure = estimate(subject, row, comparison.plan.level)
    if len(members) == 1:
        return f"{best.system} is the only {track} system scored: {what} {figure}."
    first = [m.system for m in leaders(comparison, subject, track)]
    if len(first) > 1:
        return f"{listed(first)} share the highest {what} of {len(members)} {track} systems: {figure.split(' (')[0]}. {_of_equals(comparison, subject, track)}"
    sentences = f"{best.system} has the highest {what} of {len(members)} {track} systems: {figure}."
    seen = comparison.against(subject, track, best.system)
    groups = {
        kind: [m.system for m in members[1:] if m.system in seen and seen[m.system].kind == kind]
        for kind in ("better", "equivalent", "cannot-separate")
    }
    if groups["better"]:
        rest = len(groups["better"]) == len(members) - 1 and len(members) > 2
        named = [f"{s}{_limits(seen[s])}" for s in groups["better"]]
        sentences += f" It beats {'all the others: ' if rest else ''}{listed(named)}."
    if groups["equivalent"]:
        sentences += f" It is equivalent to {listed(groups['equivalent'])} within {margin_words(subject, comparison.plan.margin)}."
    if any(p.verdict == NO_VERDICT for p in seen.values()):
        sentences += " The official split leaks: no verdict."
    if best.has_one_seed_of_many and (groups["better"] or groups["equivalent"]):
        sentences += f" Of {best.system} one seed is known, and not what others would give."
    if groups["cannot-separate"]:
        sentences += f" This corpus cannot separate it from {listed(groups['cannot-separate'])}."
    return sentences


def _limits(p: PairResult) -> str:
    """What a verdict of better does not say, in brackets."""
    limits = [
        words
        for words, holds in (
            ("by less than the margin", "margin" in p.verdict),
            ("for these seeds only", p.rests_on_seeds),
        )
        if holds
    ]
    return f" ({', '.join(limits)})" if limits else ""


def leaders(comparison: TaskComparison, subject: Subject, track: str) -> list[Record]:
    """The systems of a track with the highest score: several where theirs are equal.

    Args:
        comparison: the comparison of the task's systems.
        subject: view, metric and dimension in which systems are ranked.
        track: the track.
    """
    members = comparison.members(subject, track)
    rows = [subject.row(m) for m in members]
    top = rows[0].estimate if rows and rows[0] else None
    return [m for m, row in zip(members, rows, strict=True) if row is not None and row.estimate == top]


def _of_equals(comparison: TaskComparison, subject: Subject, track: str) -> str:
    """Whom each of several leaders beats, in a sentence each."""
    told = []
    for leader in leaders(comparison, subject, track):
        seen = comparison.against(subject, track, leader.system)
        beaten = sorted(s for s, p in seen.items() if p.kind == "better")
        told.append(f"{leader.system} beats {listed(beaten) if beaten else 'none of the others'}.")
    return " ".join(told)


def verdict_words(p: PairResult) -> str:
    """Write a verdict in a table's cell."""
    words = "cannot separate" if p.verdict == CANNOT_SEPARATE else p.verdict
    return f"{words}, for these seeds" if p.rests_on_seeds else words


def tally(pairings: Sequence[PairResult]) -> str:
    """Count verdicts of planned pairs in words.

    >>> tally([])
    'No pair of systems was tested.'
    """
    if not pairings:
        return "No pair of systems was tested."
    apart = sum(p.kind in ("better", "worse") for p in pairings)
    little = sum("margin" in p.verdict for p in pairings)
    seeds = sum(p.rests_on_seeds for p in pairings)
    once = sum(bool(p.one_seed) and p.kind in ("better", "worse") for p in pairings)
    limits = ", ".join(
        f"{count} {words}"
        for count, words in (
            (little, "by less than the margin"),
            (seeds, "for these seeds only"),
            (once, "where a system has one seed"),
        )
        if count
    )
    same = sum(p.kind == "equivalent" for p in pairings)
    withheld = sum(p.verdict == NO_VERDICT for p in pairings)
    open_ = len(pairings) - apart - same - withheld
    return (
        f"Of {counted(len(pairings), 'planned pair')}, {apart} {'differs' if apart == 1 else 'differ'} significantly{f' ({limits})' if limits else ''},"
        f" {same} {'is' if same == 1 else 'are'} equivalent within the margin, and {open_} cannot be separated{f'; {withheld} on leaking official splits have no verdict' if withheld else ''}."
    )
