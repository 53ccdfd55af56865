"""The whole way of a stranger: a skeleton of an adapter, a run, a submission, another's word, a built site."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from bench.cli.app import app
from bench.errors import DataError
from bench.leaderboard import Board, add_run, attest, validate
from tests.forging import RULES, clean_code

ROOT = Path(__file__).resolve().parents[2]
LINK = "https://example.org/alice/my-model"


@pytest.fixture
def board(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    """The project's board: majority and chance on its corpus, attested by its owner."""
    monkeypatch.setenv("SERBENCH_CACHE", str(finished_run / "cache"))
    monkeypatch.delenv("SERBENCH_DATA", raising=False)
    root = tmp_path / "results"
    root.mkdir()
    (root / "board.yaml").write_text(RULES + "address: https://example.org/ser-bench\n")
    shutil.copytree(finished_run / "run", tmp_path / "run")
    add_run(clean_code(tmp_path / "run"), Board(root), "quick")
    attest(Board(root), "owner", [], [finished_run / "data"])
    return Board(root)


def serbench(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(w) for w in words])


def said(*words: str | Path) -> Any:
    done = serbench(*words, "--json")
    assert done.exit_code == 0, f"{done.output} {done.exception}"
    return json.loads(done.stdout)


def test_from_a_new_adapter_to_a_built_site(board: Board, finished_run: Path, tmp_path: Path) -> None:
    data = finished_run / "data"
    said("new", "adapter", "my-model", "--into", tmp_path)
    folder = tmp_path / "my-model"
    card = "./my_model_adapter/systems/my-model.yaml"
    (folder / "mine.yaml").write_text((folder / "matrix.yaml").read_text().replace("[my-model,", f"[{card},"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SERBENCH_")}
    environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "SERBENCH_CACHE": str(finished_run / "cache")}  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-m", "bench.cli", "run", "mine.yaml", "--data", str(data), "--workers", "1"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    run = clean_code(folder / "runs/my-model-first")

    # Without an owner the name is nobody's, and the board's own reference systems stand there already.
    with pytest.raises(DataError, match="'my-model' is no system of this suite, so its name needs an owner"):
        add_run(run, board)
    assert not (board.root / "my-model-first").exists()

    sent = said("submit", run, "--as", "alice", "--link", LINK, "--results", board.root, "--data", data)
    assert sent["published"] == ["alice~my-model__tones.ms__within__clean"]
    assert set(sent["skipped"]) == {"chance__tones.ms__within__clean", "majority__tones.ms__within__clean"}
    assert all("reference systems are the board's own" in reason for reason in sent["skipped"].values())
    assert sent["attested"] == sent["published"], "her labels were counted again on her machine"
    (record,) = sent["records"]
    assert (record["system"], record["badge"], record["competes"]) == ("alice/my-model", "tables", False)
    assert sent["steps"][1] == f"git add {board.root / 'alice-my-model-first'}"
    assert "https://example.org/ser-bench" in sent["steps"][-1]

    # What the board's own machine sees, which has no corpus; then its owner's, which has.
    assert serbench("leaderboard", "validate", "--results", board.root).exit_code == 0
    made = said("leaderboard", "attest", "alice-my-model-first", "--as", "owner", "--results", board.root, "--data", data)  # fmt: skip
    assert made["attested"] == {"alice-my-model-first": sent["published"]}
    site = tmp_path / "site"
    built = said("leaderboard", "build", "--results", board.root, "-o", site)
    assert (built["records"], built["competing"], built["below"]) == (3, 3, 0)
    index, published = (site / "index.html").read_text(), (site / "published.html").read_text()
    assert "alice/my-model" in index
    assert "Below the line" not in index
    assert "attested by alice and owner" in published
    assert "sent by alice" in published
    assert list(site.glob("system-alice_my-model*.html"))

    # Sending the same again changes nothing; a copy under another name has nothing new.
    again = said("submit", run, "--as", "alice", "--link", LINK, "--results", board.root, "--data", data)
    assert again["published"] == sent["published"]
    with pytest.raises(DataError, match="equal to alice-my-model-first/alice~my-model"):
        add_run(run, board, "copy", owner="alice")


def test_a_refused_submission_leaves_the_board_as_it_was(
    board: Board, finished_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for words, message in (
        (("--as", "../x"), "cannot name whoever sends"),
        (("--as", "alice", "--link", "javascript:alert(1)"), "expected an address that begins with https://"),
        (
            ("--as", "alice", "--only", "system=nobody"),
            "no record of the run fits; its systems are chance, majority",
        ),
        (("--as", "alice", "--only", "sytem=chance"), "did you mean 'system'"),
        (("--as", "alice", "--only", "system=chance"), "nothing to publish: equal to quick/chance"),
    ):
        done = serbench("submit", run, "--results", board.root, *words)
        assert message in str(done.exception), (words, done.output)
    assert [p.name for p in board.publications()] == ["quick"]
    for path in (run / "records").glob("*.json"):
        path.write_text(path.read_text().replace('"system_identity": "', '"system_identity": "00'))
    other = serbench("submit", run, "--results", board.root, "--as", "alice")
    assert "reference systems are the board's own" in str(other.exception)


def test_a_clash_names_the_newcomer_and_says_what_to_do(board: Board, tmp_path: Path) -> None:
    """A shipped system that competes, answered by other code: the published one stands until it is retracted."""
    run = tmp_path / "run"
    for path in (run / "records").glob("chance*.json"):
        facts = json.loads(path.read_text())
        path.write_text(json.dumps({**facts, "content_hash": "0" * 32}))
    with pytest.raises(DataError, match=r"run/records/chance__.*was scored on other clips, labels or speakers of tones.ms than quick/chance"):  # fmt: skip
        add_run(run, board, "mine")
    assert validate(board).problems == ()
    assert not (board.root / "mine").exists()
