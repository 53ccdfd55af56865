"""Ways to make headlines say something untrue, each ending in the truth or in a refusal."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.claims import claims as claims_command
from bench.errors import DataError, UsageError
from bench.leaderboard.claims.ledger import Claim, ClaimLedger, derive_ledger
from bench.leaderboard.claims.pages import page_faults, write_pages
from bench.leaderboard.claims.sentences import block, claim_sentence, summary
from bench.leaderboard.evidence import read_evidence
from bench.leaderboard.history import history_of
from bench.leaderboard.publication import Publication
from bench.leaderboard.superseding import keep_superseded, superseded, superseded_faults
from bench.scoring.figures import figures
from bench.scoring.records import Counts, read_record, write_record
from bench.scoring.rescoring import from_record
from bench.storage.hashing import hash_json
from bench.storage.run_folder import RunFolder
from reports.pages.markdown_blocks import MarkdownBlocks

QUICK = Path(__file__).resolve().parents[2] / "results" / "quick"
TASK = "nemo-subset.pl"
OURS, PROBE = "meralion-ser-small", "whisper-tiny.en-superb"
RULES = """proposed: [meralion-ser-small]
questions:
  - {id: encoder, rivals: same encoder}
  - {id: tracks, rivals: each track}
  - {id: variants, rivals: own variants}
pages: [README.md]
"""
TEMPLATES = {name: read_record(QUICK / "records" / f"{name}__{TASK}__within__clean.json") for name in (OURS, PROBE)}  # fmt: skip
Facts = dict[str, Any]


def answers(right: float, seeds: int) -> Counts:
    """Counts of answers to the template's clips of which a share is right, the same share of each speaker and class but for the rounding."""
    true = TEMPLATES[OURS].block("native", "wrong", "all", "category")
    assert true is not None
    clips = true.values[0].sum(axis=-1)  # (clusters, K)
    spread = np.linspace(-0.06, 0.06, len(clips))[:, None]  # speakers differ
    hits = np.rint(clips * np.clip(right + spread, 0, 1))
    counts = np.zeros(true.values.shape[1:])
    k = np.arange(len(true.labels))
    counts[:, k, k] = hits
    counts[:, :, -1] = clips - hits
    return replace(true, values=np.stack([counts] * seeds))


@dataclass
class Results:
    """A folder of results under construction, with a README beside it."""

    root: Path

    def publish(
        self,
        name: str,
        system: str = OURS,
        *,
        right: float,
        like: str = OURS,
        seeds: int = 1,
        **changes: object,
    ) -> Publication:
        """Write one record into a publication and seal it."""
        publication = Publication(RunFolder(self.root / name))
        publication.folder.records.mkdir(parents=True, exist_ok=True)
        facts = TEMPLATES[like].facts
        card = facts.card.model_copy(update={"name": system, **changes.pop("card", {})})  # type: ignore[dict-item]
        facts = facts.model_copy(
            update={"system": system, "card": card, "seeds": tuple(range(seeds)), **changes}
        )
        blocks = [answers(right, seeds)]
        found = figures(facts, blocks, [])
        # What the template said of views that are not counted here goes, in whichever schema it was said.
        earlier = {"chance": ()} if "chance" in facts.model_fields_set else {}
        facts = facts.model_copy(update=earlier | {name: getattr(found, name) for name in vars(found)})
        stem = f"{system}__{facts.task}__within__clean"
        write_record(publication.folder.records / f"{stem}.json", facts, blocks)
        shutil.copyfile(QUICK / "matrix.json", publication.folder.matrix)
        publication.seal()
        return publication

    def ledger(self) -> ClaimLedger:
        return derive_ledger(self.root)

    def claim(self, name: str = f"encoder/{TASK}") -> Claim:
        return next(c for c in self.ledger().claims if c.id == name)

    def faults(self, page: str) -> list[str]:
        """Write the README and say what is wrong with it."""
        (self.root.parent / "README.md").write_text(page, encoding="utf-8")
        ledger = self.ledger()
        return [f.sentence for f in page_faults(ledger, MarkdownBlocks(ledger))]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """The proposed system on the board, at 60 points, and the weak probe of its encoder at 50."""
    made = Results(tmp_path / "results")
    made.root.mkdir()
    (made.root / "claims.yaml").write_text(RULES, encoding="utf-8")
    made.publish("quick", right=0.6)
    made.publish("quick", PROBE, right=0.5, like=PROBE, seeds=3)
    return made


def test_a_lead_that_the_records_hold_is_said(results: Results) -> None:
    claim = results.claim()
    assert claim.side == "ahead"
    assert claim.confirmed
    assert f"{OURS} beats {PROBE} by" in claim_sentence(claim)


def test_a_rival_hidden_in_a_study_is_found(results: Results) -> None:
    results.publish("studies/probes", "whisper-tiny.en-linear", right=0.75, like=PROBE)
    claim = results.claim()
    assert claim.side == "behind"
    assert "whisper-tiny.en-linear is the strongest of 2" in claim_sentence(claim)
    assert "studies/probes" in claim_sentence(claim)


def test_a_renamed_rival_is_known_by_its_weights(results: Results) -> None:
    results.publish("studies/other", "fresh-idea", right=0.75, like=PROBE)
    assert results.claim().rival is not None
    assert "fresh-idea beats" in claim_sentence(results.claim())


def test_a_rival_whose_weights_were_not_hashed_is_known_by_its_card(results: Results) -> None:
    results.publish("studies/other", "fresh-idea", right=0.75, like=PROBE, weights_hash=None)
    assert "fresh-idea beats" in claim_sentence(results.claim())


def test_other_weights_under_the_same_name_are_another_encoder(results: Results) -> None:
    results.publish("studies/other", "fresh-idea", right=0.75, like=PROBE, weights_hash="0" * 16)
    assert results.claim().rivals == (PROBE,)
    assert "fresh-idea beats" in claim_sentence(results.claim(f"tracks/probed/{TASK}"))


def test_a_name_that_stood_for_other_weights_does_not_hide_a_rival(results: Results) -> None:
    results.publish("quick", "two-faced", right=0.3, like=PROBE, weights_hash="0" * 16)
    results.publish("studies/other", "two-faced", right=0.75, like=PROBE)
    claim = results.claim()
    assert claim.rival is not None
    assert (claim.rival.system, claim.rival.publication) == ("two-faced", "studies/other")
    (history,) = history_of(read_evidence(results.root), "two-faced", TASK)
    assert history.versions[1].remarks == ("other weights",)


def test_a_variant_of_the_proposed_system_is_no_rival_and_not_passed_over(results: Results) -> None:
    results.publish("studies/ablations", "renamed-variant", right=0.75)
    assert results.claim().rivals == (PROBE,)
    assert "renamed-variant beats" in claim_sentence(results.claim(f"variants/{TASK}"))


def test_one_seed_is_said(results: Results) -> None:
    assert f"Of {OURS} one seed is known" in claim_sentence(results.claim())
    assert "confirmed for the one seed that was run" in summary(results.ledger().of("encoder"))


def test_a_better_version_in_a_study_does_not_replace_the_boards(results: Results) -> None:
    results.publish("studies/lucky", right=0.9, seeds=3)
    claim = results.claim()
    assert claim.proposed.publication == "quick"
    assert re.search(r"runs from \d+\.\d to \d+\.\d points", claim_sentence(claim))


def test_of_studies_alone_the_one_with_the_most_seeds_speaks(results: Results) -> None:
    (results.root / "quick").rename(results.root / "aside")
    shutil.rmtree(results.root / "aside")
    results.publish("studies/a", right=0.9)
    results.publish("studies/b", right=0.6, seeds=3)
    results.publish("studies/a", PROBE, right=0.5, like=PROBE)
    assert results.claim().proposed.publication == "studies/b"


def test_a_study_under_other_code_says_so(results: Results) -> None:
    results.publish("studies/probes", "whisper-tiny.en-linear", right=0.75, like=PROBE, code_version="0.0.9")
    assert "code 0.0.9" in claim_sentence(results.claim())
    assert "by different code" in claim_sentence(results.claim())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"folds_hash": "0" * 16}, "they were scored on other folds"),
        (
            {"plan": TEMPLATES[PROBE].facts.plan.model_copy(update={"margin": 0.1})},
            "studies/odd was planned with margin 0.1",
        ),
    ],
)
def test_scores_that_cannot_be_paired_are_not_subtracted(
    results: Results, changes: dict[str, object], words: str
) -> None:
    results.publish("studies/odd", "whisper-tiny.en-linear", right=0.75, like=PROBE, **changes)
    claim = results.claim()
    assert claim.pairing is None
    assert not claim.confirmed
    assert f"has no interval and no test, because {words}" in claim_sentence(claim)
    assert "not tested" in summary([claim])


def test_a_rival_on_other_clips_is_named_and_not_set_beside(results: Results) -> None:
    results.publish("studies/odd", "whisper-tiny.en-linear", right=0.75, like=PROBE, content_hash="0" * 16)
    claim = results.claim()
    assert claim.rivals == (PROBE,)
    assert "whisper-tiny.en-linear was scored on other clips of the task" in claim_sentence(claim)


def test_a_tie_is_no_lead(results: Results) -> None:
    results.publish("studies/a", "rival-a", right=0.6, like=PROBE)
    results.publish("studies/b", "rival-b", right=0.6, like=PROBE)
    claim = results.claim()
    assert claim.side == "level"
    assert not claim.confirmed
    assert "level with rival-a" in claim_sentence(claim)
    assert "is level with the strongest system" in summary([claim])


def test_a_sign_that_hangs_on_the_version_is_said(results: Results) -> None:
    results.publish("studies/again", PROBE, right=0.7, like=PROBE, seeds=3, code_version="0.0.9")
    claim = results.claim()
    assert claim.side == "ahead"
    assert claim.contradicting
    assert "the sign depends on the version" in claim_sentence(claim)
    assert "by quick and studies/again" in claim_sentence(claim)
    assert "other published versions say otherwise" in summary([claim])


def test_another_rivals_earlier_version_contradicts_a_lead(results: Results) -> None:
    results.publish("quick", "third", right=0.4, like=PROBE)
    results.publish("studies/again", "third", right=0.7, like=PROBE)
    claim = results.claim()
    assert claim.rival is not None
    assert claim.rival.system == PROBE
    assert "studies/again: third" in claim_sentence(claim)


def test_a_run_again_under_new_code_keeps_what_it_replaces(results: Results, tmp_path: Path) -> None:
    publication = Publication(RunFolder(results.root / "quick"))
    fresh = Results(tmp_path / "fresh").publish("run", right=0.4, code_version="9.0.0")
    others = [p for p in publication.record_paths() if not p.name.startswith(OURS)]
    assert keep_superseded(publication, [*fresh.record_paths(), *others]) == (
        f"{OURS}__{TASK}__within__clean",
    )
    results.publish("quick", right=0.4, code_version="9.0.0")
    (history,) = history_of(read_evidence(results.root), OURS, TASK)
    assert [(v.standing, v.code_version) for v in history.versions] == [
        ("board", "9.0.0"),
        ("superseded", TEMPLATES[OURS].facts.code_version),
    ]
    claim = results.claim()
    assert claim.side == "behind"
    assert "the sign depends on the version" in claim_sentence(claim)

    (earlier,) = superseded(publication)
    assert list(superseded_faults(publication, lambda path, facts: from_record(path))) == []
    path = earlier.record_paths()[0]
    path.write_text(path.read_text().replace('"speakers"', ' "speakers"', 1))
    ((_, fault),) = superseded_faults(publication, lambda path, facts: from_record(path))
    assert "was changed by hand after it was published" in fault
    shutil.rmtree(earlier.folder.root)
    assert "was published and is gone" in str(publication.broken_seal())


def test_a_rival_that_a_later_run_left_out_is_remembered(results: Results) -> None:
    publication = results.publish("quick", "stronger", right=0.8, like=PROBE)
    dropped = publication.folder.records / f"stronger__{TASK}__within__clean.json"
    keep_superseded(publication, [p for p in publication.record_paths() if p != dropped])
    for path in (dropped, dropped.with_suffix(".parquet")):
        path.unlink()
    publication.seal()
    claim = results.claim()
    assert claim.rivals == (PROBE,)
    assert claim.replaced == ("stronger",)
    assert "stronger was published before, and no record of it stands any more" in claim_sentence(claim)
    assert "other published versions say otherwise" in summary([claim])


def test_a_retracted_record_speaks_for_nobody(results: Results) -> None:
    study = results.publish("studies/probes", "whisper-tiny.en-linear", right=0.75, like=PROBE)
    study.retractions_path.write_text(json.dumps({study.record_paths()[0].stem: "trained on the test clips"}))
    claim = results.claim()
    assert claim.rivals == (PROBE,)
    assert not claim.contradicting
    (history,) = history_of(read_evidence(results.root), "whisper-tiny.en-linear", TASK)
    assert (history.versions[0].standing, history.versions[0].reason) == (
        "retracted",
        "trained on the test clips",
    )


def test_generated_audio_and_unpublishable_records_bear_no_claim(results: Results) -> None:
    results.publish("studies/a", "rival-a", right=0.9, like=PROBE, synthetic=True)
    results.publish("studies/b", "rival-b", right=0.9, like=PROBE, publishable=False)
    results.publish("studies/c", "rival-c", right=0.9, like=PROBE, limited=True)
    assert results.claim().rivals == (PROBE,)


def test_a_score_that_its_statistics_do_not_bear_is_refused(results: Results) -> None:
    path = results.root / "quick/records" / f"{OURS}__{TASK}__within__clean.json"
    facts = json.loads(path.read_text())
    for row in facts["scores"]:
        row["estimate"] = min(1.0, row["estimate"] + 0.2)
    facts["scores_hash"] = hash_json(facts["scores"])
    path.write_text(json.dumps(facts))
    with pytest.raises(DataError, match="one of the two was changed by hand"):
        results.ledger()


def test_a_publication_that_was_touched_is_refused(results: Results) -> None:
    path = results.root / "quick/records" / f"{PROBE}__{TASK}__within__clean.json"
    path.unlink()
    with pytest.raises(DataError, match="was published and is gone"):
        claims_command(results.root, check=True, write=False, as_json=False)


def test_a_question_asked_of_some_tasks_alone_says_so(results: Results) -> None:
    narrowed = RULES.replace("rivals: same encoder}", "rivals: same encoder, tasks: [nemo-*]}")
    (results.root / "claims.yaml").write_text(narrowed, encoding="utf-8")
    assert "on the same encoder, asked of nemo-* alone" in summary(results.ledger().of("encoder"))


def test_a_proposed_system_without_a_record_is_refused(results: Results) -> None:
    (results.root / "claims.yaml").write_text(RULES.replace(OURS, "dream"), encoding="utf-8")
    with pytest.raises(DataError, match="proposes 'dream', of which no record is published"):
        results.ledger()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rules: rules.replace("same encoder", "weak ones"), "questions"),
        (lambda rules: rules.replace("id: tracks", "id: encoder"), "two questions are called 'encoder'"),
        (lambda rules: rules.replace("README.md", "../elsewhere.md"), "leaves"),
        (lambda rules: rules.replace("README.md", "missing.md"), "is no file in"),
    ],
)
def test_questions_that_cannot_be_asked_are_refused(
    results: Results, change: Callable[[str], str], words: str
) -> None:
    (results.root / "claims.yaml").write_text(change(RULES), encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        results.faults("nothing")


FALSE = [
    (f"{OURS} is ahead of the frozen probe of the same encoder on all corpora.", "nothing says from which records"),
    (f"The proposed model outperforms `{PROBE}`.", "nothing says from which records"),
    (f"`{OURS}` was measured. It wins everywhere.", "nothing says from which records"),
    (f"- `{PROBE}` is 3 points better than egemaps.", "nothing says from which records"),
    ("`qwen2-audio-7b-instruct-choice` beats `egemaps-svm`.", "nothing says from which records"),
    (f"| best of all: {OURS} |", "nothing says from which records"),
    (f"{OURS} leads. <!-- claim: encoder/elsewhere.xx -->", "which no record holds"),
    (f"{OURS} is behind {PROBE}. <!-- claim: encoder/{TASK} -->", "says that the proposed system is behind, but the records hold: ahead"),
    (f"{PROBE} beats {OURS}. <!-- claim: encoder/{TASK} -->", "says that the proposed system is behind"),
    (f"{OURS} is ahead of {PROBE} by 25.3 points. <!-- claim: encoder/{TASK} -->", "gives the figure 25.3"),
    (f"{OURS} is ahead of {PROBE} everywhere. <!-- claim: encoder/{TASK} -->", "speaks of all tasks and rests on one"),
    (f"{OURS} is what it is. <!-- claim: encoder/{TASK} -->", "does not say which of the two is ahead"),
    (f"The small one, {OURS}, has 99.9 on {TASK}.", "gives meralion-ser-small the figure 99.9 on nemo-subset.pl, which no published record"),
    (f"{OURS} leads its variants. <!-- claim: variants/{TASK} -->", "no record of a rival"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "words"), FALSE)
def test_a_sentence_that_no_record_bears_is_named(results: Results, said: str, words: str) -> None:
    (fault,) = results.faults(f"# Page\n\n{said}\n")
    assert words in fault


TRUE = [
    f"{OURS} beats {PROBE} by 10.0 points. <!-- claim: encoder/{TASK} -->",
    "The proposed model is ahead of the probe on every task. <!-- claim: encoder -->",
    f"Is `{OURS}` better than `{PROBE}`?",
    f"```\n{OURS} beats {PROBE}\n```",
    f"Of {OURS} on {TASK} 12.5 minutes were spent, and 95.0 % intervals are given.",
    "A window stands behind a clip's end, and Adam is faster than that.",
    f"`{OURS}` reads one layer; the score of `{PROBE}` stands in the table.",
]


@pytest.mark.parametrize("said", TRUE)
def test_what_claims_nothing_or_is_borne_out_passes(results: Results, said: str) -> None:
    figure = f"{100 * results.claim().difference:.1f}"
    assert results.faults(f"# Page\n\n{said.replace('10.0', figure)}\n") == []


def test_proof_that_the_tests_do_not_give_is_named(results: Results) -> None:
    results.publish("quick", "close", right=0.595, like=PROBE)
    claim = results.claim()
    assert claim.side == "ahead"
    if claim.confirmed:
        pytest.fail("the situation needs a difference that the test does not confirm")
    (fault,) = results.faults(f"{OURS} beats close. <!-- claim: encoder/{TASK} -->")
    assert "says so as proven, but the tests do not confirm it" in fault
    assert results.faults(f"{OURS} is ahead of its rival. <!-- claim: encoder/{TASK} -->") == []


def test_a_sentence_that_hides_other_versions_is_named(results: Results) -> None:
    results.publish("studies/again", PROBE, right=0.7, like=PROBE, seeds=3)
    (fault,) = results.faults(f"{OURS} is ahead of {PROBE}. <!-- claim: encoder/{TASK} -->")
    assert "does not say that published versions disagree" in fault


def test_a_block_is_written_and_any_change_of_it_named(results: Results) -> None:
    page = results.root.parent / "README.md"
    page.write_text("<!-- claims:encoder -->\nolder words\n<!-- /claims:encoder -->\n", encoding="utf-8")
    ledger = results.ledger()
    derive = MarkdownBlocks(ledger)
    assert write_pages(ledger, derive) == [page]
    assert page_faults(ledger, derive) == []
    assert block(ledger, "encoder") in page.read_text(encoding="utf-8")
    assert write_pages(ledger, derive) == []
    written = page.read_text(encoding="utf-8")
    (fault,) = results.faults(written.replace(" beats ", " crushes "))
    assert "is not what the records say" in fault
    # A rival that appears later, in a study, makes the page stale.
    results.publish("studies/probes", "whisper-tiny.en-linear", right=0.75, like=PROBE)
    (fault,) = results.faults(written)
    assert "serbench claims --write" in fault


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<!-- claims:nobody -->\n<!-- /claims:nobody -->", "'nobody' is no question"),
        ("<!-- results:nobody -->\n<!-- /results:nobody -->", "nothing is published as 'nobody'"),
        (f"<!-- claims:encoder -->\n{OURS} was run", "is not closed"),
    ],
)
def test_a_block_that_nothing_makes_is_named(results: Results, page: str, words: str) -> None:
    assert any(words in fault for fault in results.faults(page))


def test_a_page_that_is_no_text_is_refused(results: Results) -> None:
    (results.root.parent / "README.md").write_bytes(b"\xff\xfe\x00 wins")
    ledger = results.ledger()
    with pytest.raises(DataError, match="cannot be read as UTF-8 text"):
        page_faults(ledger, MarkdownBlocks(ledger))


def test_the_command_fails_on_a_false_page(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    (results.root.parent / "README.md").write_text(FALSE[0][0], encoding="utf-8")
    assert claims_command(results.root, check=True, write=False, as_json=True) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["faults"][0]["page"] == "README.md"
    assert told["faults"][0]["line"] == 1
    assert {c["claim"] for c in told["claims"]} >= {f"encoder/{TASK}"}
