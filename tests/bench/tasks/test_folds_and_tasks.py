"""Splits nobody can attack: no speaker, session or dialogue on two sides, on any corpus; and tasks made of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import load_task
from bench.cards.corpus import CorpusCard, Split
from bench.corpora.decoded import decode_missing, open_table
from bench.corpora.prepared import PreparedCorpus, card_of
from bench.errors import DataError, UsageError
from bench.tasks import Task, build_task, match_tasks, split_task_name
from bench.tasks.folds import Fold, assemble_folds, build_folds, check_disjoint, folds_hash, groups_of
from bench.tasks.training_data import own_training_data
from tests.conftest import rewrite, write_tone_corpus

ids = st.sampled_from(["", "a", "b", "c", "d", "e", "f"])


def build(
    folder: Path, cache: Path, task: str = "tones.ms", limit: int | None = None, **card: object
) -> Task:
    made = (card_of(folder) or CorpusCard(name="tones")).model_copy(update=card)
    table = open_table(PreparedCorpus(made, folder), cache)
    decode_missing(table)
    return build_task(table, task, "within", limit=limit)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(ids, ids, ids, st.sampled_from(["happy", "sad", None])), min_size=3, max_size=40),
    st.sampled_from([3, 5, 10, "loso"]),
)
def test_no_id_stands_on_two_sides_whatever_the_corpus(rows: list[tuple[str, ...]], folds: int) -> None:
    speakers, sessions, dialogues, labels = zip(*rows, strict=True)
    groups = groups_of([speakers, sessions, dialogues])
    if groups.max() < 2:
        with pytest.raises(DataError, match="at least 3 are needed"):
            build_folds(groups, [labels], folds, what="t")
        return
    if np.bincount(groups).max() > 0.8 * len(rows):
        with pytest.raises(DataError, match="learn from next to nothing"):
            build_folds(groups, [labels], folds, what="t")
        return
    made = build_folds(groups, [labels], folds, what="t")
    tested = Counter(int(i) for f in made for i in f.test)
    assert tested == Counter(range(len(rows)))
    for fold in made:
        assert len(fold.train)
        assert len(fold.dev)
        for column in (speakers, sessions, dialogues):
            sides = [{column[i] for i in side} - {""} for side in (fold.train, fold.dev, fold.test)]
            assert sum(map(len, sides)) == len(set().union(*sides))


def test_clips_chained_by_a_session_and_a_dialogue_are_one_group() -> None:
    groups = groups_of([["a", "b", "c", "d"], ["1", "1", "", ""], ["", "x", "x", ""]])
    assert groups.tolist() == [0, 0, 0, 1]


def test_labels_are_spread_evenly_over_folds() -> None:
    rng = np.random.default_rng(0)
    speakers = [f"s{i:02d}" for i in range(40) for _ in range(10)]
    lean = {s: rng.choice(["happy", "sad", "angry"]) for s in sorted(set(speakers))}
    labels = [lean[s] if rng.random() < 0.6 else "neutral" for s in speakers]
    shares = []
    for fold in build_folds(groups_of([speakers]), [labels], 5, what="t"):
        counts = Counter(labels[i] for i in fold.test)
        shares.append([counts[x] / Counter(labels)[x] for x in ("happy", "sad", "angry", "neutral")])
    assert (
        np.ptp(shares, axis=0).max() < 0.12
    )  # an even share is 0.2; dealt at random they range over 0.2 and more


@pytest.mark.parametrize(("kind", "torn"), [("speaker", "p/01"), ("session", "p/s1"), ("dialogue", "p/d1")])
def test_a_split_that_leaks_is_refused_with_the_offender(kind: str, torn: str) -> None:
    columns = {
        "speaker": ["p/01", "p/02", "p/03"],
        "session": ["p/s0", "p/s2", "p/s3"],
        "dialogue": ["", "", ""],
    }
    columns[kind] = [torn, torn, columns[kind][2]]
    fold = [
        Fold(str(i), np.array([j]), np.array([k]), np.array([i]))
        for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    ]
    with pytest.raises(DataError, match=f"1 {kind}.*first '{torn}' \\(") as caught:
        check_disjoint(fold, columns, what="t")
    assert "train" in str(caught.value)


def test_a_clip_tested_twice_or_never_is_refused() -> None:
    nothing = np.array([], dtype=int)
    folds = [Fold("0", nothing, nothing, np.array([0, 1])), Fold("1", nothing, nothing, np.array([1]))]
    with pytest.raises(DataError, match="1 clips are tested twice and 1 never"):
        check_disjoint(folds, {"speaker": ["a", "b", "c"]}, what="t")


def test_folds_do_not_depend_on_anything_but_their_input_and_the_hash_tells_them_apart() -> None:
    speakers, labels = [f"s{i % 7}" for i in range(70)], ["happy", "sad"] * 35
    clips = [f"{i}.wav" for i in range(70)]

    def made(folds: int) -> str:
        return folds_hash(clips, build_folds(groups_of([speakers]), [labels], folds, what="t"))

    assert made(5) == made(5)
    assert made(5) != made(4)
    assert made(7) == made(20)  # never more folds than speakers
    one = assemble_folds(np.array([0, 1, 2]), np.array([0, 1, 2]), ["a", "b", "c"])
    assert folds_hash(clips[:3], one) != folds_hash(clips[1:4], one)


def test_a_task_offers_its_own_classes_and_clips_without_labels(cache: Path, tone_corpus: Path) -> None:
    task = build(tone_corpus, cache)
    assert (len(task), task.labels, len(task.folds)) == (36, ("happy", "sad", "angry"), 5)
    training_data = own_training_data(task)
    clips = training_data.clips(task.folds[0].test)
    assert not {"labels", "emotions", "dimensions", "speakers"} & set(vars(clips))
    assert clips.read(0).dtype == np.float32
    assert clips.seconds.tolist() == [0.4] * len(clips)
    examples = training_data.examples(task.folds[0].train)
    assert set(examples.speakers) <= {f"tones/0{i}" for i in range(6)}
    assert not set(examples.clips.ids) & set(clips.ids)


def test_leave_one_speaker_out_is_a_variant_by_name(cache: Path, tone_corpus: Path) -> None:
    task = build(tone_corpus, cache, "tones.ms@loso")
    assert len(task.folds) == 6
    assert all(len({task.speakers[i] for i in f.test}) == 1 for f in task.folds)
    with pytest.raises(UsageError, match="unknown split variant 'lso'"):
        build(tone_corpus, cache, "tones.ms@lso")


def test_a_split_of_the_cards_own_builds_when_it_is_disjoint_and_fails_when_it_leaks(
    cache: Path, tone_corpus: Path
) -> None:
    own = {"columns": {"split": "part"}}
    rewrite(tone_corpus, part=lambda row: "abc"[int(row["speaker"]) % 3])
    assert [f.name for f in build(tone_corpus, cache, **own).folds] == ["a", "b", "c"]
    rewrite(tone_corpus, part=lambda row: row["emotion"])
    with pytest.raises(
        DataError, match=r"speaker\(s\) stand on several sides of the split, first 'tones/00'"
    ):
        build(tone_corpus, cache, **own)
    rewrite(tone_corpus, part=lambda row: "ab"[int(row["speaker"]) % 2])
    with pytest.raises(DataError, match="at least three folds"):
        build(tone_corpus, cache, **own)


def test_sessions_local_to_a_speaker_do_not_join_the_whole_corpus(cache: Path, tone_corpus: Path) -> None:
    rewrite(tone_corpus, session="1")
    with pytest.raises(DataError, match="session_scope: speaker"):
        build(tone_corpus, cache)
    task = build(tone_corpus, cache, split=Split(session_scope="speaker"), cluster="session")
    assert set(task.clusters) == {f"tones/0{i}/1" for i in range(6)}


def test_without_speakers_there_is_zero_shot_and_nothing_else(cache: Path, tone_corpus: Path) -> None:
    rewrite(tone_corpus, speaker="")
    with pytest.raises(DataError, match="36 clips have no speaker id"):
        build(tone_corpus, cache)
    table = open_table(PreparedCorpus(CorpusCard(name="tones"), tone_corpus), cache)
    task = build_task(table, "tones.ms", "zero-shot")
    assert len(task.folds) == 1
    assert (len(task.folds[0].train), len(task.folds[0].test)) == (0, 36)
    assert len(set(task.clusters)) == 36  # nobody knows who speaks: every clip is a cluster of its own


def test_two_corpora_of_one_pool_name_a_speaker_alike(cache: Path, tone_corpus: Path) -> None:
    first = build(tone_corpus, cache, pool="shared")
    second = build(tone_corpus, cache, "other.ms", pool="shared", name="other")
    assert set(first.speakers) == set(second.speakers) == {f"shared/0{i}" for i in range(6)}


def test_one_task_per_language_with_its_own_speakers(cache: Path, tmp_path: Path) -> None:
    folder = write_tone_corpus(tmp_path / "data" / "tones", languages=("ms", "en-SG"))
    malay, english = (build(folder, cache, f"tones.{x}") for x in ("ms", "en-SG"))
    assert (len(malay), len(english)) == (18, 18)
    assert not set(malay.speakers) & set(english.speakers)
    with pytest.raises(UsageError, match=r"no task 'tones\.en'; did you mean 'tones\.en-SG'"):
        build(folder, cache, "tones.en")


def test_a_limit_takes_the_same_clips_every_time_from_all_speakers_and_labels(
    cache: Path, tone_corpus: Path
) -> None:
    tasks = [build(tone_corpus, cache, limit=18) for _ in range(2)]
    assert tasks[0].clip_ids == tasks[1].clip_ids
    assert Counter(tasks[0].emotions) == {"happy": 6, "sad": 6, "angry": 6}
    assert len(set(tasks[0].speakers)) == 6
    assert tasks[0].limited


def test_what_changes_a_task_changes_its_content_hash(cache: Path, tone_corpus: Path) -> None:
    before = build(tone_corpus, cache).content_hash
    rewrite(tone_corpus, gender="female")
    assert build(tone_corpus, cache).content_hash == before  # nothing that is learnt from or scored
    rewrite(tone_corpus, transcript="la la")
    assert build(tone_corpus, cache).content_hash != before  # systems that read the words see it
    rewrite(tone_corpus, transcript="")
    rewrite(
        tone_corpus,
        emotion=lambda row: "sad" if row["file_name"].endswith("s0-happy-0.wav") else row["emotion"],
    )
    assert build(tone_corpus, cache).content_hash != before


def test_task_names_and_patterns() -> None:
    assert split_task_name("emodb-7class-2s.de") == ("emodb-7class-2s", "de", "")
    for wrong in ("emodb", ".de", "emodb."):
        with pytest.raises(UsageError, match="is no task id"):
            split_task_name(wrong)
    assert match_tasks("*.de@loso", ["a.de", "b.id"]) == ["a.de@loso"]


@pytest.mark.real
def test_the_real_corpora_split_by_speaker(cache: Path, real_corpora: Path) -> None:
    task = load_task("nemo-subset.pl", data=[real_corpora])
    assert len(task.folds) == 5
    for fold in task.folds:
        speakers = [{task.speakers[i] for i in side} for side in (fold.train, fold.dev, fold.test)]
        assert sum(map(len, speakers)) == len(set().union(*speakers)) == 9
        assert {task.emotions[i] for i in fold.train} == set(task.labels)
