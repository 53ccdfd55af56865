"""What an Audio-LLM is asked: the paper's words, ours in eight languages, options in an order that a seed decides."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pytest

from adapters.audio_lm import parse_reply
from adapters.audio_lm.model import AudioLanguageModel
from adapters.audio_lm.requests.option_orders import option_orders
from adapters.audio_lm.requests.prompt_page import prompt_page
from adapters.audio_lm.requests.prompts import (
    parse_prompts,
    prompt,
    prompt_languages,
    prompts,
    render,
    render_dimensions,
)
from bench.cards.registry import load_system
from bench.errors import UsageError
from bench.execution.contract import sent_with_one_clip

SEVEN = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
PAPER_ORDER = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
EVERY = [p for language in prompt_languages() for p in prompts(language).values()]


def test_the_papers_prompt_is_verbatim() -> None:
    assert render(prompt("paper"), SEVEN, PAPER_ORDER).text == (
        "Determine the speaker's emotion in the given audio. Reply with a single label from: "
        "Neutral, Happy, Sad, Angry, Fearful, Disgusted, Surprised."
    )


def test_every_language_has_five_paraphrases_and_no_name_stands_twice() -> None:
    assert set(prompt_languages()) >= {"en", "zh", "ms", "ta", "id", "th", "vi", "tl"}
    names = [p.name for p in EVERY]
    assert len(names) == len(set(names))
    for language in prompt_languages():
        assert len(prompts(language)) >= 6
        assert len({render(p, SEVEN, SEVEN).text for p in prompts(language).values()}) >= 6


@pytest.mark.parametrize("asked", EVERY, ids=lambda p: p.name)
def test_options_shown_are_the_labels_on_offer_in_order_and_are_read_back(asked) -> None:
    order = option_orders(SEVEN, 2, seed=7)[1]
    plain = render(asked, SEVEN, order)
    lettered = render(asked, SEVEN, order, form="lettered")
    shown = re.findall(r"\(([A-G])\) ([^,、()。.]+)", lettered.text)
    assert [letter for letter, _ in shown] == list("ABCDEFG")
    assert [parse_reply(word, SEVEN, language=asked.language).label for _, word in shown] == list(order)
    assert lettered.options == order
    assert plain.options is None
    assert "{" not in plain.text + lettered.text
    assert parse_reply(plain.text, SEVEN, language=asked.language).status == "unparsed", (
        "an echo is no answer"
    )


def test_orders_are_balanced_over_positions_and_decided_by_the_seed_alone() -> None:
    orders = option_orders(SEVEN, 14, seed=3)
    assert orders == option_orders(SEVEN, 14, seed=3)
    assert orders != option_orders(SEVEN, 14, seed=4)
    assert orders[0] == tuple(SEVEN)
    for place in range(7):
        assert sorted(o[place] for o in orders) == sorted([*SEVEN, *SEVEN]), "each label twice at each place"


def test_the_hash_knows_wording_order_form_and_control_but_not_the_clip() -> None:
    base = render(prompt("paper"), SEVEN, SEVEN, "hello")
    assert base.prompt_hash == render(prompt("paper"), SEVEN, SEVEN, "good bye").prompt_hash
    others = [
        render(prompt("paper"), SEVEN, SEVEN),
        render(prompt("en-1"), SEVEN, SEVEN, "hello"),
        render(prompt("paper"), SEVEN, option_orders(SEVEN, 2, seed=1)[1], "hello"),
        render(prompt("paper"), SEVEN, SEVEN, "hello", "lettered"),
        render(prompt("paper"), SEVEN, SEVEN, "hello", control="text-only"),
        render(prompt("paper"), SEVEN, SEVEN, "hello", control="audio-free"),
    ]
    assert len({base.prompt_hash, *(o.prompt_hash for o in others)}) == 7


def test_controls_take_away_the_audio_or_its_content() -> None:
    assert render(prompt("paper"), SEVEN, SEVEN).audio == "clip"
    silent = render(prompt("paper"), SEVEN, SEVEN, control="audio-free")
    assert silent.audio == "silence"
    assert silent.text == render(prompt("paper"), SEVEN, SEVEN).text
    for language in prompt_languages():
        first = next(iter(prompts(language).values()))
        text_only = render(first, SEVEN, SEVEN, "{options} {transcript}", control="text-only")
        assert text_only.audio == "none"
        assert "{options} {transcript}" in text_only.text
    with pytest.raises(UsageError, match="needs a transcript"):
        render(prompt("paper"), SEVEN, SEVEN, control="text-only")


def test_dimensions_are_asked_on_the_stated_scale() -> None:
    for language in prompt_languages():
        text = render_dimensions(language, 1, 7).text
        assert all(f'"{name}"' in text for name in ("valence", "arousal", "dominance"))
        assert min(text.count("1"), text.count("7")) >= 4
    with pytest.raises(UsageError, match="runs nowhere"):
        render_dimensions("en", 5, 1)


def test_mistakes_are_named() -> None:
    with pytest.raises(UsageError, match="no prompts in language 'fr'"):
        prompts("fr")
    with pytest.raises(UsageError, match=r"unknown prompt 'papr'.*paper"):
        prompt("papr")
    with pytest.raises(UsageError, match="no arrangement"):
        render(prompt("paper"), SEVEN, SEVEN[:3])
    good = "language: en\ncapital: true\nseparator: ','\nspaced: true\ntranscript: '{transcript}'\ntext_only: t\ndimensions: '{low} {high}'\nprompts:\n  a:\n    question: q\n    plain: '{options}'\n    lettered: '{options}'\n"
    assert parse_prompts(good, "mine.yaml")["a"].language == "en"
    with pytest.raises(UsageError, match=r"mine.yaml, line \d+.*expected \{options\}"):
        parse_prompts(good.replace("plain: '{options}'", "plain: none"), "mine.yaml")
    with pytest.raises(UsageError, match=r"mine.yaml, line 1: unknown key 'langage'"):
        parse_prompts(good.replace("language", "langage"), "mine.yaml")


def test_every_prompt_says_which_english_wording_it_means_and_the_page_shows_both() -> None:
    english = set(prompts("en"))
    for asked in EVERY:
        assert (asked.wording.says in english) == (asked.language != "en"), asked.name
    for language in set(prompt_languages()) - {"en"}:
        assert {p.wording.says for p in prompts(language).values()} == english
    page = Path(__file__).parents[3] / "docs" / "prompts.md"
    assert page.read_text(encoding="utf-8") == prompt_page(), (
        "python -m adapters.audio_lm.requests.prompt_page > docs/prompts.md"
    )


def test_disgust_is_not_called_hatred_nor_loudness_violence_and_widths_are_not_mixed() -> None:
    assert "அருவருப்பு" in render(prompt("ta-1"), SEVEN, SEVEN).text
    assert "வெறுப்பு" not in render(prompt("ta-1"), SEVEN, SEVEN).text
    assert "kekerasan" not in prompt("id-3").wording.question
    for asked in prompts("zh").values():
        shown = [
            asked.wording.question,
            asked.wording.plain,
            asked.wording.lettered,
            asked.settings.transcript,
        ]
        for text in [*shown, asked.settings.text_only, asked.settings.dimensions.split("JSON")[0]]:
            halves = [c for c in text if c in ",:;()!?" and unicodedata.east_asian_width(c) == "Na"]
            assert not halves, text


def test_a_card_can_wrap_the_question_as_its_owner_prompts_and_the_check_shows_what_is_sent() -> None:
    card = load_system("meralion-2-10b-choice")
    sent = sent_with_one_clip(card, SEVEN)
    assert sent is not None
    (message,) = json.loads(sent)
    (words,) = [p["text"] for p in message["content"] if p["type"] == "text"]
    assert words == (
        "Instruction: Determine the speaker's emotion in the given audio. Reply with a single label from: Neutral, Happy, Sad, "
        "Angry, Fearful, Disgusted, Surprised. \nFollow the text instruction based on the following audio: <SpeechHere>"
    )
    assert sent_with_one_clip(load_system("majority"), SEVEN) is None


@pytest.mark.parametrize("template", ["no slot", "{text} and {text}"])
def test_a_template_without_one_slot_is_refused(template: str) -> None:
    with pytest.raises(UsageError, match=r"template must hold \{text\} once"):
        AudioLanguageModel(model="m", mode="free", template=template)
