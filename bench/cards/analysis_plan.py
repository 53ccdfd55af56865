"""How results will be analysed: the part of a matrix that scoring and the board read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from bench.cards.typed_yaml import Strict
from bench.statistics.populations import SPEAKERS, Population

PrimaryMetric = Literal["ua", "wa", "macro_f1", "ccc"]


class AnalysisPlan(Strict):
    """How the results are analysed: part of the matrix and of its hash.

    A hash shows which plan it was, not when it was made; the run's plan log does (:mod:`bench.scoring.plan_log`).
    """

    primary_view: Literal["native", "seven", "four"] = "native"
    primary_metric: PrimaryMetric = "ua"
    families: Literal["track"] = "track"
    """Comparison family: all pairs of one track × task × view × metric."""
    across_tracks: tuple[tuple[str, str], ...] = ()
    """Pairs tested across tracks: a family of their own, whose verdict names the difference in supervision."""
    population: Population = "speakers"
    """What intervals and verdicts speak of: more speakers like these, and beyond them more sentences, other seeds, other trainings."""
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Difference below which two systems count as equivalent (2 points of UA)."""
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    coverage_floor: Annotated[float, Field(gt=0, le=1)] = 0.95
    resamples: Annotated[int, Field(ge=1000)] = 10_000
    permutations: Annotated[int, Field(ge=1000)] = 100_000
    seed: int = 0

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Written without a population that is speakers: what plans meant before they could say it, under the same hash."""
        written: dict[str, Any] = write(self)
        if self.population == SPEAKERS:
            written.pop("population", None)
        return written
