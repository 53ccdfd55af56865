"""Figures that others reported: cited, in a table of their own, and never ranked with what was measured here."""

from __future__ import annotations

import functools
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import Field

from bench.cards.typed_yaml import Strict, parse_typed


class ReportedFigure(Strict):
    """One figure as its authors gave it, per cent."""

    system: str
    corpus: str
    language: str
    classes: Literal["native", "seven", "four"]
    metric: Literal["ua", "wa"]
    value: Annotated[float, Field(ge=0, le=100)]
    split: str
    """How test clips were kept from training, which decides what the figure can be compared with."""


class ReportedSource(Strict):
    """A publication whose figures are cited."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    title: str
    citation: str
    address: Annotated[str, Field(pattern=r"^https://[^\s\"'<>]+$")]
    remarks: tuple[str, ...] = ()
    figures: Annotated[tuple[ReportedFigure, ...], Field(min_length=1, max_length=100)]


@functools.cache
def reported_sources() -> tuple[ReportedSource, ...]:
    """Everything in ``tasks/reported``, by file name."""
    folder = files("tasks").joinpath("reported")
    paths = sorted((p for p in folder.iterdir() if p.name.endswith(".yaml")), key=lambda p: p.name)
    return tuple(
        parse_typed(p.read_text(encoding="utf-8"), f"tasks/reported/{p.name}", ReportedSource) for p in paths
    )
