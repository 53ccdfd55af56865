"""M3ED's nested JSON: show → dialogue → ``Dialog`` → utterance, with three annotators and the speakers' names.

Layout: ``*annotation*.json``; clips ``<Speaker>_<utterance>.wav`` in any folder; ``movie_list_{train,val,test}.txt``.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from bench.corpora.preparation.listing import Listing, add_clip
from bench.corpora.preparation.tables import TableRow, cell, decode_text
from bench.corpora.preparation.votes import dump_votes
from bench.errors import DataError, UsageError

if TYPE_CHECKING:
    from bench.cards.corpus_layout import Part
    from bench.corpora.preparation.tree import SourceTree

SPLITS = ("train", "val", "test")


def read(part: Part, tree: SourceTree, listing: Listing) -> None:
    """List the utterances of all dialogues; a speaker is a character of a show, a session is a show.

    Args:
        part: of the card's layout.
        tree: the source.
        listing: what the clips and problems are added to.
    """
    if part.options:
        raise UsageError("reader nested-dialogues takes no options")
    splits = _splits(tree, listing)
    for rel in tree.matching(["**/*annotation*.json"])[1]:
        try:
            shows = json.loads(decode_text(tree.files[rel].path, ("utf-8-sig",), rel))
        except ValueError as error:
            raise DataError(f"{rel}: not valid JSON ({error})") from None
        if not _is_dialogues(shows):
            continue
        listing.used.add(rel)
        for show, dialogues in shows.items():
            for dialogue, content in dialogues.items():
                for utterance, turn in content["Dialog"].items():
                    row = _row(show, dialogue, content, turn, rel) | {"split": splits.get(show, "")}
                    name = f"{turn['Speaker']}_{utterance}.wav"
                    found = tree.find(name)
                    if len(found) == 1:
                        add_clip(part, tree, listing, name, found[0], row)
                    elif found:
                        listing.say("ambiguous", name, f"{len(found)} files have this name, first {found[0]}")
                    else:
                        listing.say("missing audio", name, f"listed in {rel}, but there is no such file")


def _is_dialogues(shows: Any) -> bool:
    dialogues = (
        [d for s in shows.values() if isinstance(s, dict) for d in s.values()]
        if isinstance(shows, dict)
        else []
    )
    return bool(dialogues) and all(isinstance(d, dict) and "Dialog" in d for d in dialogues)


def _row(show: str, dialogue: str, content: dict[str, Any], turn: dict[str, Any], rel: str) -> TableRow:
    try:
        emotions = turn["EmoAnnotation"]
        answers = [v for k, v in emotions.items() if k.startswith("EmoAnnotator")]
        who = content.get("SpeakerInfo", {}).get(turn["Speaker"], {})
        return {
            "speaker": f"{show}/{who.get('Name') or turn['Speaker']}",
            "emotion": cell(emotions["final_main_emo"]),
            "emotions": cell(emotions.get("final_mul_emo")),
            "soft_votes": dump_votes(
                Counter(a.strip() for x in answers for a in cell(x).split(",") if a.strip())
            ),
            "transcript": cell(turn.get("Text")),
            "gender": cell(who.get("Gender")),
            "age": cell(who.get("Age")),
            "session": show,
            "dialogue": dialogue,
        }
    except (KeyError, AttributeError, TypeError) as error:
        raise DataError(
            f"{rel}: {show}, {dialogue}: an utterance without {error}; expected M3ED's format"
        ) from None


def _splits(tree: SourceTree, listing: Listing) -> dict[str, str]:
    found: dict[str, str] = {}
    for split in SPLITS:
        for rel in tree.matching([f"**/movie_list_{split}.txt"])[1]:
            listing.used.add(rel)
            found |= dict.fromkeys(decode_text(tree.files[rel].path, ("utf-8-sig",), rel).split(), split)
    return found
