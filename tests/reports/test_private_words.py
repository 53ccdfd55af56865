"""Secrets planted in every part of a run are in no file that ``add``, ``report``, its exports or ``build`` write."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bench.errors import DataError
from bench.leaderboard import Board, add_run, validate
from bench.storage.hashing import hash_file, hash_json
from tests.command import Command, command

SECRETS = {
    "home": "/home/plantedperson",
    "user": "plantedperson",
    "host": "plantedhost",
    "password": "planted-pass-word",
    "token": "hf_PlantedPlantedPlanted0",
    "variable": "pLaNt3dValue0fTheEnv1r0n",
    "path": "/gpfs9/planted/weights",
    "server": "planted.internal",
}
EVERYTHING = (
    "looked in /gpfs9/planted/weights as plantedperson on plantedhost, in /home/plantedperson/my data/x; "
    "http://plantedperson:planted-pass-word@planted.internal:8000/v1 with hf_PlantedPlantedPlanted0 and pLaNt3dValue0fTheEnv1r0n"
)
RECORD = "majority__tones.ms__within__clean"


@pytest.fixture
def planted(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished run on a machine with secrets, which stand wherever a user's or an adapter's text can stand."""
    monkeypatch.setenv("HOME", SECRETS["home"])
    monkeypatch.setenv("USER", SECRETS["user"])
    monkeypatch.setenv("HF_TOKEN", SECRETS["token"])
    monkeypatch.setenv("SERVICE_PASSWORD", SECRETS["password"])
    monkeypatch.setenv("ANYTHING", SECRETS["variable"])
    monkeypatch.setattr("socket.gethostname", lambda: SECRETS["host"])
    # The secrets stand on the cards of shipped systems here, which a board would refuse for that before anything is written.
    for room in ("newcomers", "consistency"):
        monkeypatch.setattr(f"bench.leaderboard.{room}.name_fault", lambda facts: "")
    for path in (run / "records").glob("*.json"):
        facts = json.loads(path.read_text().replace(".dirty", ""))
        facts["notes"] = {"fold 0 seed 0": {"log": [EVERYTHING], "HF_TOKEN": "x", EVERYTHING: 1}}
        facts["warnings"] = [*facts["warnings"], EVERYTHING]
        facts["title"] = EVERYTHING
        facts["card"] |= {
            "description": EVERYTHING,
            "title": EVERYTHING,
            "server": "http://planted.internal/v1",
        }
        facts["card"]["params"] = {"weights": SECRETS["path"], "api_key": "planted-pass-word"}
        facts["corpus_card"] |= {
            "description": EVERYTHING,
            "source": f"file://{SECRETS['path']}",
            "traps": [EVERYTHING],
        }
        path.write_text(json.dumps(facts))
    described = json.loads((run / "matrix.json").read_text())
    described["blocked"] = {"chance": EVERYTHING}
    (run / "matrix.json").write_text(json.dumps(described))
    sidecar = json.loads((run / "sidecar.json").read_text())
    (run / "sidecar.json").write_text(json.dumps(sidecar | {"command": EVERYTHING}))
    with sqlite3.connect(run / "journal.sqlite") as journal:
        (row,) = journal.execute("SELECT facts FROM sessions ORDER BY rowid DESC LIMIT 1").fetchone()
        facts = json.loads(row or "{}") | {"processor": EVERYTHING, "system": EVERYTHING}
        journal.execute("UPDATE sessions SET facts = ?", (json.dumps(facts),))
    return run


def written(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        text = path.read_bytes().decode("utf-8", "replace")
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            text += str(table.schema.metadata) + str(table.to_pylist())
        yield path, text


def require_no_secret(folder: Path) -> None:
    files = list(written(folder))
    assert files
    for path, text in files:
        for what, secret in SECRETS.items():
            assert secret not in text, (
                f"{what} in {path.name}: {text[max(0, text.index(secret) - 80) :][:200]}"
            )


@pytest.fixture
def serbench(planted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return command(monkeypatch, capsys)


def reply_in_the_tables(run: Path) -> None:
    """Plant the secrets in a reply, and let the record name the table's new hash."""
    from bench.scoring.predictions import METADATA_KEY, read_table, write_table

    path = run / f"records/{RECORD}.json"
    facts = json.loads(path.read_text())
    for cell in list(facts["tables"]):
        file = run / "tables" / f"{cell}.parquet"
        table = read_table(file)
        identity: dict[str, Any] = json.loads((pq.read_schema(file).metadata or {})[METADATA_KEY])
        object.__setattr__(table, "replies", tuple(EVERYTHING for _ in table.replies))
        write_table(file, table, {k: v for k, v in identity.items() if k != "labels"})
        facts["tables"][cell] = hash_file(file)
    path.write_text(json.dumps(facts))


def test_no_secret_is_in_a_publication_nor_in_its_board(
    planted: Path, serbench: Command, tmp_path: Path
) -> None:
    reply_in_the_tables(planted)
    done = serbench("leaderboard", "add", str(planted), "--results", str(tmp_path / "results"))
    assert done.code == 0, done.err
    require_no_secret(tmp_path / "results")
    facts = json.loads((tmp_path / f"results/small/records/{RECORD}.json").read_text())
    assert facts["title"].startswith("looked in [path] as [user] on [host]")
    assert facts["card"]["params"] == {"weights": "[path]", "api_key": "[secret]"}
    assert (
        facts["notes"]["fold " + next(iter(facts["notes"])).split()[1] + " seed 0"]["HF_TOKEN"] == "[secret]"
    )
    assert (
        pq.read_table(tmp_path / f"results/small/tables/{RECORD}.parquet")["reply"][0]
        .as_py()
        .startswith("looked in [path]")
    )
    (tmp_path / "results/board.yaml").write_text("plan: {resamples: 1000, permutations: 1000}\n")
    assert validate(Board(tmp_path / "results")).problems == ()
    done = serbench(
        "leaderboard", "build", "--results", str(tmp_path / "results"), "-o", str(tmp_path / "site")
    )
    assert done.code == 0, done.err
    require_no_secret(tmp_path / "site")


def test_no_secret_is_in_a_report_nor_in_its_exports(
    planted: Path, serbench: Command, tmp_path: Path
) -> None:
    described = json.loads((planted / "matrix.json").read_text())
    described["refused"] = {"other__tones.ms__within__clean": EVERYTHING}
    described["records"] += ["other__tones.ms__within__clean", "third__tones.ms__within__clean"]
    (planted / "matrix.json").write_text(json.dumps(described))
    (planted / "unscored.json").write_text(json.dumps({"third__tones.ms__within__clean": EVERYTHING}))
    done = serbench("report", str(planted), "-o", str(tmp_path / "report"))
    assert done.code == 0, done.err
    assert serbench("report", str(planted), "--export", str(tmp_path / "exports")).code == 0
    for folder in ("report", "exports"):
        require_no_secret(tmp_path / folder)
    assert "[path]" in (tmp_path / "report/index.html").read_text(), "what could not run still says why"


def test_a_board_does_not_show_what_a_stranger_left_in_a_record(
    planted: Path, serbench: Command, tmp_path: Path
) -> None:
    board = Board(tmp_path / "results")
    add_run(planted, board)
    (board.root / "board.yaml").write_text("plan: {resamples: 1000, permutations: 1000}\n")
    path = board.root / f"small/records/{RECORD}.json"
    facts = json.loads(path.read_text())
    facts["warnings"] = [EVERYTHING]
    facts["card"]["description"] = EVERYTHING
    path.write_text(json.dumps(facts))
    board.publication("small").seal()
    done = serbench("leaderboard", "build", "--results", str(board.root), "-o", str(tmp_path / "site"))
    assert done.code == 0, done.err
    require_no_secret(tmp_path / "site")


def test_what_cannot_be_taken_out_is_refused_with_its_place(planted: Path, tmp_path: Path) -> None:
    matrix = planted / "matrix.json"
    whole = matrix.read_text()
    described = json.loads(whole)
    described["matrix"]["entries"][0]["systems"] = ["/home/plantedperson/my.yaml"]
    described["matrix_hash"] = hash_json(described["matrix"])
    matrix.write_text(json.dumps(described))
    with pytest.raises(
        DataError, match=r"matrix.json: matrix.entries.0.systems.0 holds an absolute path.*relative to"
    ):
        add_run(planted, Board(tmp_path / "results"))
    matrix.write_text(whole)
    path = planted / f"records/{RECORD}.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"family": SECRETS["token"]}))
    with pytest.raises(DataError, match=r"family holds a credential.*cannot be taken out"):
        add_run(planted, Board(tmp_path / "results"))
    facts["corpus_card"] |= {
        "languages": ["ms"],
        "labels": {SECRETS["token"]: "happy", SECRETS["path"]: "sad", "/gpfs9/planted/x": "sad"},
    }
    path.write_text(json.dumps(facts))
    with pytest.raises(DataError, match=r"a key of corpus_card.labels holds a"):
        add_run(planted, Board(tmp_path / "results"))
    assert not (tmp_path / "results/small").exists()
