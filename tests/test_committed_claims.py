"""No page of this project says more than its published records hold: ``serbench claims --check`` on what is committed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.cli.claims import claims
from bench.leaderboard.claims.ledger import ClaimLedger, derive_ledger
from bench.leaderboard.claims.pages import page_faults
from bench.leaderboard.claims.sentences import standing, summary
from reports.pages.markdown_blocks import MarkdownBlocks

RESULTS = Path(__file__).resolve().parent.parent / "results"


@pytest.fixture(scope="module")
def ledger() -> ClaimLedger:
    return derive_ledger(RESULTS)


def test_the_pages_say_what_the_records_hold(ledger: ClaimLedger) -> None:
    """After a publication was made: ``serbench claims --write``."""
    assert page_faults(ledger, MarkdownBlocks(ledger)) == []


def test_studies_count_as_evidence(ledger: ClaimLedger) -> None:
    """The headline that once stood in the README overlooked the strongest rival, which no board shows: it was in a study."""
    assert {c.rival.publication for c in ledger.claims if c.rival is not None} >= {
        "quick",
        "studies/seeds",
        "studies/ablations",
    }
    claim = next(c for c in ledger.claims if c.id == "same-encoder/nemo-subset.pl")
    assert claim.rival is not None
    assert claim.rival.system == "whisper-tiny.en-linear"
    assert claim.side == "behind"
    assert claim.confirmed
    assert "7.7" in claim.figures
    assert [c.side for c in ledger.of("same-encoder")].count("behind") == 3


def test_the_readme_shows_the_hardest_question_whole(ledger: ClaimLedger) -> None:
    asked = {q.id: q for q in ledger.rules.questions}
    hardest = asked["same-encoder"]
    assert (hardest.rivals, hardest.tasks, hardest.condition) == ("same encoder", ("*",), "clean")
    readme = (RESULTS.parent / "README.md").read_text(encoding="utf-8")
    measured = (RESULTS.parent / "docs/measured.md").read_text(encoding="utf-8")
    assert "<!-- headline:same-encoder -->" in readme
    assert "<!-- claims:same-encoder -->" in measured
    assert "<!-- headline:tracks -->" in readme.splitlines()
    tasks = {e.facts.task for e in ledger.evidence if e.stands and e.cell[0] == "meralion-ser-small" and e.cell[2:] == ("within", "clean")}  # fmt: skip
    assert {c.task for c in ledger.of("same-encoder")} == tasks


def test_a_headline_says_what_was_learnt_from_and_what_an_answer_is_in_words(ledger: ClaimLedger) -> None:
    said = summary(ledger.of("other-languages-masked"))
    assert (
        "(trained on corpora of other languages alone, the answer being the likeliest of the classes that are scored)"
        in said
    )
    for question in ledger.rules.questions:
        told = summary(ledger.of(question.id)) + standing(ledger.of(question.id))
        assert not re.search(r"other-languages|other-pools|\btransfer\b|masked|\bview\b", told), question.id


def test_the_command_lists_every_claim(capsys: pytest.CaptureFixture[str]) -> None:
    assert claims(RESULTS, check=False, write=False, as_json=False) == 0
    printed = capsys.readouterr().out
    assert "−− same-encoder/nemo-subset.pl" in printed
    assert "whisper-tiny.en-linear beats meralion-ser-small by 7.7 points of UA" in printed
