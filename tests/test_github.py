"""The pull-request flow: forms and workflow are well formed, run commands that exist, and may do no more than they must."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.exceptions import UsageError as ClickUsageError
from typer.main import get_command

from bench.cli.app import app

GITHUB = Path(__file__).resolve().parent.parent / ".github"
FORMS = sorted(p for p in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if p.name != "config.yml")
ELEMENTS = {"markdown", "input", "textarea", "dropdown", "checkboxes"}


def workflow() -> dict[Any, Any]:
    return dict(yaml.safe_load((GITHUB / "workflows/board.yml").read_text()))


@pytest.mark.parametrize("path", FORMS, ids=lambda p: p.stem)
def test_issue_forms_are_what_the_host_accepts(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= set(form)
    ids = [e["id"] for e in form["body"] if e["type"] != "markdown"]
    assert len(ids) == len(set(ids))
    for element in form["body"]:
        assert element["type"] in ELEMENTS
        assert element["attributes"].get("label") or element["type"] == "markdown"
        if element["type"] in ("dropdown", "checkboxes"):
            assert element["attributes"]["options"]


def test_the_workflow_has_the_least_permissions() -> None:
    flow = workflow()
    assert flow["permissions"] == {"contents": "read"}
    jobs = flow["jobs"]
    assert "permissions" not in jobs["validate"]
    assert jobs["publish"]["permissions"] == {"pages": "write", "id-token": "write"}
    assert "pull_request'" in jobs["publish"]["if"], "a pull request never publishes"
    triggers = flow[True]  # YAML reads the key "on" as true
    assert "pull_request_target" not in triggers, "strangers' code must not run with the repository's rights"
    assert "{{ secrets." not in (GITHUB / "workflows/board.yml").read_text()


def test_every_action_is_pinned_and_every_job_ends() -> None:
    for job in workflow()["jobs"].values():
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            assert "run" in step or re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]), step
            # What a pull request may name (titles, branches) must not reach a shell.
            assert "github.event." not in step.get("run", "")
    checkout = workflow()["jobs"]["validate"]["steps"][0]
    assert checkout["with"]["persist-credentials"] is False


def test_what_is_remembered_between_runs_lies_where_no_pull_request_can_put_it() -> None:
    """Marks of checked records, comparisons and pages are believed: a checkout that brought its own would be, too."""
    text = (GITHUB / "workflows/board.yml").read_text()
    steps = workflow()["jobs"]["validate"]["steps"]
    (kept,) = [s["with"]["path"] for s in steps if str(s.get("uses", "")).startswith("actions/cache@")]
    assert kept.startswith("~/")
    assert f'SERBENCH_CACHE=$HOME/{kept.removeprefix("~/")}"' in text
    assert text.count("SERBENCH_CACHE") == 1


def test_the_commands_of_the_workflow_exist() -> None:
    runs = [s["run"] for j in workflow()["jobs"].values() for s in j["steps"] if "run" in s]
    for line in (x for run in runs for x in run.splitlines() if x.startswith("serbench ")):
        words = shlex.split(line)[1:]
        command = get_command(app)
        while words and hasattr(command, "commands") and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        try:
            command.make_context("serbench", words)
        except ClickUsageError as error:
            pytest.fail(f"{line}: {error.format_message()}")
    assert sum("serbench leaderboard" in run for run in runs) == 2
