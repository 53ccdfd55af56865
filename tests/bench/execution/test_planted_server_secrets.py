"""A key, a password in an address and a token that a card gives its server: no message, record or check repeats them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import cast
from urllib.parse import quote

import pytest

from bench.cards.registry import load_system
from bench.cards.system import ServerSpec
from bench.errors import CannotRun
from bench.execution.vllm_server import Server, Serving, serving_of
from tests.adapters.audio_lm.fault_server import Faults, running
from tests.command import command

KEY, PASSWORD, TOKEN = "planted-key-5081", "planted p@ss", "planted token of the card"
SECRETS = (KEY, PASSWORD, quote(PASSWORD, safe=""), TOKEN)
CARD = """
name: one
family: audio-llm
track: released
adapter: adapters.audio_lm.model:AudioLanguageModel
params: {{model: tiny, mode: free, request_seconds: 5{key}}}
serve: {{engine: vllm, model: anything, environment: {{HF_TOKEN: {token}, VLLM_LEVEL: 3}}}}
{server}
seeds: false
"""


class Ended:
    """A server's process that is over."""

    pid, returncode = 0, 3

    def poll(self) -> int:
        """Return how it ended."""
        return self.returncode


def last_words(folder: Path, log: str) -> str:
    """What is said of a server that left this log behind."""
    path = folder / "server.log"
    path.write_text(log)
    spec = ServerSpec(engine="vllm", environment={"HF_TOKEN": TOKEN})
    server = Server(cast("subprocess.Popen[bytes]", Ended()), "http://127.0.0.1:1/v1", path)
    with pytest.raises(CannotRun) as caught:
        server._wait(Serving("anything", "tiny", None, spec))
    return str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        f"ValueError: environment holds TINY_KEY {KEY}",
        f"ValueError: cannot fetch https://somebody:{quote(PASSWORD, safe='')}@host/model",
        f"OSError: token {TOKEN!r} is not valid",
        f"(EngineCore) ERROR [core.py:1] KeyError: {KEY} {TOKEN}\nRuntimeError: failed. See root cause above.",
    ],
)
def test_the_end_of_a_servers_log_is_told_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setenv("TINY_KEY", KEY)
    said = last_words(tmp_path, f"loading\n{line}\n")
    assert "Error" in said
    assert not [secret for secret in SECRETS if secret in said]


@pytest.mark.parametrize("behind", range(975, 1000, 6))
def test_half_a_key_is_a_secret_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: int) -> None:
    monkeypatch.setenv("TINY_KEY", KEY)
    said = last_words(tmp_path, f"start {KEY}{'x' * behind}\n")
    assert "x" * 900 in said
    assert not [end for end in range(5, len(KEY)) if KEY[-end:] in said]


def test_what_is_written_of_a_card_holds_no_token_of_its_server(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(CARD.format(key="", token=TOKEN, server=""))
    card = load_system(str(tmp_path / "one.yaml"))
    written = json.dumps(card.model_dump(mode="json"))
    assert TOKEN not in written
    assert '"VLLM_LEVEL": "3"' in written
    serving = serving_of(card, None)
    assert serving is not None
    assert serving.spec.environment["HF_TOKEN"] == TOKEN, "the server itself is given it"


@pytest.mark.parametrize("carried", ["key", "password"])
def test_a_check_of_a_server_that_repeats_what_it_was_sent_gives_nothing_away(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    carried: str,
) -> None:
    monkeypatch.setenv("TINY_KEY", KEY)
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    echo = " ".join(SECRETS[:1] if carried == "key" else SECRETS[1:3])
    faults = Faults(refuses=lambda body: True, poison_words=echo)
    with running(faults) as (_, address):
        login = "" if carried == "key" else f"somebody:{quote(PASSWORD, safe='')}@"
        server = f"server: {address.replace('://', f'://{login}')}"
        key = ", key_variable: TINY_KEY" if carried == "key" else ""
        (tmp_path / "one.yaml").write_text(CARD.format(key=key, token=TOKEN, server=server))
        done = command(monkeypatch, capsys)("check", tmp_path / "one.yaml")
    assert done.code == 1
    assert "HTTP 400: …" in done.err, "the check quotes the server"
    assert not [secret for secret in SECRETS if secret in done.out + done.err]
