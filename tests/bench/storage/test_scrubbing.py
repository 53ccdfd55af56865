"""What must not leave a machine is taken out of text, and what may stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.storage.scrubbing import Scrubber

CLEAN = [
    "and/or, 3/4, kg/m, n/a, happy / sad, audio/s0-happy-1.wav",
    "see https://huggingface.co/owner/model/tree/main?x=1 (doi.org/10.1109/5.771073)",
    "http://HOST:PORT/v1, or name a Python in SERBENCH_VLLM_PYTHON",
    "MERaLiON/MERaLiON-SER-v1 at revision 1a2b3c; owner/name; adapters.baselines:Majority",
    "<td class='x'></td></tr>",
    "ratio 10:1, 12:30, a: b",
    "Wagner et al. (2023), https://doi.org/10.1109/TPAMI.2023.3263585.",
    "max_tokens: 32, tokenizer: whisper",
]
PRIVATE = {
    "looked in /gpfs7/people/ann/weights.": "looked in [path].",
    "weights at '/net work/my models/x' and C:\\Users\\ann\\weights": "weights at '[path]' and [path]",
    "~/secret/weights, file:///srv/x, \\\\nas\\share\\x": "[path], [path], [path]",
    "scp gpu07:/data/x (/tmp)": "scp gpu07:[path] ([path])",
    "http://ann:pw@example.org/v1": "[server]",
    "at https://10.1.2.3/v1, http://gpu07/v1 and https://api.example.org:8443/v1.": "at [server], [server] and [server].",
    "http://models.corp.internal/v1": "[server]",
    "https://example.org/x?token=abcdef12&y=1": "https://example.org/x?token=[secret]&y=1",
    "used hf_abcdefghijklmnopqrstuvwx": "used [secret]",
    "Authorization: Bearer abcdefgh12345678": "Authorization: [secret]",
    "password=hunter22": "password=[secret]",
}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scrubber:
    """Knows a machine of its own: user, host, home, secrets."""
    for name in ("HOSTNAME", "HOST", "COMPUTERNAME", "LOGNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/Ann Example")
    monkeypatch.setenv("USER", "annex")
    monkeypatch.setenv("OWN_SERVICE_PASSWORD", "tr0ub4dor")
    monkeypatch.setenv("SOMETHING", "qJ8sZ1kV0pLmN3xT7rYw")
    monkeypatch.setattr("socket.gethostname", lambda: "gpubox9.site.example")
    monkeypatch.setattr("platform.node", lambda: "gpubox9")
    return Scrubber.of_this_machine([tmp_path])


@pytest.mark.parametrize("text", CLEAN)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert Scrubber().text(text) == text


@pytest.mark.parametrize("text", PRIVATE)
def test_what_looks_private_is_taken_out(text: str) -> None:
    assert Scrubber().text(text) == PRIVATE[text]


def test_what_the_machine_is_known_by_is_taken_out(machine: Scrubber, tmp_path: Path) -> None:
    said = (
        f"annex on gpubox9 read /home/Ann Example/my data/x of {tmp_path}/run; tr0ub4dor qJ8sZ1kV0pLmN3xT7rYw"
    )
    clean = machine.text(said)
    for word in ("annex", "gpubox9", "Ann", str(tmp_path), "tr0ub4dor", "qJ8sZ1kV0pLmN3xT7rYw"):
        assert word not in clean
    assert machine.text("annexes of gpubox90") == "annexes of gpubox90", "only whole words"


def test_values_are_judged_by_their_keys_as_well(machine: Scrubber) -> None:
    given = {
        "server": "https://api.example.org/v1",
        "api_key": "x",
        "environment": {"HF_TOKEN": "short"},
        "local": "/weights",
        "tokens": "all",
    }
    assert machine.json(given) == {
        "server": "[server]", "api_key": "[secret]", "environment": {"HF_TOKEN": "[secret]"}, "local": "[path]", "tokens": "all",
    }  # fmt: skip
    assert [(p.where, p.kind) for p in machine.places(given)] == [
        ("server", "the address of a server"),
        ("api_key", "a credential or a value of the environment"),
        ("environment.HF_TOKEN", "a credential or a value of the environment"),
        ("local", "an absolute path"),
    ]
    assert list(machine.places(machine.json(given))) == [], "what was scrubbed is clean"


def test_two_keys_that_would_become_one_are_not_merged(machine: Scrubber) -> None:
    with pytest.raises(ValueError, match="two of its keys"):
        machine.json({"/a/b": 1, "/a/c": 2})


def test_pages_keep_their_markup_styles_and_scripts(machine: Scrubber) -> None:
    page = '<style>annex {}</style><annex title="tr0ub4dor">annex /x/y</annex><script>let annex = /a/b/c;</script>'
    assert (
        machine.page(page)
        == '<style>annex {}</style><annex title="[secret]">[user] /x/y</annex><script>let annex = /a/b/c;</script>'
    )
