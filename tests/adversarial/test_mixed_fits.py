"""Scores that share a system's name and nothing else are not subtracted, whoever would like them to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cards.analysis_plan import AnalysisPlan
from bench.errors import DataError
from bench.scoring.aggregates import by_condition
from bench.scoring.comparisons import compare_pair
from bench.scoring.equal_fits import less, what_differs
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from reports.data.comparisons import compare_systems
from reports.sections.pairwise import pair_page
from reports.sections.robustness import robust_tasks
from reports.sections.run_changes import against
from tests.adversarial.forged import changed, published

UA = Subject("native", "wrong", "ua")


@pytest.fixture
def clean() -> Record:
    return published("quick", "egemaps-linear__indowave.id__within__clean")


def noisy(clean: Record, **facts: object) -> Record:
    """The clean record as if it had been made under noise."""
    scores = tuple(s.model_copy(update={"condition": "noise-0db"}) for s in clean.scores)
    return changed(clean, condition="noise-0db", scores=scores, **facts)


def told(clean: Record, other: Record) -> tuple[object, str]:
    (task,) = robust_tasks(compare_systems([clean, other]))
    found = task.systems[0].under("noise-0db")
    assert found
    assert task.same_fits == (found.loss is not None or found.apart == "changes no clip")
    return found.loss, found.apart


def test_one_fit_under_noise_is_subtracted(clean: Record) -> None:
    loss, apart = told(clean, noisy(clean))
    assert loss is not None
    assert apart == ""


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"system_identity": "0" * 32}, "another fit: the system (its card and the code of its adapter)"),
        ({"weights_hash": "0" * 32}, "another fit: weights"),
        ({"code_version": "9.9.9"}, "another fit: version of the suite"),
        ({"cells_code": ("9.9.9",)}, "another fit: version of the code that answered"),
        ({"seeds": (7,)}, "another fit: seeds"),
        ({"labels_offered": ("happy", "sad")}, "another fit: labels offered"),
        ({"content_hash": "0" * 32}, "another fit: clips, labels or speakers"),
        ({"folds_hash": "0" * 32}, "another fit: folds"),
    ],
)
def test_a_loss_needs_the_fit_of_the_clean_score(clean: Record, facts: dict[str, object], words: str) -> None:
    assert told(clean, noisy(clean, **facts)) == (None, words)


def test_a_condition_without_its_clean_score_has_no_loss(clean: Record) -> None:
    harder = noisy(clean)
    mild = changed(
        harder,
        condition="noise-20db",
        scores=tuple(s.model_copy(update={"condition": "noise-20db"}) for s in clean.scores),
    )
    (task,) = robust_tasks(compare_systems([harder, mild]))
    assert {d.apart for d in task.systems[0].conditions} == {"no score on clean audio"}


def test_a_condition_that_changes_no_clip_costs_nothing_and_gains_nothing(clean: Record) -> None:
    """``cut-2s`` of a corpus that was cut to 2 s, answered by another fit: 21 answers differ, and not one sound does."""
    assert told(clean, noisy(clean, changed_clips=0, system_identity="0" * 32)) == (None, "changes no clip")


def test_a_gap_between_conditions_leaves_other_fits_out_and_counts_them(clean: Record) -> None:
    assert by_condition([clean, noisy(clean, code_version="9.9.9")]) == []
    third = changed(noisy(clean, weights_hash="0" * 32), condition="reverb")
    gaps = by_condition([clean, noisy(clean), third])
    assert {(g.gap.groups, g.gap.left_out) for g in gaps} == {(2, 1)}


def test_another_run_of_a_name_is_shown_beside_it_and_not_subtracted(clean: Record, tmp_path: Path) -> None:
    rival = published("quick", "egemaps-svm__indowave.id__within__clean")
    renamed = changed(rival, system="egemaps-linear")
    moved = against(tmp_path, [clean], tmp_path, [renamed]).figures
    assert moved
    for m in moved:
        assert (m.difference, m.outcome) == (None, "another fit")
        assert "the system (its card and the code of its adapter)" in m.changed
        assert m.now != m.then, "both scores stand"


def test_the_same_fit_under_new_code_is_what_a_regression_page_is_for(clean: Record, tmp_path: Path) -> None:
    moved = against(tmp_path, [clean], tmp_path, [changed(clean, code_version="9.9.9")]).figures
    assert {m.outcome for m in moved} == {"identical"}
    assert {m.changed for m in moved} == {("version of the suite",)}
    assert what_differs(clean, changed(clean, code_version="9.9.9"), code=False) == ()
    assert less(UA, clean, changed(clean, code_version="9.9.9"), 0.95).difference is None


def test_systems_that_were_offered_other_labels_are_not_ranked_together(clean: Record) -> None:
    rival = published("quick", "egemaps-svm__indowave.id__within__clean")
    unlike = changed(rival, labels_offered=("happy", "sad"))
    with pytest.raises(DataError, match=r"were offered other labels .*do not answer one question"):
        compare_pair([clean, unlike], "egemaps-linear", "egemaps-svm")
    (comparison,) = compare_systems([clean, unlike])
    assert comparison.pairings == ()
    assert "were offered other labels" in comparison.untested[0]


def test_confusions_on_other_clips_are_not_subtracted(clean: Record) -> None:
    rival = changed(published("quick", "egemaps-svm__indowave.id__within__clean"), content_hash="0" * 32)

    class Reader:
        """Nothing is read here."""

    page = pair_page(compare_systems([clean, rival]), "egemaps-linear", "egemaps-svm", Reader())  # type: ignore[arg-type]
    assert (page.tests, page.confusions, page.clips) == ((), (), ())


def test_the_plan_of_a_record_is_no_part_of_its_fit(clean: Record) -> None:
    assert what_differs(clean, changed(clean, plan=AnalysisPlan(level=0.9))) == ()
