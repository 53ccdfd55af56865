"""Published splits, leaks and all; splits that also keep scripts apart; and what holds of any of them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import evaluate
from bench.cards.contamination import contamination
from bench.cards.corpus import CorpusCard, Split
from bench.cards.registry import load_system
from bench.cards.system import TrainingCorpus
from bench.corpora.decoded import decode_missing, open_table
from bench.corpora.prepared import PreparedCorpus, card_of
from bench.errors import DataError
from bench.scoring.comparisons import compare_pair
from bench.scoring.pair_results import NO_VERDICT
from bench.tasks import Task, build_task, recheck
from bench.tasks.corpus_report import describe_corpus
from bench.tasks.folds import build_folds, folds_hash, groups_of, numbered_by_name, value_counts
from bench.tasks.script_folds import build_crossed_folds
from tests.conftest import rewrite, write_tone_corpus


def build(folder: Path, cache: Path, task: str, protocol: str = "within", **card: object) -> Task:
    made = (card_of(folder) or CorpusCard(name="tones")).model_copy(update=card)
    table = open_table(PreparedCorpus(made, folder), cache)
    decode_missing(table)
    return build_task(table, task, protocol)  # type: ignore[arg-type]


def sides(row: dict[str, str]) -> str:
    return ("Train", "train", "train", "valid", "Test1", "test_2")[int(row["speaker"])]


def test_a_clean_official_split_is_one_fold_with_its_own_validation(cache: Path, tone_corpus: Path) -> None:
    rewrite(tone_corpus, split=sides)
    task = build(tone_corpus, cache, "tones.ms@official")
    (fold,) = task.folds
    assert [sorted({task.speakers[i][-2:] for i in side}) for side in (fold.train, fold.dev, fold.test)] == [
        ["00", "01", "02"],
        ["03"],
        ["04", "05"],
    ]
    assert (task.leaks, task.badges) == ((), ("official split",))
    assert len(task.tested) == 12
    assert set(task.tested.speakers) == {"tones/04", "tones/05"}
    default = build(tone_corpus, cache, "tones.ms")
    assert len(default.folds) == 5  # the default stays a re-split over all clips
    assert default.tested is default


def test_an_official_split_without_validation_takes_it_from_other_speakers(
    cache: Path, tone_corpus: Path
) -> None:
    rewrite(tone_corpus, split=lambda row: "test" if row["speaker"] > "03" else "train")
    task = build(tone_corpus, cache, "tones.ms@official")
    (fold,) = task.folds
    assert len(fold.dev)
    assert not {task.speakers[i] for i in fold.dev} & {task.speakers[i] for i in fold.train}
    assert task.leaks == ()


def test_a_leaking_official_split_builds_badged_and_gives_no_verdict(cache: Path, tone_corpus: Path) -> None:
    rewrite(
        tone_corpus,
        split=lambda row: (
            "test" if row["file_name"].endswith("-1.wav") and row["speaker"] > "01" else "train"
        ),
    )
    task = build(tone_corpus, cache, "tones.ms@official")
    assert task.badges == ("official split", "leaks speakers")
    assert (task.leaks[0].count, task.leaks[0].first) == (4, "tones/02")
    assert "4 speaker(s) stand on several sides of the split (test and train)" in task.warnings[0].text
    described = describe_corpus("tones", [tone_corpus.parent], cache).warnings
    assert any(
        "4 speaker(s) stand on several sides of the split, first 'tones/02' (test and train)" in w
        for w in described
    )
    recheck(task)
    with pytest.raises(DataError, match="does not say so"):
        recheck(replace(task, leaks=()))
    records = [evaluate(system, task) for system in ("majority", "egemaps-linear")]
    assert (records[0].facts.leaks[0].kind, records[0].facts.leaks[0].count) == ("speaker", 4)
    assert "tones/02" not in json.dumps(records[0].facts.as_json())  # speakers stay private
    assert records[0].facts.clips == 12
    pairings = compare_pair(records, "majority", "egemaps-linear")
    assert {p.verdict for p in pairings} == {NO_VERDICT}
    assert "official split leaks speakers: no verdict" in pairings[0].sentence


def test_without_speaker_ids_nobody_knows_whether_an_official_split_leaks(
    cache: Path, tone_corpus: Path
) -> None:
    rewrite(tone_corpus, split=sides)
    rewrite(tone_corpus, speaker="")
    task = build(tone_corpus, cache, "tones.ms@official")
    assert "36 clip(s) have no speaker id" in task.leaks[0].sentence
    assert build(tone_corpus, cache, "tones.ms@official", "zero-shot").leaks == ()


def test_no_official_split_is_said(cache: Path, tone_corpus: Path) -> None:
    with pytest.raises(DataError, match="no official split: its split column is blank"):
        build(tone_corpus, cache, "tones.ms@official")


def test_two_speakers_leave_zero_shot_and_transfer(cache: Path, tmp_path: Path) -> None:
    folder = write_tone_corpus(tmp_path / "data" / "duo", speakers=2)
    with pytest.raises(DataError, match=r"duo\.ms: 2 speaker\(s\).*zero-shot and transfer .* remain"):
        build(folder, cache, "duo.ms")
    assert len(build(folder, cache, "duo.ms", "zero-shot")) == 12


def test_one_recording_under_two_speakers_stays_on_one_side(cache: Path, tone_corpus: Path) -> None:
    audio = tone_corpus / "audio"
    (audio / "s5-sad-0.wav").write_bytes((audio / "s0-sad-0.wav").read_bytes())
    task = build(tone_corpus, cache, "tones.ms")
    place = {task.speakers[i]: f.name for f in task.folds for i in f.test}
    assert place["tones/00"] == place["tones/05"]
    assert any("1 recording(s) stand under several clip ids" in w.text for w in task.warnings)


def test_script_disjoint_blocks_share_neither_speaker_nor_script(cache: Path, tmp_path: Path) -> None:
    folder = write_tone_corpus(tmp_path / "data" / "tones", clips=6)
    rewrite(folder, script=lambda row: row["file_name"][-5])
    task = build(folder, cache, "tones.ms@script-disjoint", split=Split(folds=3))
    assert len(task.folds) == 9
    assert Counter(i for f in task.folds for i in f.test.tolist()) == Counter(range(108))
    for fold in task.folds:
        for column in (task.speakers, task.scripts):
            learnt = {column[i] for i in (*fold.train, *fold.dev)}
            assert not learnt & {column[i] for i in fold.test}
        assert not {task.speakers[i] for i in fold.train} & {task.speakers[i] for i in fold.dev}
        assert len(fold.train) + len(fold.dev) == 108 * 2 / 3 * 2 / 3
    record = evaluate("majority", task)
    assert record.facts.clips == 108
    recheck(task)
    with pytest.raises(DataError, match=r"script\(s\) stand on several sides"):
        recheck(replace(task, scripts=("one",) * 108))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("same", "all clips speak one script, 'same'"),
        (lambda row: "" if row["speaker"] == "00" else row["file_name"][-5], "6 clips have no script"),
        (lambda row: row["emotion"], "scripts are bound to labels"),
    ],
)
def test_script_disjoint_is_refused_where_it_cannot_be(
    cache: Path, tone_corpus: Path, script: object, said: str
) -> None:
    rewrite(tone_corpus, script=script)
    with pytest.raises(DataError, match=said):
        build(tone_corpus, cache, "tones.ms@script-disjoint")


rows = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("12345"), st.sampled_from(["happy", "sad"])),
    min_size=8,
    max_size=60,
)


@settings(max_examples=80, deadline=None)
@given(rows, st.sampled_from([3, 5]))
def test_any_script_disjoint_split_keeps_its_promise_or_is_refused(
    manifest: list[tuple[str, str, str]], folds: int
) -> None:
    speakers, scripts, labels = zip(*manifest, strict=True)
    try:
        made = build_crossed_folds(
            groups_of([speakers]), scripts, labels, [""] * len(labels), folds, what="t"
        )
    except DataError:
        return
    assert Counter(i for f in made for i in f.test.tolist()) == Counter(range(len(labels)))
    for fold in made:
        for column in (speakers, scripts):
            assert not {column[i] for i in (*fold.train, *fold.dev)} & {column[i] for i in fold.test}
        assert {labels[i] for i in fold.test} <= {labels[i] for i in fold.train}


@settings(max_examples=80, deadline=None)
@given(rows, st.randoms(use_true_random=False), st.sampled_from([3, 5]))
def test_folds_do_not_depend_on_the_order_of_rows_and_are_balanced(
    manifest: list[tuple[str, str, str]], shuffle: object, k: int
) -> None:
    def split(order: list[int]) -> tuple[str, np.ndarray, list]:  # type: ignore[type-arg]
        speakers, labels = [manifest[i][0] for i in order], [manifest[i][2] for i in order]
        clips = [f"{i:02d}.wav" for i in order]
        groups = numbered_by_name(groups_of([speakers]), clips)
        made = build_folds(groups, [labels], k, what="t")
        shares = value_counts(groups, labels, groups.max() + 1)
        tested = np.zeros(len(order), dtype=int)
        for f, fold in enumerate(made):
            tested[fold.test] = f
        return folds_hash(clips, made), shares, value_counts(tested, labels, len(made)).tolist()

    order = list(range(len(manifest)))
    if len({m[0] for m in manifest}) < 3:
        return
    first, counts, per_fold = split(order)
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    assert split(order)[0] == first
    n_folds = len(per_fold)
    totals = counts.sum(axis=0)
    unevenness = ((np.array(per_fold) / totals - 1 / n_folds) ** 2).sum()
    assert unevenness <= (1 - 1 / n_folds) * ((counts / totals) ** 2).sum() + 1e-9


def test_what_a_system_had_met_is_told_by_pool_and_by_official_side(tone_corpus: Path) -> None:
    corpus = CorpusCard(name="tones", pool="bells")
    known = {
        "tones": corpus,
        "copy": CorpusCard(name="copy", pool="bells"),
        "collection": CorpusCard(name="collection", contains=("bells",)),
        "elsewhere": CorpusCard(name="elsewhere"),
    }

    def met(*trained: tuple[str, str], variant: str = "") -> str:
        card = load_system("majority").model_copy(
            update={"training_corpora": tuple(TrainingCorpus(corpus=c, split=s) for c, s in trained)}
        )
        return contamination(card, corpus, variant, known=known)

    assert met(("elsewhere", "all")) == "unseen"
    assert met(("tones", "all")) == met(("copy", "train")) == met(("collection", "all")) == "seen"
    assert met(("tones", "train")) == "seen"  # our own folds test those clips as well
    assert met(("tones", "train"), variant="official") == "same corpus"
    assert met(("tones", "test"), variant="official") == "seen"
    assert met(("tones", "speaker-disjoint"), ("elsewhere", "all")) == "same corpus"
    undisclosed = load_system("majority").model_copy(update={"training_corpora": "undisclosed"})
    assert contamination(undisclosed, corpus, known=known) == "undisclosed"
    for named, worst in (("elsewhere", "undisclosed"), ("tones", "seen")):
        partly = load_system("majority").model_copy(
            update={
                "training_corpora": (TrainingCorpus(corpus=named, split="all"),),
                "also_undisclosed": True,
            }
        )
        assert contamination(partly, corpus, known=known) == worst
