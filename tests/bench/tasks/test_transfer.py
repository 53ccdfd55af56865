"""Protocol transfer: learn on other corpora, answer on every clip of the target, and share no speaker by any door."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.cards.corpus import CorpusCard
from bench.errors import DataError, UsageError
from bench.execution.in_process import load_task
from bench.execution.planning.expansion import TasksAtHand, expand, filter_rows
from bench.tasks import Task
from bench.tasks.training_data import own_training_data
from bench.tasks.transfer import Candidate, related, source_names, trainings, transfer_data
from tests.conftest import rewrite, write_tone_corpus


def corpus(folder: Path, name: str, language: str, *, pool: str | None = None, **options: object) -> Path:
    made = write_tone_corpus(folder / name, languages=(language,), **options)  # type: ignore[arg-type]
    if pool is not None:
        with (made / "card.yaml").open("a") as card:
            card.write(f"pool: {pool}\n")
    return made


def candidates(*named: tuple[str, str], synthetic: bool = False) -> list[Candidate]:
    return [
        Candidate(task, CorpusCard(name=task.rpartition(".")[0], pool=pool, synthetic=synthetic))
        for task, pool in named
    ]


ATHAND = candidates(("a.ms", "a"), ("a-cut.ms", "a"), ("b.id", "b"), ("c.en-SG", "c"), ("d.en", "d"))


def test_other_pools_leaves_out_a_second_copy_of_the_target() -> None:
    assert source_names(ATHAND[0], "other-pools", ATHAND) == ["b.id", "c.en-SG", "d.en"]
    assert source_names(ATHAND[1], "other-pools", ATHAND) == ["b.id", "c.en-SG", "d.en"]


def test_other_languages_goes_by_the_primary_subtag() -> None:
    assert source_names(ATHAND[3], "other-languages", ATHAND) == ["a.ms", "a-cut.ms", "b.id"]


def test_nothing_left_to_learn_from_is_said_with_its_reason() -> None:
    alone = candidates(("a.ms", "a"), ("a-cut.ms", "a"))
    with pytest.raises(DataError, match="every corpus at hand draws from its pool 'a'"):
        source_names(alone[0], "other-pools", alone)
    english = candidates(("c.en-SG", "c"), ("d.en", "d"))
    with pytest.raises(DataError, match="every other corpus at hand is in 'en'"):
        source_names(english[0], "other-languages", english)
    with pytest.raises(DataError, match="share speakers"):
        source_names(ATHAND[0], "a-cut.ms", ATHAND)


def test_synthetic_sounds_are_no_training_for_speech() -> None:
    toys = candidates(("toy.qaa", "toy"), synthetic=True)
    assert "toy.qaa" not in source_names(ATHAND[0], "other-pools", [*ATHAND, *toys])


def test_a_corpus_that_contains_the_targets_pool_is_related_to_it() -> None:
    class Containing(CorpusCard):
        contains: tuple[str, ...] = ()

    collection = Containing(name="collection", contains=("a",))
    assert related(ATHAND[1].card, collection)
    assert related(collection, ATHAND[0].card)
    assert not related(ATHAND[2].card, collection)


def test_training_patterns_mean_tasks_and_a_mistyped_one_is_named() -> None:
    known = ["a.ms", "b.id", "c.en"]
    assert trainings(["other-pools", "*.id", "a.ms"], known) == ["other-pools", "b.id", "a.ms"]
    with pytest.raises(UsageError, match="did you mean 'other-pools'"):
        trainings(["other-pool"], known)


@pytest.fixture
def data(tmp_path: Path, cache: Path) -> Path:
    """Three corpora: ``a`` (ms), ``b`` (id) with other sounds, ``c`` (ta) whose first four clips are copies of ``a``'s."""
    folder = tmp_path / "data"
    corpus(folder, "a", "ms", seed=1)
    corpus(folder, "b", "id", seed=2, labels=("happy", "sad", "bored", "fearful"))
    corpus(folder, "c", "ta", seed=3)
    for name in ("s0-happy-0", "s0-happy-1", "s1-sad-0", "s2-angry-1"):
        shutil.copy(folder / "a" / "audio" / f"{name}.wav", folder / "c" / "audio" / f"{name}.wav")
    return folder


def loaded(data: Path, name: str, protocol: str = "zero-shot") -> Task:
    return load_task(name, data=[data], protocol=protocol)  # type: ignore[arg-type]


def test_a_clip_that_sounds_like_one_of_the_targets_is_not_learnt_from(data: Path) -> None:
    target = loaded(data, "a.ms", "transfer")
    _, training_data = transfer_data(target, [loaded(data, "c.ta")], "seven")
    (source,) = training_data.sources
    assert (source.clips, source.left_out) == (32, 4)
    behind = {d.pcm_hash for d in training_data.decoded[len(target) :]}
    assert not behind & {d.pcm_hash for d in target.decoded}


def test_the_target_is_tested_whole_and_its_labels_are_withheld(data: Path) -> None:
    target = loaded(data, "a.ms", "transfer")
    asked, training_data = transfer_data(target, [loaded(data, "b.id"), loaded(data, "c.ta")], "seven")
    (fold,) = training_data.folds
    assert fold.test.tolist() == list(range(len(target)))
    assert min(*fold.train, *fold.dev) >= len(target)
    assert set(training_data.emotions[: len(target)]) == {None}
    assert not np.isfinite(training_data.dimensions[: len(target)]).any()
    # Bored has no place among the seven: such clips are not learnt from, and nobody is asked about them.
    assert asked.offered_labels == training_data.labels == ("happy", "sad", "angry", "fearful")
    assert asked.content_hash == target.content_hash
    assert {training_data.languages[i] for i in fold.train} == {"id", "ta"}


def test_votes_of_the_sources_are_shares_over_the_labels_on_offer(data: Path) -> None:
    """``b`` has votes, ``c`` has none; bored and other are no labels on offer."""
    rewrite(data / "b", soft_votes=lambda r: json.dumps({r["emotion"]: 2, "sad": 1, "bored": 5, "other": 3}))
    target = loaded(data, "a.ms", "transfer")
    _, training_data = transfer_data(target, [loaded(data, "c.ta")], "seven")
    assert training_data.soft_labels is None
    _, training_data = transfer_data(target, [loaded(data, "b.id"), loaded(data, "c.ta")], "seven")
    assert training_data.labels == ("happy", "sad", "angry", "fearful")
    assert training_data.soft_labels is not None
    shares = {}
    for i in range(len(target), len(training_data)):
        of_b = training_data.languages[i] == "id"
        assert np.isfinite(training_data.soft_labels[i]).all() == of_b
        if of_b:
            shares[training_data.emotions[i]] = training_data.soft_labels[i].tolist()
    assert not np.isfinite(training_data.soft_labels[: len(target)]).any()
    assert {k: [round(3 * x, 9) for x in v] for k, v in shares.items()} == {
        "happy": [2, 1, 0, 0],
        "sad": [0, 3, 0, 0],
        "fearful": [0, 1, 0, 2],
    }
    (fold,) = training_data.folds
    learnt = training_data.examples(fold.train).soft_labels
    assert learnt is not None
    assert np.array_equal(learnt, training_data.soft_labels[fold.train], equal_nan=True)


def test_validation_speakers_are_others_than_training_speakers_and_come_from_every_pool(data: Path) -> None:
    target = loaded(data, "a.ms", "transfer")
    sources = [loaded(data, "b.id"), loaded(data, "c.ta")]
    _, training_data = transfer_data(target, sources, "four")
    (fold,) = training_data.folds
    train, dev = ({training_data.speakers[i] for i in rows} for rows in (fold.train, fold.dev))
    assert not train & dev
    assert {s.partition("/")[0] for s in dev} == {s.partition("/")[0] for s in train} == {"b", "c"}
    again = transfer_data(target, sources, "four")[1]
    assert again.hash == training_data.hash
    assert again.hash != transfer_data(target, sources, "seven")[1].hash


def test_a_corpus_without_speaker_ids_can_be_a_target_but_never_lends_validation_speakers(data: Path) -> None:
    metadata = data / "b" / "metadata.csv"
    lines = metadata.read_text().splitlines()
    rows = [line.split(",") for line in lines]
    metadata.write_text("\n".join([lines[0], *(",".join([r[0], "", *r[2:]]) for r in rows[1:])]) + "\n")
    target = loaded(data, "b.id", "transfer")
    assert len(transfer_data(target, [loaded(data, "a.ms")], "seven")[0].folds) == 1
    _, training_data = transfer_data(
        loaded(data, "a.ms", "transfer"), [loaded(data, "b.id"), loaded(data, "c.ta")], "seven"
    )
    assert {training_data.speakers[i].partition("/")[0] for i in training_data.folds[0].dev} == {"c"}
    with pytest.raises(DataError, match="at least two"):
        transfer_data(loaded(data, "a.ms", "transfer"), [loaded(data, "b.id")], "seven")


def test_a_pool_among_its_own_training_data_is_refused_even_when_asked_by_code(data: Path) -> None:
    with pytest.raises(DataError, match="own pool"):
        transfer_data(loaded(data, "a.ms", "transfer"), [loaded(data, "a.ms")], "seven")


def test_a_task_that_learns_from_itself_has_its_own_rows(data: Path) -> None:
    task = loaded(data, "a.ms", "within")
    training_data = own_training_data(task)
    assert (training_data.labels, training_data.folds, training_data.sources) == (task.labels, task.folds, ())


def test_a_list_of_trainings_gives_a_line_each_and_only_picks_among_them(tmp_path: Path) -> None:
    from bench.execution.planning.matrix import load_matrix

    path = tmp_path / "m.yaml"
    path.write_text(
        "name: m\nconditions: [clean, noise-10db]\nentries:\n  - systems: [majority]\n    protocol: transfer\n"
        "    training: [other-pools, '*']\n    view: four\n  - systems: [majority]\n"
    )
    matrix, base = load_matrix(str(path))
    lines = expand(matrix, TasksAtHand(("a.ms", "b.id")), base=base, settings={})
    assert [(w.task, w.training) for w in lines if w.protocol == "transfer"] == [
        ("a.ms", "other-pools"), ("a.ms", "b.id"), ("b.id", "other-pools"), ("b.id", "a.ms"),
    ]  # fmt: skip
    assert lines[0].stem("noise-10db") == "majority__a.ms__transfer-other-pools-four__noise-10db"
    kept = filter_rows(lines, {"training": ["other-*"], "condition": ["noise-*"]})
    assert [(w.task, w.conditions) for w in kept] == [("a.ms", ("noise-10db",)), ("b.id", ("noise-10db",))]
    with pytest.raises(UsageError, match="did you mean 'noise-10db'"):
        filter_rows(lines, {"condition": ["noise-11db"]})
    assert json.dumps([w.identity for w in lines])
