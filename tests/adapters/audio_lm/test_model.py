"""The whole adapter against a server that answers on cue: modes, variants, controls, long clips, replies kept."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.audio_lm.requests.prompts import prompts
from bench.errors import CannotRun, NeedsServer, UsageError
from tests.adapters.audio_lm.asked_model import LABELS, ask, clip_sent, clips, letters, text
from tests.adapters.audio_lm.fault_server import Faults, completion, running


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))


def truth(clip: int) -> str:
    return LABELS[clip % len(LABELS)]


def english(n: int) -> list[str]:
    return list(prompts("en"))[:n]


def test_choice_asks_with_the_labels_on_offer_and_takes_the_word_given(tmp_path: Path) -> None:
    offered: list[list[str]] = []

    def words(body: dict[str, Any]) -> str:
        offered.append(body["structured_outputs"]["choice"])
        return next(w for w in offered[-1] if w.lower() == truth(clip_sent(body)[0]))

    with running(Faults(words=words)) as (_, address):
        answers = ask(address, clips(8), tmp_path)
    assert answers.labels == tuple(truth(i + 1) for i in range(8))
    assert set(answers.statuses) == {"ok"}
    assert [w.lower() for w in offered[0]] == list(LABELS)


def test_free_replies_are_read_by_the_parser_and_kept_as_they_came(tmp_path: Path) -> None:
    replies = {
        1: "She sounds **sad**.",
        2: "asdf",
        3: "I'm sorry, but I cannot determine emotions from audio.",
    }
    with running(Faults(words=lambda body: replies[clip_sent(body)[0]])) as (_, address):
        answers = ask(address, clips(3), tmp_path, mode="free")
    assert answers.statuses[:2] == ("ok", "unparsed")
    assert answers.labels == ("sad", None, None)
    assert answers.replies == tuple(replies.values())


def test_a_free_reply_that_was_cut_off_is_unparsed(tmp_path: Path) -> None:
    def reply(body: dict[str, Any]) -> dict[str, Any]:
        cut = "length" if clip_sent(body)[0] == 1 else "stop"
        return completion("The speaker is happy, although", finish_reason=cut)

    with running(Faults(reply=reply)) as (_, address):
        assert ask(address, clips(2), tmp_path, mode="free").statuses == ("unparsed", "ok")


def test_a_reply_that_the_server_filtered_is_refused(tmp_path: Path) -> None:
    def reply(body: dict[str, Any]) -> dict[str, Any]:
        if clip_sent(body)[0] == 1:
            return completion("", finish_reason="content_filter")
        return (
            completion("happy")
            if "allowed_token_ids" not in body
            else letter_reply(body, dict.fromkeys(LABELS, 0.25))
        )

    for mode in ("choice", "free", "likelihood"):
        with running(Faults(reply=reply)) as (_, address):
            assert ask(address, clips(2), tmp_path, mode=mode).statuses == ("refused", "ok")


def letter_reply(body: dict[str, Any], wanted: dict[str, float], bias: float = 0.0) -> dict[str, Any]:
    """Log-probabilities of the letters behind which the labels stand, the first letter preferred by ``bias``."""
    scores = {letter: math.log(wanted[label]) for label, letter in letters(body).items()}
    scores["A"] += bias
    total = math.log(sum(math.exp(s) for s in scores.values()))
    top = [{"token": x, "logprob": s - total} for x, s in scores.items()]
    assert sorted(body["allowed_token_ids"]) == sorted(ord(x) for x in scores)
    return completion("A", logprobs={"content": [{"token": "A", "logprob": 0.0, "top_logprobs": top}]})


def test_letter_likelihoods_come_back_in_the_order_of_the_table_whatever_order_was_asked(
    tmp_path: Path,
) -> None:
    wanted = {"neutral": 0.1, "happy": 0.2, "sad": 0.3, "angry": 0.4}
    with running(Faults(reply=lambda body: letter_reply(body, wanted))) as (_, address):
        answers = ask(address, clips(2), tmp_path, mode="likelihood", orders=5)
    assert answers.probabilities is not None
    np.testing.assert_allclose(answers.probabilities, [list(wanted.values())] * 2, atol=1e-12)
    assert answers.labels == ("angry", "angry")
    assert answers.notes["order_agreement"] == 1.0
    assert len(answers.variants) == 5


def test_a_taste_for_the_first_letter_is_seen_and_averaged_over_orders(tmp_path: Path) -> None:
    even = dict.fromkeys(LABELS, 0.25)
    with running(Faults(reply=lambda body: letter_reply(body, even, bias=3.0))) as (_, address):
        biased = ask(address, clips(4), tmp_path, mode="likelihood", orders=4)
    assert biased.notes["position_shares"][0] == 1.0
    assert biased.notes["position_bias"] > 0.5
    with running(Faults(reply=lambda body: letter_reply(body, {**even, "sad": 0.9}))) as (_, address):
        honest = ask(address, clips(4), tmp_path, mode="likelihood", orders=4, temperature=0.5)
    assert honest.notes["position_bias"] == pytest.approx(0.0)


def test_summed_likelihood_is_what_audio_adds_to_the_prior(tmp_path: Path) -> None:
    """The model likes the word "happy" with or without audio; audio adds 2 to "sad", and that decides."""

    def reply(body: dict[str, Any]) -> dict[str, Any]:
        word = body["messages"][-1]["content"]
        score = (5.0 if word.lower() == "happy" else 0.0) + (
            2.0 if word.lower() == "sad" and clip_sent(body)[0] > 0 else 0.0
        )
        steps: list[Any] = [None, {"1": {"logprob": -9.0}}]
        steps += [{"2": {"logprob": (score - 10) / len(word)}} for _ in word]
        return completion("x") | {"prompt_logprobs": steps}

    with running(Faults(reply=reply)) as (server, address):
        answers = ask(address, clips(3), tmp_path, mode="likelihood-sum")
        assert server.asked.total() == 4 * 3 + 4, "four labels a clip, and four priors in all"
    assert answers.labels == ("sad",) * 3
    assert answers.probabilities is not None
    expected = np.exp([0, 0, 2, 0]) / np.exp([0, 0, 2, 0]).sum()
    np.testing.assert_allclose(answers.probabilities[0], expected, atol=1e-9)


def test_prompts_vote_and_their_disagreement_is_told(tmp_path: Path) -> None:
    names = english(3)
    firsts: dict[str, str] = {}

    def words(body: dict[str, Any]) -> str:
        seen = firsts.setdefault(text(body), LABELS[1] if len(firsts) < 2 else LABELS[2])
        return next(w for w in body["structured_outputs"]["choice"] if w.lower() == seen)

    with running(Faults(words=words)) as (_, address):
        answers = ask(address, clips(3), tmp_path, prompts=names, aggregate="vote")
    assert answers.labels == ("happy",) * 3
    assert answers.probabilities is not None
    np.testing.assert_allclose(answers.probabilities[0], [0, 2 / 3, 1 / 3, 0])
    assert answers.notes["prompt_agreement"] == pytest.approx(1 / 3)
    assert set(answers.variants) == {f"{name}/0/0" for name in names}


def test_two_identical_runs_tell_the_flip_rate(tmp_path: Path) -> None:
    count: Counter[int] = Counter()

    def words(body: dict[str, Any]) -> str:
        clip = clip_sent(body)[0]
        count[clip] += 1
        label = LABELS[1 + (count[clip] - 1) % 2] if clip == 1 else LABELS[1]
        return next(w for w in body["structured_outputs"]["choice"] if w.lower() == label)

    with running(Faults(words=words)) as (_, address):
        answers = ask(address, clips(4), tmp_path, repeats=2)
    assert answers.notes["flip_rate"] == pytest.approx(0.25)


def test_long_clips_are_asked_in_windows_and_no_second_is_lost(tmp_path: Path) -> None:
    lengths: list[int] = []

    def words(body: dict[str, Any]) -> str:
        lengths.append(clip_sent(body)[1])
        label = "sad" if len(lengths) != 2 else "angry"
        return next(w for w in body["structured_outputs"]["choice"] if w.lower() == label)

    with running(Faults(words=words)) as (_, address):
        answers = ask(address, clips(1, seconds=5.0), tmp_path, longest_seconds=2.0)
    assert len(lengths) == 3
    assert sum(lengths) == 80_000
    assert max(lengths) - min(lengths) <= 1
    assert answers.labels == ("sad",)


def test_or_they_are_rows_with_the_status_truncated_and_are_not_asked(tmp_path: Path) -> None:
    with running() as (server, address):
        answers = ask(address, clips(2, seconds=3.0), tmp_path, longest_seconds=2.0, long="truncated")
        assert server.asked.total() == 0
    assert answers.statuses == ("truncated", "truncated")


def test_the_controls_hear_silence_or_read_the_transcript_alone(tmp_path: Path) -> None:
    seen: list[tuple[int, str]] = []

    def words(body: dict[str, Any]) -> str:
        seen.append((clip_sent(body)[0], text(body)))
        return str(body["structured_outputs"]["choice"][0])

    asked = clips(2, transcripts=("I won the lottery", ""))
    with running(Faults(words=words)) as (_, address):
        ask(address, asked, tmp_path, audio="silence")
        reading = ask(address, asked, tmp_path, audio="none", transcript=True)
    assert [s[0] for s in seen] == [0, -1] or [s[0] for s in seen] == [0, 0, -1]
    assert "I won the lottery" in seen[-1][1]
    assert reading.statuses == ("ok", "failed"), "a clip without transcript is a row that says so"


def test_stored_replies_need_no_server_and_missing_ones_say_so(tmp_path: Path) -> None:
    with running(Faults(words=lambda body: str(body["structured_outputs"]["choice"][1]))) as (_, address):
        first = ask(address, clips(3), tmp_path)
    assert ask(None, clips(3), tmp_path) == first
    assert ask("stored", clips(3), tmp_path) == first
    with pytest.raises(NeedsServer, match="--set SYSTEM:server="):
        ask(None, clips(4), tmp_path)
    with pytest.raises(CannotRun, match="not stored"):
        ask("stored", clips(4), tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("This model does not support audio input", "does not take audio"),
        ("structured_outputs is not supported", "structured outputs"),
        ("logprobs are not enabled", "log-probabilities"),
    ],
)
def test_a_server_that_lacks_a_feature_is_told_from_a_bad_clip(
    tmp_path: Path, words: str, message: str
) -> None:
    with running(Faults(poison="messages", poison_status=400)) as (server, address):
        server._error = lambda status, text, headers=None: type(server)._error(server, status, words)  # type: ignore[method-assign]
        with pytest.raises(CannotRun, match=message):
            ask(address, clips(3), tmp_path)


def test_a_card_may_allow_another_mode_where_the_server_lacks_a_feature(tmp_path: Path) -> None:
    faults = Faults(
        poison="structured_outputs",
        poison_status=400,
        reply=lambda body: completion("The speaker sounds sad."),
    )
    with running(faults) as (server, address):
        message = "structured_outputs is not supported"
        server._error = lambda status, text, headers=None: type(server)._error(server, status, message)  # type: ignore[method-assign]
        with pytest.raises(CannotRun, match="fallback: free"):
            ask(address, clips(3), tmp_path)
        answers = ask(address, clips(3), tmp_path, fallback="free")
    assert answers.labels == ("sad",) * 3
    assert answers.notes["mode"] == "free"
    assert "structured outputs" in answers.notes["fallback"]


def test_hostile_replies_are_rows(tmp_path: Path) -> None:
    nasty: list[Any] = [
        {"choices": []},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": ["a", 1]}}]},
        {"choices": "x", "usage": "y"},
        {"error": "overloaded"},
        completion("<script>alert(1)</script>"),
        completion("x" * 1_000_000),
        completion("\u202e\x00 happy"),
        completion("sad"),
    ]
    for mode in ("choice", "free"):
        with running(Faults(reply=lambda body: dict(nasty[clip_sent(body)[0] - 1]))) as (_, address):
            answers = ask(address, clips(len(nasty)), tmp_path, mode=mode)
        assert answers.statuses[:5] == ("failed",) * 5
        assert set(answers.statuses[5:]) <= {"ok", "unparsed", "refused"}
    for mode in ("likelihood", "likelihood-sum"):
        faults = Faults(reply=lambda body: dict(nasty[clip_sent(body)[0] - 1]))
        with running(faults) as (_, address), pytest.raises(CannotRun, match="no usable answer in 9 of 9"):
            ask(address, clips(len(nasty)), tmp_path, mode=mode)


def test_words_with_quotes_and_prefixes_come_back_as_the_label_they_are(tmp_path: Path) -> None:
    labels = ("calm", "happy", "sad")
    with running(Faults(words=lambda body: f" {body['structured_outputs']['choice'][-1]}\n")) as (_, address):
        assert ask(address, clips(1), tmp_path, labels=labels).labels == ("sad",)


def test_closed_models_answer_by_schema(tmp_path: Path) -> None:
    def words(body: dict[str, Any]) -> str:
        schema = body["response_format"]["json_schema"]["schema"]
        return f'{{"emotion": "{schema["properties"]["emotion"]["enum"][2]}"}}'

    with running(Faults(words=words)) as (_, address):
        assert ask(address, clips(1), tmp_path, constrain="json_schema").labels == ("sad",)


def test_slips_of_a_card_are_told_before_anything_is_asked(tmp_path: Path) -> None:
    for settings, message in (
        ({"prompts": ("nope",)}, "unknown prompt 'nope'"),
        ({"mode": "chioce"}, "did you mean 'choice'"),
        ({"repeats": 0}, "at least one"),
        ({"audio": "none"}, "transcript: true"),
    ):
        with pytest.raises(UsageError, match=message):
            ask(None, clips(1), tmp_path, **settings)  # type: ignore[arg-type]


def test_dimensions_are_asked_on_the_stated_scale_and_come_back_in_0_to_1(tmp_path: Path) -> None:
    def words(body: dict[str, Any]) -> str:
        if "valence" not in text(body):
            return str(body["structured_outputs"]["choice"][0])
        assert "from 1 to 9" in text(body)
        reply = '{"valence": 1, "arousal": 5, "dominance": 9}'
        assert re.fullmatch(body["structured_outputs"]["regex"], reply)
        return reply

    with running(Faults(words=words)) as (_, address):
        answers = ask(address, clips(2), tmp_path, rated=True, dimensions=[1, 9])
    assert answers.dimensions is not None
    np.testing.assert_allclose(answers.dimensions, [[0, 0.5, 1]] * 2)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('Sure! ```json\n{"valence": 2, "arousal": 4, "dominance": 3}\n```', [0.25, 0.75, 0.5]),
        ('{"Valence": 2, "arousal": "high"}', [0.25, None, None]),
        ('{"valence": 7, "arousal": 3, "dominance": true}', [None, 0.5, None]),
        ('{"valence": 1} or rather {"valence": 5}', [None] * 3),
        ("valence 3 of 5", [None] * 3),
        ("{" * 100_000, [None] * 3),
    ],
)
def test_free_ratings_are_taken_only_as_numbers_on_the_scale(
    tmp_path: Path, reply: str, expected: list[float | None]
) -> None:
    def words(body: dict[str, Any]) -> str:
        return reply if "valence" in text(body) else "happy"

    with running(Faults(words=words)) as (_, address):
        answers = ask(address, clips(1), tmp_path, mode="free", rated=True, dimensions=[1, 5])
    assert answers.dimensions is not None
    found = [None if math.isnan(x) else round(x, 9) for x in answers.dimensions[0].tolist()]
    assert found == expected


def test_digits_probabilities_give_the_expected_rating(tmp_path: Path) -> None:
    def reply(body: dict[str, Any]) -> dict[str, Any]:
        if body["messages"][-1]["role"] == "user":
            return letter_reply(body, dict.fromkeys(LABELS, 0.25))
        assert body["messages"][-1]["content"] in ('{"valence": ', '{"arousal": ', '{"dominance": ')
        top = [{"token": str(d), "logprob": math.log(0.5 if d in (1, 2) else 1e-12)} for d in range(1, 6)]
        return completion("1", logprobs={"content": [{"token": "1", "logprob": 0.0, "top_logprobs": top}]})

    with running(Faults(reply=reply)) as (_, address):
        answers = ask(address, clips(1), tmp_path, mode="likelihood", rated=True, dimensions=[1, 5])
    assert answers.dimensions is not None
    np.testing.assert_allclose(answers.dimensions, [[0.125] * 3], atol=1e-6)


def test_a_limit_on_costs_needs_a_price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "x")
    with pytest.raises(UsageError, match="price of tiny is not known"):
        ask(None, clips(1), tmp_path, key_variable="SOME_KEY", max_cost=1.0)
