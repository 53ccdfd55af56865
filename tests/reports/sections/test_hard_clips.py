"""Which clips are hard: who was sure of what is wrong, speakers taking turns, systems that hear alike counting once."""

from __future__ import annotations

import numpy as np

from reports.sections.hard_clips import missed_clips, votes_words
from tests.adversarial.forged import published
from tests.reports.judged import CLASSES, STEM, judged, sure, system, task_of

FEATURES = published("quick", STEM).facts.card


def test_those_come_first_whose_own_label_was_given_least() -> None:
    task = task_of(["happy"] * 4)
    said = ["sad", "sad", "happy", "sad"]
    made = judged(task, system(task, "a", said, sure(said, [0.5, 0.9, 0.9, 0.7])))
    assert [task.clip_ids[j][-5] for j in made.order] == ["1", "3", "0", "2"]
    assert made.belief.tolist() == [0.25, 0.05, 0.9, 0.15]
    assert made.hard.tolist() == [True, True, False, True]


def test_an_answer_without_probabilities_counts_as_one_that_is_sure() -> None:
    task = task_of(["happy", "happy"])
    made = judged(
        task,
        system(task, "a", ["sad", "happy"]),
        system(task, "b", ["sad", "sad"], sure(["sad", "sad"], [0.6, 0.6])),
    )
    assert np.isnan(made.given[0]).all()
    assert made.belief.tolist() == [0.1, 0.6]


def test_speakers_take_turns_and_clips_of_nobody_known_wait_for_none() -> None:
    by = [0.9, 0.8, 0.7, 0.6, 0.55]
    task = task_of(["happy"] * 5, speakers=("p/1", "p/1", "p/2", "p/1", "p/2"))
    made = judged(task, system(task, "a", ["sad"] * 5, sure(["sad"] * 5, by)))
    assert made.order == (0, 2, 1, 4, 3)
    unknown = task_of(["happy"] * 5)
    assert judged(unknown, system(unknown, "a", ["sad"] * 5, sure(["sad"] * 5, by))).order == (0, 1, 2, 3, 4)
    assert missed_clips(made, None).spread
    assert not missed_clips(judged(unknown, *made.systems), None).spread


def test_what_is_easy_waits_whoever_speaks() -> None:
    """A speaker whom everybody understands has no hard clip: it does not stand before others' second."""
    task = task_of(["happy"] * 3, speakers=("p/1", "p/1", "p/2"))
    said = ["sad", "sad", "happy"]
    made = judged(task, system(task, "a", said, sure(said, [0.9, 0.8, 0.9])))
    assert made.order == (0, 1, 2)


def test_systems_on_the_same_features_count_once() -> None:
    task = task_of(["happy", "happy"])
    alike = [system(task, n, ["sad", "happy"], card=FEATURES.model_copy(update={"name": n})) for n in "abc"]
    others = [system(task, n, ["happy", "sad"]) for n in "de"]
    made = judged(task, *alike, *others)
    assert made.groups == ((0, 1, 2), (3,), (4,))
    assert made.hard.tolist() == [False, True], (
        "three of five systems miss the first, but one of three ways to hear"
    )
    found = missed_clips(made, None)
    assert found.together == ("a, b and c",)
    assert found.hard == 1


def test_released_weights_asked_in_other_words_count_once_and_trained_ones_do_not() -> None:
    task = task_of(["happy"])
    for track, groups in (("released", ((0, 1),)), ("adapted", ((0,), (1,)))):
        made = judged(task, *(system(task, n, ["sad"], track=track, weights_hash="0" * 32) for n in "ab"))
        assert made.groups == groups, track


def test_an_answer_outside_the_labels_is_as_sure_as_the_system_was_of_it() -> None:
    task = task_of(["happy", "happy", "sad"])
    classes = (*CLASSES, "bored")
    p = np.array([[0.1, 0.1, 0.1, 0.7], [0.4, 0.2, 0.2, 0.2], [np.nan] * 4])
    made = judged(
        task,
        system(task, "a", ["bored", "happy", None], p, classes=classes, statuses=("ok", "ok", "refused")),
    )
    assert made.predicted.tolist() == [[-1, 0, -1]]
    np.testing.assert_allclose(made.confidence, [[0.7, 0.4, np.nan]])
    np.testing.assert_allclose(made.given, [[0.1, 0.4, np.nan]])


def test_players_and_names_follow_what_may_be_shown() -> None:
    task = task_of(["happy"], votes=({"sad": 3, "happy": 5, "": 1},))
    answers = system(task, "a", ["sad"])
    assert missed_clips(judged(task, answers), None).hardest[0].clip == "audio/c0000.wav"
    closed = task_of(["happy"], card=task.card.model_copy(update={"access": "form"}))
    assert missed_clips(judged(closed, answers), None).hardest[0].clip is None
    played = missed_clips(judged(closed, answers), lambda clip: f"../{clip}").hardest[0]
    assert (played.clip, played.audio) == ("audio/c0000.wav", "../audio/c0000.wav")
    assert votes_words(task, 0, 2) == "happy 5, sad 3"
