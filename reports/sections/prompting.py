"""How an Audio-LLM fared under different ways of asking, and what it said: variants, positions, languages, replies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.errors import DataError
from bench.scoring.predictions import PredictionTable, read_table, variant_path
from bench.scoring.record_schema import RecordFacts
from bench.scoring.records import Record
from bench.storage.run_folder import RunFolder
from reports.charts.chart import Chart, Scale, unit_scale, value_scale
from reports.formatting import LANGUAGES, cut, language_name, number

RATES = ("invalid_rate", "flip_rate", "prompt_agreement", "order_agreement", "position_bias")
EXAMPLES = 4
"""Replies shown of each status."""
TABLES_READ = 12
"""Ways of asking whose replies are looked through."""
SHOWN_CHARACTERS = 400
DRAWN = 8


@dataclass(frozen=True)
class Way:
    """A value of one thing that questions differ in (a prompt, an order, a language), and the UA asked so."""

    name: str
    ua: float


@dataclass(frozen=True)
class Ways:
    """UA by one thing that questions differ in, best first, and the range: how much the question decides."""

    kind: str
    ways: tuple[Way, ...]

    @property
    def spread(self) -> float:
        """Best − worst."""
        return self.ways[0].ua - self.ways[-1].ua


@dataclass(frozen=True)
class ReplyExample:
    """What was said of one clip. ``clip`` is None where the corpus is not open to everybody."""

    status: str
    label: str | None
    text: str
    clip: str | None
    asked: str
    """The way of asking: prompt, order, repeat; blank where there is one only."""


@dataclass(frozen=True)
class PromptingSection:
    """One record of an Audio-LLM: shares over all its questions (0..1, None where not asked so), ways, replies."""

    record: Record
    mode: str
    variants: int
    rates: Mapping[str, float | None]
    tokens: int | None
    cost: float | None
    ways: tuple[Ways, ...]
    positions: tuple[float, ...]
    position_chart: Chart | None
    ways_chart: Chart | None
    replies: tuple[ReplyExample, ...]
    replies_absent: str
    """Why there are no replies to show, blank where there are."""


def prompting_sections(run: Path, records: Sequence[Record]) -> list[PromptingSection]:
    """Lay out what records of Audio-LLMs noted on how they were asked, with replies from the run's tables."""
    found: list[PromptingSection] = []
    for record in records:
        if fits := asked_fits(record):
            found.append(_prompting_section(run, record, fits, drawn=len(found) < DRAWN))
    return found


def asked_fits(record: Record) -> list[Mapping[str, Any]]:
    """Notes of the record's fits that tell how clips were asked; none for a system that is not asked."""
    return [n for n in record.facts.notes.values() if isinstance(n, Mapping) and "invalid_rate" in n]


def _prompting_section(
    run: Path, record: Record, fits: Sequence[Mapping[str, Any]], *, drawn: bool
) -> PromptingSection:
    positions = _mean_list([f.get("position_shares") for f in fits])
    ways = _ways(record.facts)
    tokens = [f["tokens"] for f in fits if isinstance(f.get("tokens"), Mapping)]
    costs = [f["cost"] for f in fits if isinstance(f.get("cost"), int | float)]
    replies, absent = _replies(run, record)
    return PromptingSection(
        record=record,
        mode=str(fits[0].get("mode", "")),
        variants=int(fits[0].get("variants", 1)),
        rates={name: _mean([f.get(name) for f in fits]) for name in RATES},
        tokens=sum(int(t.get(k, 0)) for t in tokens for k in ("prompt", "completion")) if tokens else None,
        cost=sum(costs) if costs else None,
        ways=ways,
        positions=positions,
        position_chart=_position_chart(record, positions) if positions and drawn else None,
        ways_chart=_ways_chart(record, ways) if ways and drawn else None,
        replies=replies,
        replies_absent=absent,
    )


def _mean(values: Sequence[Any]) -> float | None:
    given = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    return fmean(given) if given else None


def _mean_list(values: Sequence[Any]) -> tuple[float, ...]:
    given = [v for v in values if isinstance(v, list) and v]
    if not given or len({len(v) for v in given}) != 1:
        return ()
    return tuple(fmean(float(v[i]) for v in given) for i in range(len(given[0])))


def _ways(facts: RecordFacts) -> tuple[Ways, ...]:
    """UA by prompt, language of the prompt, order and repeat, wherever two or more were asked."""
    found = []
    languages: dict[str, list[float]] = {}
    for name, ua in facts.ua_by_prompt.items():
        languages.setdefault(prompt_language(name), []).append(ua)
    if len(languages) > 1:
        found.append(_ranked("language of the prompt", {k: fmean(v) for k, v in languages.items()}))
    for kind, given in (
        ("prompt", facts.ua_by_prompt),
        ("order of the options", facts.ua_by_order),
        ("identical repeat", facts.ua_by_repeat),
    ):
        if len(given) > 1:
            numbered = kind != "prompt"
            found.append(
                _ranked(
                    kind,
                    {f"no. {int(k) + 1}" if numbered and k.isdigit() else k: v for k, v in given.items()},
                )
            )
    return tuple(found)


def _ranked(kind: str, given: Mapping[str, float]) -> Ways:
    ordered = sorted(given.items(), key=lambda item: (-item[1], item[0]))
    return Ways(kind, tuple(Way(str(name), float(ua)) for name, ua in ordered))


def prompt_language(name: str) -> str:
    """Name the language of a prompt by its id, ``<tag>-<number>``; any other id is the paper's English.

    >>> prompt_language("zh-1"), prompt_language("paper")
    ('Mandarin', 'English')
    """
    tag = name.partition("-")[0]
    return language_name(tag) if tag in LANGUAGES else language_name("en")


def _position_chart(record: Record, shares: Sequence[float]) -> Chart:
    most = max(range(len(shares)), key=lambda i: shares[i])
    alt = f"Which option was taken on {record.task}, by its place: place {most + 1} most often, {number(shares[most])} %."
    places = Scale(
        0.5, len(shares) + 0.5, tuple((i + 1, str(i + 1)) for i in range(len(shares))), "place of the option"
    )
    chart = Chart(alt, places, value_scale(shares, "taken, %", percent=True, floor=0.0))
    for i, share in enumerate(shares, start=1):
        chart.bar("bar", i - 0.36, i + 0.36, share)
    chart.line("guide", [(0.5, 1 / len(shares)), (len(shares) + 0.5, 1 / len(shares))])
    return chart


def _ways_chart(record: Record, ways: Sequence[Ways]) -> Chart:
    """One row of dots per thing that questions differ in."""
    ranges = "; ".join(f"{w.kind}: {number(w.ways[-1].ua)} to {number(w.ways[0].ua)} %" for w in ways)
    rows = Scale(0.0, float(len(ways)), (), "")
    chart = Chart(
        f"UA on {record.task} by the way of asking. {ranges}.",
        unit_scale("UA, %", percent=True),
        rows,
        width=320,
        height=64 + 44 * len(ways),
    )
    for i, kind in enumerate(ways):
        y = len(ways) - i - 0.62
        chart.line("reach", [(kind.ways[-1].ua, y), (kind.ways[0].ua, y)])
        chart.dots("dots small", [(w.ua, y) for w in kind.ways])
        chart.word(0.0, y, f"{kind.kind}: {number(kind.spread)} points", up=12)
    return chart


def _replies(run: Path, record: Record) -> tuple[tuple[ReplyExample, ...], str]:
    """The first different replies of each status, most trouble first, from the table of each way of asking."""
    open_ = record.facts.corpus_card.access == "open"
    by_status: dict[str, list[ReplyExample]] = {}
    try:
        for name, table in _variant_tables(run, record):
            for clip, status, label, text in zip(
                table.clip_ids, table.statuses, table.answers, table.replies, strict=True
            ):
                own = by_status.setdefault(status, [])
                if text and len(own) < EXAMPLES and all(cut(text, SHOWN_CHARACTERS) != r.text for r in own):
                    own.append(
                        ReplyExample(
                            status, label, cut(text, SHOWN_CHARACTERS), clip if open_ else None, name
                        )
                    )
    except DataError:
        return (), "the prediction tables of this run are not at hand"
    order = sorted(by_status, key=lambda s: (s == "ok", s))
    found = tuple(r for status in order for r in by_status[status])
    return found, "" if found else "no reply in words was kept (this way of asking reads probabilities)"


def _variant_tables(run: Path, record: Record) -> Iterator[tuple[str, PredictionTable]]:
    """Tables of the ways of asking of the record's first cell, or that cell's own where there is one way only."""
    for cell in list(record.facts.tables)[:1]:
        path = RunFolder(run).tables / f"{cell}.parquet"
        whole = read_table(path)
        variants = list(whole.identity.get("variants") or {})[:TABLES_READ]
        if not variants:
            yield "", whole
        for name in variants:
            yield name, read_table(variant_path(path, name))
