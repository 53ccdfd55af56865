"""Nothing unusable is stored or becomes a score: it is a failed request with a cause, and the next run asks again."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.audio_lm.model import store_path
from adapters.audio_lm.replies.completions import letter_probabilities
from adapters.audio_lm.requests import client
from adapters.audio_lm.requests.reply_cache import ReplyStore
from bench.errors import CannotRun
from tests.adapters.audio_lm.asked_model import LABELS, ask, clip_sent, clips
from tests.adapters.audio_lm.fault_server import Faults, completion, running
from tests.adapters.audio_lm.test_model import letter_reply
from tests.adapters.audio_lm.unusable_replies import LETTERS, NO_ANSWER, NO_LETTERS, NO_REPLY

MODES = ("free", "choice", "likelihood")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.RetryPolicy, "__init__", _quick(client.RetryPolicy.__init__))


def _quick(init: Any) -> Any:
    def quick(self: client.RetryPolicy, **settings: Any) -> None:
        init(self, **({"longest_wait": 0.02} | settings))

    return quick


def well(body: dict[str, Any]) -> dict[str, Any]:
    """What a healthy server says: angry."""
    if "allowed_token_ids" in body:
        return letter_reply(body, dict.fromkeys(LABELS, 0.1) | {"angry": 0.7})
    choice = body.get("structured_outputs", {}).get("choice", [])
    return completion(next((w for w in choice if w.lower() == "angry"), "angry"))


def stored_replies() -> int:
    with ReplyStore(store_path("tiny")) as store:
        return sum("choices" in s.reply or "error" in s.reply for s in store.stored())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NO_REPLY)
def test_what_is_no_reply_fails_with_its_cause_and_is_asked_again(
    tmp_path: Path, name: str, mode: str
) -> None:
    made, cause = NO_REPLY[name]
    with running(Faults(reply=lambda body: made())) as (server, address):
        with pytest.raises(CannotRun, match=f"no usable answer in 4 of 4: .*{cause}"):
            ask(address, clips(4), tmp_path, mode=mode)
        assert server.asked.total() == 4 * client.BAD_ATTEMPTS, "retried, and within limits"
    assert stored_replies() == 0
    with running(Faults(reply=lambda body: made() if clip_sent(body)[0] == 2 else well(body))) as (
        _,
        address,
    ):
        answers = ask(address, clips(4), tmp_path, mode=mode)
    assert answers.statuses == ("ok", "failed", "ok", "ok")
    assert stored_replies() == 3
    with running(Faults(reply=well)) as (server, address):
        assert ask(address, clips(4), tmp_path, mode=mode).labels == ("angry",) * 4
        assert server.asked.total() == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_reply_that_is_no_use_once_is_asked_for_again_at_once(tmp_path: Path, mode: str) -> None:
    bad = [made() for made, _ in NO_REPLY.values()]

    def reply(body: dict[str, Any]) -> dict[str, Any]:
        return bad.pop() if len(bad) % 2 else (bad and bad.pop() and well(body)) or well(body)

    with running(Faults(reply=reply)) as (_, address):
        assert ask(address, clips(8), tmp_path, mode=mode).statuses == ("ok",) * 8


@pytest.mark.parametrize("kind", ["garbage", "list", "page"])
def test_what_is_no_json_fails_with_its_cause(tmp_path: Path, kind: str) -> None:
    cause = r"no usable answer in 2 of 2: .*(no JSON|web page)"
    with running(Faults(script=[kind] * 100)) as (_, address), pytest.raises(CannotRun, match=cause):
        ask(address, clips(2), tmp_path, mode="free")
    assert stored_replies() == 0


@pytest.mark.parametrize("kind", ["trickle", "flood"])
def test_a_reply_without_end_is_cut(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cause = "no whole reply within 0.5 s" if kind == "trickle" else "larger than 8 MiB"
    seconds = 0.5 if kind == "trickle" else 30.0
    with running(Faults(script=[kind] * 100)) as (server, address):
        with pytest.raises(CannotRun, match=f"no usable answer in 1 of 1: .*{cause}"):
            ask(address, clips(1), tmp_path, mode="free", request_seconds=seconds)
        assert server.asked.total() == client.BAD_ATTEMPTS


@pytest.mark.parametrize("mode", ["free", "choice"])
@pytest.mark.parametrize("name", NO_ANSWER)
def test_what_says_nothing_is_a_row_on_one_clip_and_no_result_on_all(
    tmp_path: Path, name: str, mode: str
) -> None:
    text, cause = NO_ANSWER[name]
    if mode == "choice" and not any(x in cause for x in ("no audio", "reasoning")):
        cause = "the server ignored the constraint on 4 of 4"

    def one(body: dict[str, Any]) -> dict[str, Any]:
        return completion(text) if clip_sent(body)[0] == 2 else well(body)

    with running(Faults(reply=one)) as (_, address):
        answers = ask(address, clips(4), tmp_path / "one", mode=mode)
    assert answers.statuses[1] == ("refused" if name == "deaf" else "unparsed")
    assert (answers.statuses[0], *answers.statuses[2:]) == ("ok",) * 3
    said = pytest.raises(CannotRun, match=f"no usable answer in 4 of 4: .*{cause}")
    with running(Faults(words=lambda body: text)) as (_, address), said:
        ask(address, clips(4), tmp_path, mode=mode, temperature=0.5)


@pytest.mark.parametrize("text", ["!" * 64, NO_ANSWER["deaf"][0]])
def test_a_sick_server_is_asked_again_when_it_is_well(tmp_path: Path, text: str) -> None:
    with running(Faults(words=lambda body: text)) as (_, address), pytest.raises(CannotRun):
        ask(address, clips(4), tmp_path, mode="free")
    with running(Faults(reply=well)) as (server, address):
        assert ask(address, clips(4), tmp_path, mode="free").labels == ("angry",) * 4
        assert server.asked.total() == 4


def test_replies_in_words_that_cannot_be_read_stay_stored(tmp_path: Path) -> None:
    text = NO_ANSWER["prose about nothing"][0]
    with running(Faults(words=lambda body: text)) as (server, address):
        for _ in range(2):
            with pytest.raises(CannotRun, match="serbench replies forget"):
                ask(address, clips(4), tmp_path, mode="free")
        assert server.asked.total() == 4, "they may be paid for, and a better parser may read them"


def test_text_parts_are_joined(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "an"}, {"type": "text", "text": "gry"}]
    with running(Faults(reply=lambda body: completion("", message={"content": parts}))) as (_, address):
        for mode in ("free", "choice"):
            assert ask(address, clips(2), tmp_path, mode=mode).labels == ("angry",) * 2


@pytest.mark.parametrize("text", ["ANGRY", '"angry"', "The speaker sounds angry, because the voice is loud."])
def test_an_ignored_constraint_is_told_and_the_words_are_read(tmp_path: Path, text: str) -> None:
    with running(Faults(words=lambda body: text)) as (_, address):
        free = ask(address, clips(3), tmp_path, mode="free")
        choice = ask(address, clips(3), tmp_path, mode="choice")
    assert free.labels == choice.labels == ("angry",) * 3
    assert choice.notes["constraint"] == "constraint ignored on 3 of 3"
    assert "constraint" not in free.notes


@pytest.mark.parametrize("name", LETTERS)
def test_letters_that_are_not_listed_or_are_impossible_have_no_more_than_their_share(name: str) -> None:
    reply, expected = LETTERS[name]
    found = letter_probabilities(json.loads(json.dumps(reply)), "ABCD")
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("name", LETTERS)
def test_and_they_are_read_from_a_server(tmp_path: Path, name: str) -> None:
    raw = json.dumps(LETTERS[name][0])
    with running(Faults(raw=lambda body: raw)) as (_, address):
        answers = ask(address, clips(2), tmp_path, mode="likelihood")
    assert answers.labels == (LABELS[1],) * 2
    assert answers.probabilities is not None
    np.testing.assert_allclose(answers.probabilities, [LETTERS[name][1]] * 2, atol=1e-9)


@pytest.mark.parametrize("name", NO_LETTERS)
def test_without_log_probabilities_a_likelihood_fails_and_nothing_is_stored(
    tmp_path: Path, name: str
) -> None:
    raw = json.dumps(NO_LETTERS[name])
    with running(Faults(raw=lambda body: raw)) as (_, address):
        with pytest.raises(CannotRun, match=r"no usable answer in 2 of 2: .*no log-probabilities"):
            ask(address, clips(2), tmp_path, mode="likelihood")
        assert stored_replies() == 0
        with pytest.raises(CannotRun, match="no log-probabilities of the prompt"):
            ask(address, clips(2), tmp_path, mode="likelihood-sum")
        assert stored_replies() == 0


def test_a_label_that_is_impossible_with_audio_has_no_probability(tmp_path: Path) -> None:
    def raw(body: dict[str, Any]) -> str:
        word = body["messages"][-1]["content"]
        impossible = word.lower() == "happy" and clip_sent(body)[0] > 0
        steps: list[Any] = [None, {"1": {"logprob": -9.0}}]
        steps += [{"2": {"logprob": -math.inf if impossible else -0.5}} for _ in word]
        return json.dumps(completion("x") | {"prompt_logprobs": steps})

    with running(Faults(raw=raw)) as (_, address):
        answers = ask(address, clips(2), tmp_path, mode="likelihood-sum")
    assert answers.probabilities is not None
    np.testing.assert_allclose(answers.probabilities, [[1 / 3, 0, 1 / 3, 1 / 3]] * 2)


@pytest.mark.parametrize(
    "words",
    ["At most 0 audio(s) may be provided in one request.", "Please install vllm[audio] for audio support"],
)
def test_a_refused_request_fails_with_the_servers_own_words(tmp_path: Path, words: str) -> None:
    with running(Faults(poison="messages", poison_status=400, poison_words=words)) as (server, address):
        for mode in MODES:
            with pytest.raises(
                CannotRun, match=r"no usable answer in 2 of 2: .*does not take audio"
            ) as caught:
                ask(address, clips(2), tmp_path, mode=mode)
            assert words in str(caught.value)
        assert server.asked.total() == 2 * len(MODES), "never sent again"


@pytest.mark.parametrize("mode", MODES)
def test_a_stored_reply_of_before_counts_only_where_it_is_usable(tmp_path: Path, mode: str) -> None:
    with running(Faults(reply=well)) as (_, address):
        first = ask(address, clips(3), tmp_path, mode=mode)
    with ReplyStore(store_path("tiny")) as store:
        rows = [s for s in store.stored() if "choices" in s.reply]
        store.put(rows[0].key, NO_REPLY["null"][0](), 0.1, replace=True)
        store.put(rows[1].key, NO_REPLY["error"][0](), 0.1, replace=True)
    with pytest.raises(CannotRun, match="not stored"):
        ask("stored", clips(3), tmp_path, mode=mode)
    with running(Faults(reply=well)) as (server, address):
        assert ask(address, clips(3), tmp_path, mode=mode).labels == first.labels
        assert server.asked.total() == 2
    assert ask("stored", clips(3), tmp_path, mode=mode).labels == first.labels


def test_tokens_of_replies_that_do_not_count_are_paid_for(tmp_path: Path) -> None:
    from adapters.audio_lm.requests.dispatch import BudgetSpent

    with running(Faults(reply=lambda body: NO_REPLY["reasoning cut"][0]())) as (server, address):
        with pytest.raises(BudgetSpent):
            ask(
                address,
                clips(50),
                tmp_path,
                mode="free",
                concurrency=1,
                max_cost=6.0,
                price={"input": 10_000.0},
            )
        assert server.asked.total() == 6


def test_a_key_that_a_server_echoes_is_not_stored_nor_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_KEY", "sk-very-secret")
    settings: dict[str, Any] = {"mode": "free", "key_variable": "TINY_KEY"}
    with running(Faults(words=lambda body: "angry (sk-very-secret)")) as (_, address):
        told = ask(address, clips(2), tmp_path, **settings)
    assert told.labels == ("angry",) * 2
    assert "secret" not in str(told.replies)
    with ReplyStore(store_path("tiny")) as store:
        assert "secret" not in str([s.reply for s in store.stored()])
    sick = Faults(reply=lambda body: {"error": "no sk-very-secret"})
    with running(sick) as (_, address), pytest.raises(CannotRun) as caught:
        ask(address, clips(3, seconds=0.2), tmp_path, **settings)
    assert "the reply is an error: no …" in str(caught.value)


def test_an_address_is_told_without_its_credentials() -> None:
    endpoint = client.Endpoint(
        "http://me:hidden@127.0.0.1:9/v1", "tiny", retry=client.RetryPolicy(longest_wait=0.01)
    )
    with pytest.raises(client.ServerGone, match=r"http://127\.0\.0\.1:9/v1 does not answer") as caught:
        asyncio.run(endpoint.ready())
    assert "hidden" not in str(caught.value)
