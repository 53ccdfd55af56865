"""What tells the label without listening: found, measured against a plain computation, and put into a sentence."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from bench import load_task
from bench.corpora.confounds import associate, find_confounds, length_association
from tests.conftest import rewrite, write_tone_corpus


def test_speakers_with_one_emotion_each_are_named_with_figures() -> None:
    """The design of URDU: 26 of 29 speakers show one emotion."""
    names = ["angry", "happy", "neutral", "sad"]
    speakers, labels = [], []
    for s in range(29):
        shown = names if s < 3 else [names[s % 4]]
        for i in range(12):
            speakers.append(f"urdu/{s:02d}")
            labels.append(shown[i % len(shown)])
    found = associate("speaker", speakers, labels)
    assert found is not None
    assert (found.single, found.groups) == (26, 29)
    assert found.ua > 0.85
    (message,) = find_confounds(labels, {"speaker": speakers}, np.zeros(len(labels)), speakers)
    assert "26 of 29 speakers show one emotion only (312 of 348 clips)" in message.text
    assert (
        f"UA {found.ua:.2f} (chance 0.25, normalised mutual information {found.information:.2f})"
        in message.text
    )
    assert (message.badge, message.holds) == ("voices tell labels", "shared speakers")
    assert message.share == pytest.approx(312 / 348)
    assert message.sentence.endswith("(90 % of the clips; only where training and test share speakers)")


def test_what_is_said_of_speakers_with_one_emotion_goes_by_their_clips() -> None:
    """The design of BAVED: 43 of 61 speakers show one emotion, and hold 214 of 1,935 clips."""
    speakers = [f"one{i % 43}" for i in range(214)] + [f"all{i % 18}" for i in range(1721)]
    labels = [("sad", "happy")[(i % 43) % 2] for i in range(214)] + [
        ("sad", "happy")[i // 18 % 2] for i in range(1721)
    ]
    (message,) = find_confounds(labels, {"speaker": speakers}, np.zeros(len(labels)), speakers)
    assert message.text == "43 of 61 speakers show one emotion only (214 of 1,935 clips)", (
        "and no more is claimed"
    )
    assert message.sentence.endswith("(11 % of the clips; only where training and test share speakers)")
    half = slice(107, None)
    assert find_confounds(labels[half], {"speaker": speakers[half]}, np.zeros(1828), speakers[half]) == [], (
        "107 clips of 1,828 are few"
    )


def test_figures_agree_with_a_plain_computation() -> None:
    rng = np.random.default_rng(3)
    groups = [f"g{i}" for i in rng.integers(5, size=400)]
    labels = [("sad", "happy", "angry")[(int(g[1]) + (rng.random() < 0.4)) % 3] for g in groups]
    found = associate("gender", groups, labels)
    assert found is not None
    recall: dict[str, list[float]] = {"sad": [], "happy": [], "angry": []}
    for i, (g, label) in enumerate(zip(groups, labels, strict=True)):
        others = Counter(b for j, (a, b) in enumerate(zip(groups, labels, strict=True)) if a == g and j != i)
        best = [x for x, n in others.items() if n == max(others.values())]
        recall[label].append((label in best) / len(best))
    assert found.ua == pytest.approx(np.mean([np.mean(r) for r in recall.values()]))
    p = np.array(list(Counter(labels).values())) / 400
    entropies = [-(q * np.log(q)).sum() for q in (p, np.array(list(Counter(groups).values())) / 400)]
    reference = normalized_mutual_info_score(labels, groups, average_method="arithmetic")
    mutual = reference * np.mean(entropies)
    assert found.information == pytest.approx((mutual - 4 * 2 / 800) / entropies[0])


def test_what_is_independent_is_not_warned_about() -> None:
    rng = np.random.default_rng(0)
    speakers = [f"s{i}" for i in rng.integers(60, size=600)]
    labels = [("sad", "happy", "angry", "neutral")[i] for i in rng.integers(4, size=600)]
    columns = {
        "speaker": speakers,
        "gender": [s[-1] for s in speakers],
        "script": [f"t{i % 7}" for i in range(600)],
    }
    assert find_confounds(labels, columns, rng.uniform(1, 5, size=600), speakers) == []


def test_a_rule_that_knows_length_alone_is_tried_on_other_speakers() -> None:
    speakers = [f"s{i % 10}" for i in range(400)]
    labels = [("sad", "happy")[i // 200] for i in range(400)]
    found = length_association([3.0 if x == "sad" else 1.0 for x in labels], labels, speakers)
    assert found is not None
    assert (found.share, found.ua) == (1.0, 1.0)
    by_speaker = length_association(
        [1 + int(s[1]) + 0.01 * (i % 3) for i, s in enumerate(speakers)], labels, speakers
    )
    assert by_speaker is not None
    assert not by_speaker.large


def test_a_confounded_corpus_is_warned_about_on_its_task(cache: Path, tmp_path: Path) -> None:
    folder = write_tone_corpus(tmp_path / "data" / "tones", speakers=12)
    rewrite(folder, emotion=lambda row: ("happy", "sad", "angry")[int(row["speaker"][-1]) % 3])
    rewrite(folder, script=lambda row: row["emotion"][:2])
    task = load_task("tones.ms", data=[tmp_path / "data"])
    assert any(w.text.startswith("12 of 12 speakers show one emotion only") for w in task.warnings)
    assert any(w.text.startswith("the script alone tells the label with UA 1.00") for w in task.warnings)


@pytest.mark.real
def test_the_real_corpora_show_their_known_confounds(cache: Path, real_data: list[Path]) -> None:
    messages = {
        n: [w.text for w in load_task(n, data=real_data).warnings]
        for n in ("indowave.id", "emodb.de", "nemo-subset.pl")
    }
    assert any("36% of the variance of log length" in w for w in messages["indowave.id"])
    assert any("24% of the variance of log length" in w for w in messages["emodb.de"])
    assert not any("length" in w for w in messages["nemo-subset.pl"])
    assert not any("alone tells the label" in w for warnings in messages.values() for w in warnings)
