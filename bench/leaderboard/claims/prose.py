"""Sentences that people write: which of them claim that a system is better, and whether the ledger bears them out.

A sentence that compares systems must stand in a generated block or name the claim that it rests on, as
``<!-- claim: QUESTION/TASK -->`` behind it (``<!-- claim: QUESTION -->`` for all tasks of a question). Then its side, its certainty and its figures
must be the claim's. A sentence that gives one system a figure on one task must give a published one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.cards.registry import system_names
from bench.errors import nearest
from bench.leaderboard.claims.contest import is_proposed
from bench.leaderboard.claims.ledger import Claim, ClaimLedger, Side
from bench.leaderboard.evidence import Evidence

_WON = r"beat(?:s|en)?|outperform(?:s|ed|ing)?|surpass(?:es|ed)?|win(?:s|ning)?|won|defeat(?:s|ed)?|outscor(?:es|ed)|exceed(?:s|ed)?|outclass(?:es|ed)?|outdo(?:es)?|dominat(?:es?|ed|ing)|crush(?:es|ed)?|improv(?:es?|ed) (?:on|upon|over)|edges? out"
_AHEAD = r"ahead(?: of)?|lead(?:s|ing)?|led|stronger than|better than|higher than|more accurate than|superior(?: to)?|in front of|tops?|advantage over|gains? over|unrivalled|unbeaten|best|strongest|highest|first place"
_LOST = r"los(?:es|t|ing)(?: to)?|beaten by|outperformed by"
_BEHIND = r"behind|worse than|weaker than|lower than|less accurate than|trail(?:s|ed|ing)?|inferior(?: to)?|falls short of|worst"
_LEVEL = r"level with|on (?:a )?par with|as (?:good|accurate|strong) as|equivalent(?: to)?|match(?:es|ed)|ties with|equals"
_POINTS = r"points? (?:of [\w-]+ )?"
_MORE, _LESS = r"(?:above|over|higher|better|more)", r"(?:below|under|lower|worse|less)"
CLAIM_WORDS = re.compile(
    rf"(?<![\w-])(?:(?P<lost>{_LOST})|(?P<won>{_WON})|(?P<ahead>{_AHEAD}|{_POINTS}{_MORE})"
    rf"|(?P<behind>{_BEHIND}|{_POINTS}{_LESS})|(?P<level>{_LEVEL}))(?![\w-])",
    re.IGNORECASE,
)
PROVEN = re.compile(
    r"(?<!not )(?<!cannot )\b(?:significant(?:ly)?|confirm(?:s|ed)?|prove[sn]?|shown to|real)\b",
    re.IGNORECASE,
)
EVERYWHERE = re.compile(r"\b(?:on (?:all|each|every)|everywhere|throughout|always|in every)\b", re.IGNORECASE)
PRONOUN = re.compile(r"\b(?:it|they|its|their|both|which)\b", re.IGNORECASE)
REFERENCE = re.compile(r"(?<!`)<!-- claim: (?P<id>[\w./+@-]+) -->")
_TOKEN = re.compile(r"⟦(?P<id>[^⟧]*)⟧")
"""A reference while sentences are told apart: its own colon and dots end none."""
FIGURE = re.compile(r"(?<![\w.])(\d+\.\d)(?![\d.]|\s*%\s*interval)")
SCORE = re.compile(
    r"(?<![\w.])(\d{1,2}\.\d)(?![\d.])(?!\s*(?:%\s*interval|seconds?|minutes?|hours?|s\b|times|GiB|MB|kB|k?Hz))"
)
"""A figure in per cent that is no time, size or level."""
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_END = re.compile(r"(?<=[.!?;])(?=(?:\*\*|\))?(?:\s+|$))")
PLAIN_WORDS = frozenset({"majority", "chance"})
"""Names of yardsticks that are words of every page about scores."""
HOW = "put it into a block that serbench claims writes, or name the claim it rests on behind it: <!-- claim: QUESTION/TASK -->"


@dataclass(frozen=True)
class Sentence:
    """A sentence of a page, with the claims it names; ``line`` is where it begins."""

    line: int
    text: str
    references: tuple[str, ...]
    before: str = ""
    """What stands before it in its paragraph, which its pronouns may mean."""


@dataclass(frozen=True)
class Prose:
    """The check of prose against a ledger."""

    claims: dict[str, tuple[Claim, ...]]
    """Claims by id, and all of a question by the question's."""
    proposed: re.Pattern[str]
    rivals: re.Pattern[str]
    systems: re.Pattern[str]
    tasks: re.Pattern[str]
    published: dict[tuple[str, str], frozenset[str]]
    """Every figure that was ever published of a system on a task, in per cent, as it is written."""

    @classmethod
    def of(cls, ledger: ClaimLedger) -> Prose:
        """The check against everything that a ledger holds."""
        # Yardsticks are called by plain words, majority and chance, and are nobody's rivals.
        yardsticks = {e.facts.system for e in ledger.evidence if e.facts.track == "reference"}
        # Systems that no record knows count as well: of these nothing may be claimed at all.
        names = ({e.facts.system for e in ledger.evidence} | set(system_names())) - yardsticks - PLAIN_WORDS
        ours = {n for n in names if is_proposed(n, ledger.rules)}
        claims: dict[str, tuple[Claim, ...]] = {c.id: (c,) for c in ledger.claims}
        for question in ledger.rules.questions:
            claims[question.id] = tuple(ledger.of(question.id))
        spoken = ledger.rules.spoken
        return cls(
            claims,
            _any_of([*ours, *spoken.of_proposed]),
            _any_of([*(names - ours), *spoken.of_rivals]),
            _any_of([e.facts.system for e in ledger.evidence]),
            _any_of([e.facts.task for e in ledger.evidence]),
            _published(ledger.evidence),
        )

    def faults(self, page: str) -> Iterator[tuple[int, str]]:
        """Sentences of a page that claim what the ledger does not bear out: line, and what is wrong."""
        for sentence in sentences(page):
            for fault in self._faults(sentence):
                yield sentence.line, f"“{_shortened(sentence.text)}” {fault}"

    def _faults(self, sentence: Sentence) -> Iterator[str]:
        for name in sentence.references:
            if name not in self.claims:
                yield f"rests on the claim {name!r}, which no record holds; {nearest(name, self.claims)}"
            elif not any(c.rival for c in self.claims[name]):
                yield f"rests on the claim {name!r}, for which no record of a rival was published"
            else:
                yield from self._against([c for c in self.claims[name] if c.rival], name, sentence.text)
        if not sentence.references and self._compares(sentence):
            yield f"compares systems, and nothing says from which records; {HOW}"
        elif not sentence.references:
            yield from self._unknown_figures(sentence.text)

    def _compares(self, sentence: Sentence) -> bool:
        """Whether a sentence says of a system that it is better or worse; a question says nothing."""
        text = sentence.text
        meant = f"{text} {sentence.before}" if PRONOUN.search(text) else text
        named = bool(self.proposed.search(meant) or self.rivals.search(meant))
        return named and not text.rstrip("*_ |)`").endswith("?") and CLAIM_WORDS.search(text) is not None

    def _unknown_figures(self, text: str) -> Iterator[str]:
        """Figures of a sentence that names one system and one task, and that were never published of the two."""
        systems, tasks = (set(pattern.findall(text)) for pattern in (self.systems, self.tasks))
        if len(systems) != 1 or len(tasks) != 1:
            return
        of = (systems.pop(), tasks.pop())
        known = self.published.get(of, frozenset())
        if strange := [f for f in SCORE.findall(text) if f not in known]:
            yield f"gives {of[0]} the figure {strange[0]} on {of[1]}, which no published record of the two holds"

    def _against(self, claims: Sequence[Claim], name: str, text: str) -> Iterator[str]:
        """Hold a sentence that names its claim against it: side, certainty, scope, figures."""
        said = self._side(text)
        sides = {c.side for c in claims}
        if said is None:
            yield f"names the claim {name!r} and does not say which of the two is ahead, in words that can be checked"
        elif sides != {said}:
            held = "; ".join(f"{c.side} on {c.task}" for c in claims)
            yield f"says that the proposed system is {said}, but the records hold: {held}"
        sure = any(m["won"] or m["lost"] for m in CLAIM_WORDS.finditer(text)) or PROVEN.search(text)
        if sure and (open_ := [c.task for c in claims if not c.confirmed]):
            yield f"says so as proven, but the tests do not confirm it on {', '.join(open_)}"
        turned = [c.task for c in claims if c.contradicting]
        if turned and not re.search(r"version|otherwise", text):
            yield f"does not say that published versions disagree on {', '.join(turned)}"
        if EVERYWHERE.search(text) and name not in {c.question.id for c in claims}:
            yield f"speaks of all tasks and rests on one; name the question alone: <!-- claim: {claims[0].question.id} -->"
        known = frozenset[str]().union(*(c.figures for c in claims))
        if strange := [f for f in FIGURE.findall(text) if f not in known]:
            yield f"gives the figure {strange[0]}, which the claim {name!r} does not hold; it has {', '.join(sorted(known, key=float))}"

    def _side(self, text: str) -> Side | None:
        """Which side the words put the proposed system on: whoever is named first is their subject. None where they say both or nothing."""
        first = [p.search(text) for p in (self.proposed, self.rivals)]
        turned = first[1] is not None and (first[0] is None or first[1].start() < first[0].start())
        sides: set[Side] = set()
        for m in CLAIM_WORDS.finditer(text):
            if m["level"]:
                sides.add("level")
            else:
                sides.add("ahead" if bool(m["won"] or m["ahead"]) != turned else "behind")
        return sides.pop() if len(sides) == 1 else None


def _published(evidence: Sequence[Evidence]) -> dict[tuple[str, str], frozenset[str]]:
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for e in evidence:
        for s in e.facts.scores:
            values = (s.estimate, s.low, s.high, s.seed_low, s.seed_high, s.fold_mean)
            found[e.facts.system, e.facts.task] |= {f"{100 * x:.1f}" for x in values if x is not None}
    return {key: frozenset(figures) for key, figures in found.items()}


def sentences(page: str) -> Iterator[Sentence]:
    """Sentences of a Markdown page: of paragraphs, entries of lists and cells of tables; not of code that is fenced."""
    text = REFERENCE.sub(r"⟦\g<id>⟧", page.replace("⟦", "[").replace("⟧", "]"))
    text = _FENCE.sub(lambda m: re.sub(r"[^\n]", "", m[0]), text)
    text = _COMMENT.sub(lambda m: re.sub(r"[^\n]", "", m[0]), text)
    for line, paragraph in _paragraphs(text):
        before = ""
        for part in _split(paragraph):
            names = tuple(m["id"] for m in _TOKEN.finditer(part))
            words = " ".join(_TOKEN.sub("", part).split())
            if words or names:
                yield Sentence(line, words, names, before)
            before = f"{before} {words}"


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Pieces of text that belong together, with the line they begin on; cells of tables by themselves."""
    started, held = 1, list[str]()
    for number, line in enumerate([*text.split("\n"), ""], 1):
        entry = re.match(r"\s*(?:[-*+]|\d+\.|#+|>)\s", line)
        if (not line.strip() or entry or line.lstrip().startswith("|")) and held:
            yield started, " ".join(held)
            held = []
        if line.lstrip().startswith("|"):
            yield from ((number, cell) for cell in line.split("|") if cell.strip())
        elif line.strip():
            started = started if held else number
            held.append(line.strip())


def _split(paragraph: str) -> list[str]:
    """Sentences; a reference behind a full stop belongs to what stands before it."""
    pieces: list[str] = []
    for piece in _END.split(paragraph):
        if pieces and _TOKEN.match(piece.lstrip()):
            end = piece.index("⟧") + 1
            pieces[-1] += f" {piece[:end]}"
            piece = piece[end:]
        if piece.strip():
            pieces.append(piece)
    return pieces


def _any_of(names: Sequence[str]) -> re.Pattern[str]:
    """Any of some names as words of their own; nothing where there is none."""
    longest = sorted({n for n in names if n}, key=lambda n: (-len(n), n))
    words = "|".join(re.escape(n).replace(r"\ ", r"\s+") for n in longest)
    return re.compile(rf"(?<![\w.-])(?:{words})(?![\w-])" if words else r"(?!)", re.IGNORECASE)


def _shortened(text: str) -> str:
    return text if len(text) <= 140 else f"{text[:139].rstrip()}…"
