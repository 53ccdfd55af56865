"""The README says what the records hold, and its commands and its Python run."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.exceptions import UsageError as ClickUsageError
from typer.main import get_command

from bench.cli.app import app
from bench.execution.planning.matrix import load_matrix
from bench.scoring.records import read_records

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECORDS = ROOT / "results/quick/records"


def test_committed_records_belong_to_the_shipped_matrix() -> None:
    records = read_records(RECORDS)
    assert {r.facts.matrix_hash for r in records} == {load_matrix("quick")[0].hash}
    assert not any(r.facts.synthetic or r.facts.limited for r in records)


def test_each_clip_was_decoded_once_and_encoded_once_per_encoder() -> None:
    sidecar = json.loads((ROOT / "results/quick/sidecar.json").read_text(encoding="utf-8"))
    work = {k: v["clips"] for k, v in sidecar["work"].items()}
    clips = sum({r.task.partition("@")[0]: r.facts.clips for r in read_records(RECORDS)}.values())
    assert {clips} == {n for k, n in work.items() if k.startswith("encode")}
    assert work["decode"] <= clips


@pytest.mark.parametrize("line", sorted(set(re.findall(r"`(serbench [^`]+)`", README))))
def test_every_command_in_the_readme_is_one(line: str) -> None:
    words = shlex.split(line)[1:]
    command = get_command(app)
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    try:
        command.make_context("serbench", words)
    except ClickUsageError as error:
        pytest.fail(f"{line}: {error.format_message()}")


def test_the_python_in_the_readme_runs(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "'ua'" in printed
    assert "nan" not in printed
