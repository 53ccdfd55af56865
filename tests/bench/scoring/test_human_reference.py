"""One listener against the others: exact over listeners, with the interval that every score gets."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bench import load_task
from bench.errors import DataError
from bench.metrics import concordance_cc
from bench.scoring.human_reference import human_references, rating_statistics, vote_statistics
from bench.statistics.additive import value
from bench.statistics.intervals import interval
from tests.conftest import rewrite


def by_hand(counts: np.ndarray, cluster: np.ndarray, n: int) -> np.ndarray:  # type: ignore[type-arg]
    """Go through every listener of every clip."""
    k = counts.shape[1] - 1
    table = np.zeros((n, k, k + 1))
    for row, c in zip(counts.astype(int), cluster, strict=True):
        listeners = [answer for answer, times in enumerate(row) for _ in range(times)]
        if len(listeners) < 2:
            continue
        for i, answer in enumerate(listeners):
            others = Counter(listeners[:i] + listeners[i + 1 :])
            top = [x for x, m in others.items() if m == max(others.values())]
            for truth in top:
                if truth < k:
                    table[c, truth, answer] += 1 / len(top) / len(listeners)
    return table


def test_votes_are_counted_as_if_every_listener_had_been_left_out_in_turn() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.2, size=(200, 5)).astype(float)
    cluster = rng.integers(7, size=200)
    table, clips, votes = vote_statistics(counts, cluster, 7)
    assert np.allclose(table, by_hand(counts, cluster, 7))
    assert clips <= (counts.sum(axis=1) >= 2).sum()
    assert votes <= counts.sum()


def test_ratings_give_the_concordance_of_one_listener_with_the_rest() -> None:
    rng = np.random.default_rng(1)
    ratings = [tuple(rng.uniform(0, 1, size=3)) for _ in range(50)] + [(0.4,)]
    cluster = np.arange(51) % 5
    sums, clips, n_ratings = rating_statistics(ratings, cluster, 5)
    rated = np.array([r[i] for r in ratings[:50] for i in range(3)])
    others = np.array([(sum(r) - r[i]) / 2 for r in ratings[:50] for i in range(3)])
    assert (clips, n_ratings) == (50, 150)
    assert value("ccc", sums.sum(axis=0)) == pytest.approx(concordance_cc(others, rated))


def test_a_task_tells_votes_by_canonical_name_and_both_truths(cache: Path, tone_corpus: Path) -> None:
    rewrite(
        tone_corpus,
        soft_votes=lambda row: json.dumps({row["emotion"].title(): 3, "sadness": 1, "anger": 1}),
        ratings='{"valence": [2, 3, 4], "arousal": [1, 5]}',
    )
    card = tone_corpus / "card.yaml"
    card.write_text(card.read_text(encoding="utf-8") + "scale: [1, 5]\ntruth: intended\n", encoding="utf-8")
    task = load_task("tones.ms", data=[tone_corpus.parent])
    assert task.votes[0] == {"happy": 3, "sad": 1, "angry": 1}
    assert task.vote_counts[0].tolist() == [3, 1, 1, 0]
    assert task.ratings[0] == {"valence": (0.25, 0.5, 0.75), "arousal": (0.0, 1.0)}
    found = {(r.truth, r.view, r.target): r for r in human_references(task)}
    assert {k[:2] for k in found if k[2] == "category"} == {
        (t, v) for t in ("perceived", "intended") for v in ("native", "seven", "four")
    }
    intended = found["intended", "native", "category"]
    happy, sad = 3 / 5, 4 / 5
    assert value("ua", intended.statistics.sum(axis=0)) == pytest.approx((happy + 2 * sad) / 3)
    assert (intended.clips, intended.votes) == (36, 180)
    assert interval("ua", intended.statistics).clusters == 6
    assert ("perceived", "dimensions", "valence") in found


def test_votes_for_unknown_names_are_refused_and_left_out_names_are_another_answer(
    cache: Path, tone_corpus: Path
) -> None:
    rewrite(tone_corpus, soft_votes='{"happy": 2, "grumpyish": 1}')
    with pytest.raises(DataError, match="soft_votes has the unknown emotion name 'grumpyish'"):
        load_task("tones.ms", data=[tone_corpus.parent])
    card = tone_corpus / "card.yaml"
    card.write_text(card.read_text(encoding="utf-8") + "labels: {grumpyish: null}\n", encoding="utf-8")
    task = load_task("tones.ms", data=[tone_corpus.parent])
    assert task.votes[0] == {"happy": 2, "": 1}
    assert task.vote_counts[0].tolist() == [2, 0, 0, 1]


@pytest.mark.real
def test_the_published_votes_of_crema_d_give_the_figures_in_the_docs(real_corpora: Path) -> None:
    path = real_corpora.parent / "labels/crema-d/voice_votes.csv"
    if not path.exists():
        if os.environ.get("SERBENCH_REQUIRE_REAL"):
            pytest.fail(f"no {path}, and SERBENCH_REQUIRE_REAL asks for it")
        pytest.skip(f"no {path}")
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    labels = ("neutral", "happy", "sad", "angry", "fearful", "disgusted")
    counts = np.array([[float(r[x]) for x in labels] + [0.0] for r in rows])
    actors = sorted({r["clip"][:4] for r in rows})
    cluster = np.array([actors.index(r["clip"][:4]) for r in rows])
    code = {"NEU": 0, "HAP": 1, "SAD": 2, "ANG": 3, "FEA": 4, "DIS": 5}
    meant = np.array([code[r["clip"].split("_")[2]] for r in rows])
    docs = (Path(__file__).parents[3] / "docs/corpora.md").read_text(encoding="utf-8")
    for truth, intended in (("the other listeners’ majority", None), ("the intended emotion", meant)):
        table, clips, votes = vote_statistics(counts, cluster, len(actors), intended=intended)
        assert (clips, votes, len(actors)) == (7442, 68568, 91)
        cells = []
        for metric in ("ua", "wa", "macro_f1"):
            found = interval(metric, table)
            cells.append(f"{100 * found.estimate:.1f} ({100 * found.low:.1f}–{100 * found.high:.1f})")
        assert f"| {truth} | {' | '.join(cells)} |" in docs
