"""What the shipped corpus cards promise: every corpus of the field by name, with labels that other suites agree on."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cards.labels import label_table
from bench.cards.registry import corpus_cards
from bench.corpora.metadata import read_rows
from bench.corpora.preparation.preparing import Preparation, prepare
from bench.corpora.prepared import PreparedCorpus
from tests.command import Command
from tests.tasks.fixture_trees import write_tone

LEVELS = {
    "data": "emodb indowave nemo-subset",
    "layout": (
        "indowavesentiment nemo sg-ecmt iemocap meld m3ed msp-podcast crema-d esd ravdess savee tess emovo "
        "jl-corpus emotale thai-ser emota visec casia mesd subesco urdu aesdd cafe turev-db baved emozionalmente"
    ),
    "described": (
        "asvp-esd ased emns emov-db enterface mead mer2023 oreau pavoque polish resd shemo "
        "sgtv msp-improv quechua-collao cameo malay-private"
    ),
}
EMOBOX_NAMES = {
    "asvpesd": "asvp-esd", "cremad": "crema-d", "emovdb": "emov-db", "jlcorpus": "jl-corpus",
    "msppodcast": "msp-podcast", "turevdb": "turev-db",
}  # fmt: skip
ITALIAN = {
    "gio": "happy",
    "dis": "disgusted",
    "pau": "fearful",
    "rab": "angry",
    "sor": "surprised",
    "tri": "sad",
    "neu": "neutral",
}
KEPT_APART = {
    ("iemocap", "exc"): "excited",  # EmoBox merges it into happy; here the views do
    ("emodb", "boredem"): "bored",  # EmoBox's spelling of a folder; the owner's code is L
    ("asvpesd", "12"): "disappointed",
    ("msppodcast", "X"): None,
}
"""Where a card says another thing than EmoBox's label map, or EmoBox's word needs reading."""


def test_every_corpus_of_the_field_is_listed_with_its_level(serbench: Command) -> None:
    listed = {row["name"]: row for row in serbench("list", "corpora", "--json").json}
    for level, names in LEVELS.items():
        assert {n: listed.get(n, {}).get("verification") for n in names.split()} == dict.fromkeys(
            names.split(), level
        )
    assert listed["sg-ecmt"]["accents"] == ["en-SG", "zh-SG", "ms-SG", "ta-SG"]
    assert "crema-d" in listed["cameo"]["contains"]


@pytest.mark.parametrize("name", sorted(corpus_cards()))
def test_a_card_says_what_a_reader_needs(name: str) -> None:
    card = corpus_cards()[name]
    assert all((card.title, card.licence, card.source, card.verification))
    assert card.traps, "every corpus has traps; say them"
    for raw, canonical in card.labels.items():
        explained = any(re.search(rf"\b{re.escape(raw)}\b", trap) for trap in card.traps)
        assert canonical is not None or explained, f"{raw} is left out without a reason"
    assert set(card.contains) <= set(corpus_cards())
    for member in card.contains:
        assert set(corpus_cards()[member].languages) <= set(card.languages)
    subtags = {language.split("-")[0] for language in card.languages}
    assert {a.split("-")[0] for a in card.accents} <= subtags | {"quy"}


def test_copies_of_the_same_recordings_share_their_pool() -> None:
    cards = corpus_cards()
    assert cards["crema-d-perceived"].pool_name == cards["crema-d"].pool_name == "crema-d"
    assert cards["indowavesentiment"].pool_name == cards["indowave"].pool_name == "indowave"
    assert cards["nemo"].pool_name == cards["nemo-subset"].pool_name == "nemo"


@pytest.mark.real
def test_label_maps_agree_with_those_of_emobox(real_corpora: Path) -> None:
    cards, table = corpus_cards(), label_table()
    compared = 0
    with (real_corpora.parent / "reference" / "emobox_inventory.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["dataset"] == "track2":
                continue  # a test set of their own making, not a corpus
            card = cards[EMOBOX_NAMES.get(row["dataset"], row["dataset"])]
            mapped = {k.casefold(): v for k, v in card.labels.items()}
            theirs: dict[str, str] = json.loads(row["label_map"]) or ITALIAN
            for code in {**json.loads(row["labels"]), **theirs}:
                word = theirs.get(code, code)
                expected = KEPT_APART.get((row["dataset"], code), table.canonical(word))
                # Where EmoBox writes a word for the owner's code (Angry for 05), the word must be among our classes.
                ours = mapped.get(code.casefold(), expected)
                assert code.casefold() in mapped or expected in card.labels.values(), (card.name, code)
                if ours is not None:
                    assert ours == expected, (card.name, code, word)
                compared += 1
            promised = card.clips
            if promised is not None and row["utterances"]:
                assert (
                    abs(promised - int(row["utterances"])) <= max(20, promised // 10)
                    or card.name == "iemocap"
                )
    assert compared > 180


@pytest.mark.real
def test_emodb_read_from_its_file_names_agrees_with_the_shared_copy(
    real_corpus: Callable[[str], Path], tmp_path: Path
) -> None:
    cards = corpus_cards()
    _, shared = read_rows(real_corpus("emodb") / "metadata.csv", cards["emodb"])
    for row in shared:
        write_tone(tmp_path / "wav" / Path(row["file_name"]).with_suffix(".wav").name, 0.05, 200)
    prepare(Preparation(cards["emodb"], tmp_path / "wav", tmp_path / "emodb", workers=1))
    _, rows = read_rows(tmp_path / "emodb" / "metadata.csv", PreparedCorpus(cards["emodb"], tmp_path).card)
    prepared = {Path(row["source_path"]).stem: row for row in rows}
    assert len(prepared) == len(shared) == 535
    for theirs in shared:
        ours = prepared[Path(theirs["file_name"]).stem]
        for column in ("speaker", "emotion", "gender", "transcript"):
            assert ours[column] == theirs[column]


def test_the_documentation_lists_every_card_as_it_is() -> None:
    text = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    table = {line.split("`")[1]: [cell.strip() for cell in line.strip("|").split("|")] for line in lines}
    for name, card in corpus_cards().items():
        if not card.synthetic:
            clips = "" if card.clips is None else f"{card.clips:,}"
            speakers = "" if card.speakers is None else f"{card.speakers}"
            tags = ", ".join(card.accents or card.languages)
            assert table[name] == [f"`{name}`", tags, str(card.verification), card.access, clips, speakers]
