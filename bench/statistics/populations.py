"""What an interval speaks of: more such speakers, and beyond them more such sentences, other seeds, other trainings."""

from __future__ import annotations

from typing import Literal

Population = Literal[
    "speakers",
    "speakers x sentences",
    "speakers x seeds",
    "speakers x trainings",
    "speakers x sentences x seeds",
    "speakers x sentences x trainings",
]
"""What is drawn anew in thought, as an analysis plan names it. Trainings are fits: those of folds, with their seeds."""
SPEAKERS: Population = "speakers"
Factor = Literal["sentences", "seeds", "trainings"]
FACTORS: tuple[Factor, ...] = ("sentences", "seeds", "trainings")
"""What may be drawn beside speakers, in the order of a population's name."""


def factors_of(population: Population) -> tuple[Factor, ...]:
    """What a population draws beside speakers.

    >>> factors_of("speakers x sentences x seeds")
    ('sentences', 'seeds')
    """
    named = population.split(" x ")
    return tuple(f for f in FACTORS if f in named)


def population_of(factors: tuple[Factor, ...]) -> str:
    """Name of the population that draws speakers and these.

    >>> population_of(("sentences",))
    'speakers x sentences'
    """
    return " x ".join((SPEAKERS, *(f for f in FACTORS if f in factors)))


def population_words(population: str, *, clusters: str = "speakers") -> str:
    """Say which population an interval speaks of, in words.

    Args:
        population: its name.
        clusters: what is resampled where it is not speakers: sessions, dialogues, clips.

    Returns:
        A phrase that names what is drawn and what is held.

    >>> population_words("speakers")
    'more such speakers, these sentences, these weights'
    >>> population_words("speakers x sentences x seeds")
    'more such speakers, more such sentences, other seeds'
    """
    named = population.split(" x ")
    sentences = "more such sentences" if "sentences" in named else "these sentences"
    weights = next(
        (f"other {f}" for f in ("trainings", "seeds") if f in named),
        "these weights",
    )
    return f"more such {clusters}, {sentences}, {weights}"
