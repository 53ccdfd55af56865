"""A user's replies from Audio-LLMs: what they say is read, what they leave open stays open."""

from __future__ import annotations

import json
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.audio_lm import Reply, parse_reply
from adapters.audio_lm.replies.faces import faces
from bench.cards.labels import label_table

SEVEN = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
ROWS = [
    json.loads(line)
    for line in Path(__file__).with_name("replies.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize("part", ["open", "held-out"])
def test_hand_labelled_replies_are_read_with_precision_before_coverage(part: str) -> None:
    rows = [row for row in ROWS if row["part"] == part]
    replies = [parse_reply(row["text"], row["labels"], language=row["language"]) for row in rows]
    answered = [(reply, row) for reply, row in zip(replies, rows, strict=True) if reply.status == "ok"]
    right = sum(reply.label == row["label"] for reply, row in answered)
    assert right / len(answered) >= 0.99
    assert right / sum(row["status"] == "ok" for row in rows) >= 0.95


def test_the_hand_labelled_file_covers_the_languages_and_the_statuses() -> None:
    assert len(ROWS) >= 300
    assert {"en", "zh", "ms", "id", "ta"} <= {row["language"] for row in ROWS}
    for language in ("en", "zh", "ms", "id", "ta"):
        assert {r["status"] for r in ROWS if r["language"] == language} == {"ok", "unparsed", "refused"}
    assert sum(row["kind"] == "code-switched" for row in ROWS) >= 15


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("not angry but sad", "sad"),
        ("happy or surprised", None),
        ("I would say sad rather than angry", "sad"),
        ("neither happy nor sad", None),
        ("Happy people tend to speak with higher pitch.", None),
        ("The speaker denies being angry.", None),
        ('She says "I am so happy", but her voice is sad.', "sad"),
        ("Neutral, Happy, Sad, Angry, Fearful, Disgusted, Surprised", None),
        ("Emotion: not happy", None),
        ("Emotion: bored. The voice is not angry; sad would be wrong.", None),
        ('{"emotion": "sad", "emotion": "angry"}', None),
        ("The emotion would be sad.", "sad"),
        ("Don't worry, be happy!", None),
        ("<sad>", "sad"),
        ("Neutral.<|im_end|>", "neutral"),
    ],
)
def test_what_is_denied_quoted_or_left_open_is_no_answer(text: str, label: str | None) -> None:
    assert parse_reply(text, SEVEN).label == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (r"Answer: \boxed{D}", "angry"),
        (r"$\boxed{\textbf{(D)}}$", "angry"),
        (r"\boxed{D: angry}", "angry"),
        (r"\boxed{\text{sad}}", "sad"),
        ("the answer is c", "sad"),
        ("the answer is a sad voice", "sad"),
        ("The correct option is C: sad. Option D: angry is wrong.", "sad"),
        ("Answer: D (sad)", None),
        ("sad (D)", None),
        ("D, sad", None),
        ("C (sad)", "sad"),
        ("sad (C)", "sad"),
        ("A happy speaker.", "happy"),
    ],
)
def test_boxed_letters_count_and_a_letter_beside_another_word_does_not(text: str, label: str | None) -> None:
    assert parse_reply(text, SEVEN, options=SEVEN).label == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("[THINK]angry maybe[/THINK]sad", "sad"),
        ("◁think▷angry maybe◁/think▷sad", "sad"),
        ("<seed:think>angry</seed:think>sad", "sad"),
        ("<think>a</think>happy<think>b</think>", "happy"),
        (
            "<|channel|>analysis<|message|>angry?<|end|><|start|>assistant<|channel|>final<|message|>sad",
            "sad",
        ),
        ("<|channel|>analysis<|message|>angry it seems", None),
        ("<|en|><|SAD|><|Speech|><|woitn|>", "sad"),
        ("<|emotion_sad|>", "sad"),
        ("<|en|><|EMO_UNKNOWN|><|Speech|>", None),
        ("sad\nUser: what is the emotion", None),
        ("s\u200bad", None),
        ("~~angry~~ sad", "sad"),
        ("😡", "angry"),
        ("😀😡", None),
    ],
)
def test_markers_of_other_models_are_read(text: str, label: str | None) -> None:
    assert parse_reply(text, SEVEN).label == label


def test_an_emotion_that_is_not_on_offer_is_never_turned_into_one_that_is() -> None:
    assert parse_reply("excited", SEVEN) == Reply("unparsed")
    assert parse_reply("excited", (*SEVEN, "excited")).label == "excited"
    assert parse_reply("The speaker sounds happy and excited.", SEVEN).label == "happy"
    assert parse_reply("The speaker sounds sad and anxious.", SEVEN) == Reply("unparsed")


def test_letters_are_answers_only_where_their_order_is_given() -> None:
    order = ("angry", "sad", "happy")
    for text in (
        "B",
        "(b)",
        "b.",
        "B. sad",
        "Answer: B",
        "The answer is (B).",
        "选项B",
        "Ｂ",
        "Answer: (B) Sad",
    ):
        assert parse_reply(text, order, options=order).label == "sad", text
        if "sad" not in text.lower():
            assert parse_reply(text, order).status == "unparsed", text
    assert parse_reply("B. happy", order, options=order) == Reply("unparsed")
    assert parse_reply("Z", order, options=order) == Reply("unparsed")
    assert parse_reply("A sad voice.", order, options=order).label == "sad"
    assert parse_reply("A or B", order, options=order) == Reply("unparsed")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Going with D on this one.", "angry"),
        ("A, I suppose you mean? No.", None),
        ("Not B.", None),
        ("A hoặc C đều hợp lý.", None),
        ("A quick guess.", None),
    ],
)
def test_the_one_letter_of_a_short_reply_is_its_answer_unless_doubted(text: str, label: str | None) -> None:
    assert parse_reply(text, SEVEN, options=SEVEN).label == label
    assert parse_reply(text, SEVEN).label is None


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I had it down as calm at first, and sad seemed odd. Then the voice cracks. Sad.", "sad"),
        ("Angry. And the words are happy. Sad.", None),
        ("1. angry 2. sad 3. fearful", None),
        ("If it were any louder, I would pick angry.", None),
        ("If it were any louder, I would pick angry, but as it is, neutral.", "neutral"),
        ('The intake of breath and the "what?!" make this surprise.', "surprised"),
        ("There is nothing emotional in this recording: neutral", "neutral"),
        ("What it certainly is not: sad", None),
    ],
)
def test_last_words_decide_and_unmet_conditions_do_not(text: str, label: str | None) -> None:
    assert parse_reply(text, SEVEN).label == label


@pytest.mark.parametrize(
    ("text", "language", "label"),
    [
        ("Neutral is the safest choice.", "en", "neutral"),
        ("Netral adalah pilihan paling masuk akal.", "id", "neutral"),
        ("โกรธคือตัวเลือกที่ดีที่สุด", "th", "angry"),
        ("从音调的变化可以听出她很愤怒。", "zh", "angry"),
        ("Sad songs are a popular choice at funerals.", "en", None),
        ("Angry customers pick a fight.", "en", None),
        ("The landlord was furious.", "en", None),
        ("Berita itu membuatnya sedih.", "id", None),
        ("Terkejut betul saya!", "ms", None),
        ("Her voice shifts from calm to angry.", "en", None),
        ("语气从悲伤转为愤怒。", "zh", None),
        ("Giọng chuyển từ vui sang buồn.", "vi", None),
    ],
)
def test_prose_gives_a_label_only_where_known_words_assert_it(
    text: str, language: str, label: str | None
) -> None:
    assert parse_reply(text, SEVEN, language=language).label == label


def test_labels_may_be_prefixes_of_one_another_hold_quotes_or_be_unknown_to_the_table() -> None:
    labels = ("sad", "sad and tired", 'so-called "fine"', "gefühlt.*")
    assert parse_reply("Sad and tired.", labels).label == "sad and tired"
    assert parse_reply("sad", labels).label == "sad"
    assert parse_reply("so-called “fine”", labels).label == 'so-called "fine"'
    assert parse_reply("gefühlt.*", labels).label == "gefühlt.*"
    assert parse_reply("anything", ()) == Reply("unparsed")


def test_each_label_is_found_by_its_name_in_every_language_of_the_table() -> None:
    table = label_table()
    for name in table.names:
        for language, words in table.synonyms[name].items():
            if name != "other":
                reply = parse_reply(words[0], table.names, language=language)
                assert reply == Reply("ok", name), (language, words[0], reply)


@pytest.mark.parametrize(
    "text",
    [
        "x " * 5_000_000,
        "sad " * 2_500_000,
        '"' * 19_000,
        "{" * 19_000,
        "<script" * 2_700,
        "not " * 4_900,
        "<think>" * 1_000_000,
        "不" * 19_000 + "高兴",
        "\ufdfa" * 100_000,
        "answer: " * 2_400,
    ],
    ids=lambda text: f"{text[:7]!r}x{len(text)}",
)
def test_hostile_text_takes_bounded_time(text: str) -> None:
    parse_reply("sad", SEVEN)
    started = time.process_time()
    parse_reply(text, SEVEN, options=SEVEN)
    assert time.process_time() - started < 5


def test_ten_megabytes_of_reasoning_do_not_hide_the_answer() -> None:
    assert parse_reply("<think>" + "hmm angry? " * 1_000_000 + "</think>\nSad", SEVEN).label == "sad"
    assert parse_reply("<think>angry, surely" * 3, SEVEN) == Reply("unparsed")


WORDS = sorted(
    {w for name in SEVEN for words in label_table().synonyms[name].values() for w in words} | set(SEVEN)
)
PIECES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(WORDS),
    st.sampled_from(
        [
            "not ", " or ", " but ", "Answer: ", "{", '"emotion": "', "}", "<think>", "</think>", "<b>", "\n", "? ",
            ", ", "不是", "இல்லை", " bukan ", " rather than ", "(B)", "\u200f", "**", "I cannot ", "final answer: ",
        ]
    ),
)  # fmt: skip


@settings(max_examples=2_000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(pieces=st.lists(PIECES, max_size=7), lettered=st.booleans())
def test_no_reply_raises_and_a_label_always_stands_in_the_text(pieces: list[str], lettered: bool) -> None:
    text = "".join(pieces)
    reply = parse_reply(text, SEVEN, options=SEVEN if lettered else None)
    assert (reply.status == "ok") == (reply.label in SEVEN)
    assert reply.status in ("ok", "unparsed", "refused")
    if reply.label is not None and not lettered:
        names = {w for words in label_table().synonyms[reply.label].values() for w in words} | {reply.label}
        drawn = reply.label in faces(text)
        assert drawn or any(_stem(name) in _letters(text) for name in names), text


def _letters(text: str) -> str:
    """Case-folded NFKC text without marks, spaces and anything invisible: an independent look for the word."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in folded if unicodedata.category(c)[0] in "LMN")


def _stem(name: str) -> str:
    """The name as ``_letters`` shows it, without the Tamil endings that inflection changes."""
    return _letters(name).removesuffix("ம்").removesuffix("ு")
