"""The report of the figures: ``README.md`` beside them, made of nothing but them, and the plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.statistics.additive import METRICS
from bench.storage.atomic import write_text
from tests.bench.statistics.validity.plan import (
    AT_MOST_5,
    AT_MOST_6,
    BEYOND_ANY_METHOD,
    COVERS,
    ERRS_OVER_TASKS,
    HELD_BY,
    HELD_BY_FEW,
    HOLDS,
    HOLDS_WIDE,
    HURTING,
    JOINTLY,
    POWER_CLAIM,
    REJECTS,
    SELDOM,
    SPEAKERS,
    TOO_EAGER,
    TOO_NARROW,
    Bound,
    max_t_beats_holm,
)
from tests.bench.statistics.validity.plots import draw_all
from tests.bench.statistics.validity.reasons import reason_for
from tests.bench.statistics.validity.results import Entry, Results

WIDER = ("speakers x sentences", "speakers x sentences x seeds", "speakers x trainings")
TEXT = Path(__file__).with_name("report.md")
CLAIMS: tuple[tuple[str, str, tuple[str, ...], Bound], ...] = (
    ("jackknife-t: 95 % interval of a score", "interval", ("jackknife-t",), COVERS),
    ("95 % interval of a difference", "test", ("difference",), COVERS),
    ("swap test of one pair", "test", ("swap test",), REJECTS),
    ("max-T and Holm: family-wise error", "family", ("max-T error", "Holm error"), AT_MOST_5),
    ("equivalence of systems that differ by the margin", "equivalence", ("equivalent",), AT_MOST_5),
    ("interval of a difference with seeds drawn anew", "seeds", ("seeds redrawn",), HOLDS),
    ("interval over more speakers and more sentences, or other trainings", "population", WIDER, HOLDS_WIDE),
    ("interval over speakers, asked about six sentences' kind", "population", ("speakers",), TOO_NARROW),
    ("worlds that hurt: 95 % interval of a score", "interval", ("jackknife-t",), HOLDS),
    ("worlds that hurt: 95 % interval of a difference", "test", ("difference",), HOLDS),
    ("worlds that hurt: swap test of one pair", "test", ("swap test",), AT_MOST_6),
    ("classes held by few speakers: intervals", "interval", ("jackknife-t",), HELD_BY_FEW),
    ("classes held by few speakers: intervals of a difference", "test", ("difference",), HELD_BY_FEW),
    ("families of eight: simultaneous intervals", "joint", ("joint intervals",), JOINTLY),
    ("families of eight: equivalence at the margin", "joint", ("false equivalence",), SELDOM),
    ("claims over 40 tasks in which nothing is true", "tasks", ("claims over all tasks",), ERRS_OVER_TASKS),
    ("mean difference over six pools", "pools", ("mean over pools",), HOLDS),
    ("percentile bootstrap, up to 20 speakers", "interval", ("percentile",), TOO_NARROW),
    ("interval over clips instead of speakers", "interval", ("clips",), TOO_NARROW),
    ("swap test over clips instead of speakers", "test", ("clips swap test",), TOO_EAGER),
)


def write_report(folder: Path, found: Results) -> Path:
    """Draw the plots and write README.md into the folder; gives its path."""
    draw_all(folder, found)
    path = folder / "README.md"
    write_text(path, report(found))
    return path


def report(found: Results) -> str:
    """Give the report as Markdown: equal figures, equal text."""
    sections = {
        "claims": _claims(found),
        "failures": _failures(found),
        "thresholds": _thresholds(found),
        "base": _coverage_table(found.of("interval", world="base")),
        "factors": _coverage_table([e for e in _usual(found, "interval") if e.world != "base"]),
        "tests": _by_speakers(_usual(found, "test"), lambda e: _percent(e.share)),
        "hurting": _coverage_table([e for e in found.of("interval") if _hurts(e)]),
        "hurting_tests": _by_speakers(
            [e for e in found.of("test") if _hurts(e)],
            lambda e: _percent(e.share) if e.width is None else _with_width(e),
        ),
        "joint": _by_speakers(
            found.of("joint"), lambda e: _percent(e.share) if e.width is None else _with_width(e)
        ),
        "populations": _by_speakers(found.of("population"), _with_width),
        "tasks": _by_speakers([*found.of("tasks"), *found.of("pools")], _with_width),
        "power": _power(found),
        "families": _families(found),
        "equivalence": _equivalence(found),
        "seeds": _by_speakers(found.of("seeds"), _with_width),
        "origin": _origin(found),
    }
    text = TEXT.read_text(encoding="utf-8")
    for name, section in sections.items():
        text = text.replace(f"<!-- {name} -->", section)
    return text


def _hurts(entry: Entry) -> bool:
    return entry.world in (*HURTING, *BEYOND_ANY_METHOD, *HELD_BY)


def _usual(found: Results, question: str) -> list[Entry]:
    return [e for e in found.of(question) if not _hurts(e)]


def _power(found: Results) -> str:
    rows = []
    for e in found.of("power"):
        assert e.bound is not None
        predicted = (e.bound[0] + e.bound[1]) / 2
        text = f"{_percent(e.share)} ± {_percent(e.monte_carlo_error)}"
        rows.append(
            [
                METRICS[e.metric].title,
                e.world,
                str(e.speakers),
                _percent(predicted),
                text if e.holds else f"**{text}**",
            ]
        )
    return _table(["metric", "systems", "speakers", "predicted, %", "found, %"], rows)


def holds_from(found: Results, question: str, method: str, bound: Bound) -> int | None:
    """Give the fewest speakers from which on every base case keeps the bound; None when none does."""
    held: int | None = None
    for speakers in reversed(SPEAKERS):
        shares = [e.share for e in found.of(question, method, world="base") if e.speakers == speakers]
        if not shares or not all(map(bound.holds, shares)):
            return held
        held = speakers
    return held


def failures(found: Results) -> list[Entry]:
    """Give the figures outside the bound that was set for them."""
    return [entry for entry in found.entries if not entry.holds]


def power_pairs(found: Results) -> list[tuple[Entry, Entry]]:
    """Give the power of max-T and of Holm, family by family."""
    holm = {e.key: e for e in found.of("family", "Holm power")}
    return [(e, holm[e.key]) for e in found.of("family", "max-T power")]


def _claims(found: Results) -> str:
    rows = []
    for title, question, methods, bound in CLAIMS:
        own = [e for e in found.of(question, *methods) if e.bound == (bound.low, bound.high)]
        if own:
            shares = [e.share for e in own]
            held = sum(e.holds for e in own)
            rows.append(
                [
                    title,
                    bound.claim,
                    f"{held} of {len(own)}",
                    f"{_percent(min(shares))}–{_percent(max(shares))}",
                ]
            )
    planned = found.of("power")
    if planned:
        apart = [100 * (e.share - (e.bound[0] + e.bound[1]) / 2) for e in planned if e.bound]
        held = sum(e.holds for e in planned)
        rows.append(
            [
                "serbench power: power of the swap test",
                POWER_CLAIM,
                f"{held} of {len(planned)}",
                f"{min(apart):+.1f} to {max(apart):+.1f} points",
            ]
        )
    powers = power_pairs(found)
    if powers:
        better = sum(max_t_beats_holm(a.share, b.share) for a, b in powers)
        gains = [a.share - b.share for a, b in powers]
        spread = f"{100 * min(gains):+.1f} to {100 * max(gains):+.1f} points"
        rows.append(
            [
                "max-T against Holm: power",
                "finds more of the true differences",
                f"{better} of {len(powers)}",
                spread,
            ]
        )
    return _table(["what", "must", "holds in", "found, %"], rows)


def _failures(found: Results) -> str:
    rows = [
        [
            f"{METRICS[e.metric].title}, {e.world}, {e.speakers} speakers",
            e.method,
            f"{_percent(e.share)} ± {_percent(e.monte_carlo_error)}",
            f"{100 * e.bound[0]:.0f}–{100 * e.bound[1]:.1f}" if e.bound else "",
            reason_for(e),
        ]
        for e in failures(found)
    ]
    if not rows:
        return "None: every figure with a bound keeps it."
    return _table(["corpus", "method", "found, %", "bound, %", "why"], rows)


def _thresholds(found: Results) -> str:
    rows = []
    for method in ("jackknife-t", "bootstrap-t", "percentile", "clips"):
        rows.append([f"{method}: interval", _from(holds_from(found, "interval", method, COVERS))])
    rows.append(["interval of a difference", _from(holds_from(found, "test", "difference", COVERS))])
    rows.append(["swap test", _from(holds_from(found, "test", "swap test", REJECTS))])
    return _table(["method, base case, all metrics", "keeps its bound from"], rows)


def _from(speakers: int | None) -> str:
    return "nowhere up to 90 speakers" if speakers is None else f"{speakers} speakers"


def _coverage_table(entries: Sequence[Entry]) -> str:
    return _by_speakers(entries, _with_width)


def _with_width(e: Entry) -> str:
    if e.width is None:
        return _percent(e.share)
    refused = f", {e.refused} refused" if e.refused else ""
    return f"{_percent(e.share)} ({e.width:.3f}{refused})"


def _by_speakers(entries: Sequence[Entry], cell: Callable[[Entry], str]) -> str:
    """Give one row per metric, world and method, one column per number of speakers; figures outside bounds in bold."""
    counts = sorted({e.speakers for e in entries})
    rows: dict[tuple[str, str, str], dict[int, str]] = {}
    for e in entries:
        text = cell(e) if e.holds else f"**{cell(e)}**"
        rows.setdefault((e.world, METRICS[e.metric].title, e.method), {})[e.speakers] = text
    heads = ["corpus", "metric", "method", *(f"{g} speakers" for g in counts)]
    return _table(heads, [[*name, *(given.get(g, "") for g in counts)] for name, given in rows.items()])


def _families(found: Results) -> str:
    by_family: dict[tuple[str, str, int], dict[str, str]] = {}
    for e in found.of("family"):
        text = _percent(e.share) if e.holds else f"**{_percent(e.share)}**"
        by_family.setdefault((e.world, METRICS[e.metric].title, e.speakers), {})[e.method] = text
    methods = ("max-T error", "Holm error", "max-T power", "Holm power")
    rows = [
        [world, metric, str(g), *(own.get(m, "") for m in methods)]
        for (world, metric, g), own in by_family.items()
    ]
    return _table(["systems", "metric", "speakers", *methods], rows)


def _equivalence(found: Results) -> str:
    return _by_speakers(found.of("equivalence"), lambda e: _percent(e.share))


def _origin(found: Results) -> str:
    about = found.about
    older = about.get("older", {})
    waiting = (
        f" {len(older['cells'])} cells are of before intervals had edges and families were read jointly: on {older['corpora']} corpora of each,"
        f" today's code gives intervals that are at most {100 * older['widest']:.1f} % wider,"
        f" and another share of answers in {older['shares']} of them; the next run makes all of them again."
        if older.get("cells")
        else ""
    )
    packages = ", ".join(f"{name} {version}" for name, version in sorted(about["packages"].items()))
    added = "".join(
        f" {a['cells']} cells were added on {a['date']} by commit `{a['revision']}`."
        for a in about.get("added", ())
    )
    return (
        f"{_corpora(found)} simulated corpora per cell (one Monte-Carlo error of 95 %: 0.3 points with 5,000, 0.5 with 2,000, 0.7"
        f" with 1,000, 1.3 with 300), {about['draws']} resamples or sign patterns, seed"
        f" {about['seed']}, {len(found.entries)} figures in {found.seconds / 60:.0f} minutes on one core"
        f" ({about['processor']}). {about['date']}, Python {about['python']}, {packages}, commit `{about['revision']}`.{added}{waiting}"
    )


def _corpora(found: Results) -> str:
    """How many corpora the cells were made with."""
    made = sorted({e.simulations + e.refused for e in found.entries}, reverse=True)
    return ", ".join(f"{n:,}" for n in made[:-1]) + f" or {made[-1]:,}" if len(made) > 1 else f"{made[0]:,}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
