"""IEMOCAP's EmoEvaluation files: turns with a category, three ratings, and every annotator's answers.

``Session1/dialog/EmoEvaluation/Ses01F_impro01.txt`` lists the turns of a dialogue; the clips are
``Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav``, the words ``Session1/dialog/transcriptions/*.txt``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.corpora.preparation.listing import Listing, add_clip
from bench.corpora.preparation.tables import TableRow, decode_text
from bench.corpora.preparation.votes import dump_votes
from bench.errors import DataError, UsageError, nearest

if TYPE_CHECKING:
    from bench.cards.corpus_layout import Part
    from bench.corpora.preparation.tree import SourceTree

TURN = re.compile(
    r"\[(?P<start>[\d.]+) - (?P<end>[\d.]+)\]\s+(?P<turn>\S+)\s+(?P<emotion>\S+)\s+"
    r"\[(?P<valence>[\d.]+), (?P<arousal>[\d.]+), (?P<dominance>[\d.]+)\]"
)
TURN_NAME = re.compile(
    r"(?P<dialogue>Ses(?P<session>\d\d)[FM]_(?P<script>(?P<style>impro|script)\w*?))_(?P<gender>[FM])[A-Z]*\d+"
)
CATEGORY = re.compile(r"C-(?P<who>[A-Z]+\d+):\s*(?P<answers>.*?)\s*(\(.*)?$")
"""One annotator's categories; ``C-E2`` is an evaluator, ``C-F1`` and ``C-M1`` are the actors judging themselves."""
SPOKEN = re.compile(r"(?P<turn>Ses\w+) \[[\d.]+-[\d.]+\]:\s*(?P<words>.*)")
ENCODINGS = ("utf-8-sig", "latin-1")


def read(part: Part, tree: SourceTree, listing: Listing) -> None:
    """List the turns of all dialogues. ``soft_votes`` are the evaluators' answers.

    An evaluator who names two emotions gives each a vote. ``options: {self_reports: true}`` counts the actors' own
    judgements as well.

    Args:
        part: of the card's layout.
        tree: the source.
        listing: what the clips and problems are added to.
    """
    if unknown := set(part.options) - {"self_reports"}:
        raise UsageError(
            f"reader emo-evaluation: no option {sorted(unknown)[0]!r}; {nearest(min(unknown), ['self_reports'])}"
        )
    self_reports = bool(part.options.get("self_reports", False))
    _, evaluations = tree.matching(["**/dialog/EmoEvaluation/Ses*.txt"])
    words = _transcripts(tree, listing)
    for rel in evaluations:
        listing.used.add(rel)
        for row in _turns(decode_text(tree.files[rel].path, ENCODINGS, rel), rel, self_reports):
            turn = row.pop("turn")
            name = f"sentences/wav/{row['dialogue']}/{turn}.wav"
            found = tree.find(name)
            if not found:
                listing.say("missing audio", name, f"listed in {rel}, but there is no such file")
            else:
                row["transcript"] = words.get(turn, "")
                add_clip(part, tree, listing, f"{row['dialogue']}/{turn}", found[0], row)


def _turns(text: str, rel: str, self_reports: bool) -> Iterator[TableRow]:
    row: TableRow = {}
    votes: Counter[str] = Counter()
    for line in text.splitlines():
        if found := TURN.match(line):
            if row:
                yield {**row, "soft_votes": dump_votes(votes)}
            name = TURN_NAME.fullmatch(found["turn"])
            if name is None:
                raise DataError(f"{rel}: {found['turn']!r} is no name of an IEMOCAP turn")
            row = {k: found[k] for k in ("turn", "emotion", "valence", "arousal", "dominance")}
            row |= {k: name[k] for k in ("session", "dialogue", "script", "style", "gender")}
            row["speaker"] = name["session"] + name["gender"]
            votes = Counter()
        elif (answer := CATEGORY.match(line)) and (self_reports or answer["who"].startswith("E")):
            votes.update(a for part in answer["answers"].split(";") if (a := part.strip()))
    if row:
        yield {**row, "soft_votes": dump_votes(votes)}


def _transcripts(tree: SourceTree, listing: Listing) -> dict[str, str]:
    words: dict[str, str] = {}
    for rel in tree.matching(["**/dialog/transcriptions/Ses*.txt"])[1]:
        listing.used.add(rel)
        for line in decode_text(tree.files[rel].path, ENCODINGS, rel).splitlines():
            if found := SPOKEN.match(line):
                words[found["turn"]] = found["words"].strip()
    return words
