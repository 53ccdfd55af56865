"""A warning holds for some protocols and some clips; it is neither shown where it does not hold nor said twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import load_task
from bench.cards.caution import Caution, caution_in_words, said_once
from bench.scoring.record_schema import LeakDescription
from bench.tasks.catalogue import catalogue
from reports.data.caution_badges import caution_badges
from tests.adversarial.forged import changed, published
from tests.conftest import rewrite, write_tone_corpus

VOICES = Caution(text="one voice per emotion", badge="voices tell labels", holds="shared speakers", share=0.9)
LEAK = LeakDescription(kind="speaker", count=4, fold="official", sides=("test", "train"))


def words(**facts: object) -> list[str]:
    record = changed(published("quick", "egemaps-linear__indowave.id__within__clean"), **facts)
    return [b.word for b in caution_badges(record.facts)]


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({"protocol": "within"}, False),
        ({"protocol": "zero-shot"}, False),
        ({"protocol": "transfer", "leaks": (LEAK,)}, False),
        ({"protocol": "within", "leaks": (LEAK,)}, True),
    ],
)
def test_recognising_voices_helps_only_where_speakers_are_shared(
    facts: dict[str, object], *, shown: bool
) -> None:
    """URDU: 26 of 29 speakers show one emotion. Where nobody is on two sides, a voice tells nothing."""
    assert ("voices tell labels" in words(warnings=(VOICES,), **facts)) is shown


def test_what_is_learnt_on_the_corpus_does_not_bear_on_who_learnt_elsewhere() -> None:
    length = Caution(text="sad clips are longer", badge="length tells labels", holds="within")
    assert words(warnings=(length,), protocol="within") == ["length tells labels"]
    assert words(warnings=(length,), protocol="zero-shot") == []


def test_plain_text_of_an_old_record_is_read_by_what_it_says() -> None:
    old = (
        "26 of 29 speakers show one emotion only: voice and label cannot be told apart where the speaker alone tells "
        "the label with UA 0.88 (chance 0.25, normalised mutual information 0.80)",
        "Compressed broadcast sound; clips are cut to 2 or 3 s.",
        "   ",
    )
    assert words(warnings=old, protocol="within") == ["1 trap"]
    assert words(warnings=old, protocol="within", leaks=(LEAK,)) == ["voices tell labels", "1 trap"]
    assert caution_in_words(old[0]).holds == "shared speakers"


def test_a_hostile_warning_stays_a_word_with_a_bounded_title() -> None:
    (badge,) = caution_badges(
        changed(
            published("quick", "egemaps-linear__indowave.id__within__clean"), warnings=("<script>" * 2000,)
        ).facts
    )
    assert badge.word == "1 trap"
    assert len(badge.title) <= 800
    with pytest.raises(ValueError, match="badge"):
        Caution(text="x", badge='"><script>')


def test_the_share_of_clips_is_never_rounded_to_none_or_all() -> None:
    told = {s: Caution(text="x", share=s).sentence for s in (0.0, 0.001, 0.5, 0.999, 1.0)}
    assert [t.removeprefix("x ") for t in told.values()] == [
        "(0 % of the clips)", "(under 1 % of the clips)", "(50 % of the clips)", "(over 99 % of the clips)", "(100 % of the clips)",
    ]  # fmt: skip


def test_one_thing_is_said_once_by_whoever_measured_it(cache: Path, tmp_path: Path) -> None:
    """The card of a corpus warns of its speakers in its own words; the clips say it again, with figures."""
    folder = write_tone_corpus(tmp_path / "data" / "tones", speakers=12)
    rewrite(folder, emotion=lambda row: ("happy", "sad", "angry")[int(row["speaker"][-1]) % 3])
    card = folder / "card.yaml"
    card.write_text(
        card.read_text()
        + "cautions:\n  - {text: everybody has one emotion, badge: voices tell labels, holds: shared speakers}\n"
        "  - {text: very few people, badge: few speakers}\ntraps: [tones, tones]\n"
    )
    task = load_task("tones.ms", data=[tmp_path / "data"])
    badges = [c.badge for c in task.warnings]
    assert badges.count("voices tell labels") == badges.count("few speakers") == badges.count("trap") == 1
    (voices,) = [c for c in task.warnings if c.badge == "voices tell labels"]
    assert voices.text.startswith("12 of 12 speakers show one emotion only (72 of 72 clips)")
    (entry,) = [e for e in catalogue([tmp_path / "data"], with_contamination=False) if e.name == "tones.ms"]
    assert set(entry.badges) >= {"voices tell labels", "few speakers"}
    assert any(
        w.endswith("(100 % of the clips; only where training and test share speakers)")
        for w in entry.warnings
    )


def test_cards_and_measurements_of_other_things_stay_apart() -> None:
    told = (Caution(text="a"), Caution(text="b", badge="few speakers"))
    measured = [Caution(text="c", badge="few speakers"), Caution(text="c", badge="few speakers")]
    assert [c.text for c in said_once(measured, told)] == ["a", "c"]
