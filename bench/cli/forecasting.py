"""``serbench run --dry-run``: first what a matrix comes to, what stands in its way and what it costs; rows where they are asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from bench.cli.printing import console, print_json, print_table
from bench.errors import printable
from bench.execution.planning.estimates import human_bytes, human_time
from bench.execution.planning.forecast import Forecast, ForecastRow, TaskSight, forecast
from bench.execution.planning.reasons import group_reasons
from bench.execution.prepared_run import RunSettings

PLAIN_STATES = ("done", "to do")
"""States of a forecast that need no reason; any other is the reason why nothing can run."""
_BASES = {
    "measured": "from the same work on this machine",
    "scaled": "from other systems' on this machine, by parameters",
    "guess": "a first guess",
}


def dry_run(settings: RunSettings, *, rows: bool, price: float | None, as_json: bool) -> int:
    """Print what a run would do; returns the exit code.

    Args:
        settings: of the run.
        rows: print every system on every task, and every reason, too.
        price: of an hour of a GPU, in whatever currency; None: say nothing of cost.
        as_json: print JSON instead.
    """
    found = forecast(settings)
    if as_json:
        cost = {}
        if price is not None:
            cost = {
                "cost": round(price * found.worker_hours, 2),
                "cost_of_blocked": round(price * _blocked_hours(found, found.blocked_seconds), 2),
            }
        print_json(found.as_json() | {"families": _families(found.rows)} | cost)
        return 0
    out = console()
    for line in found.notes if rows else _notes(found.notes):
        out.print(printable(line), soft_wrap=True)
    if rows:
        _print_rows(found)
    _print_families(found)
    for line in _lines(found, rows=rows, price=price):
        out.print(printable(line), soft_wrap=True)
    return 0


def _notes(notes: Sequence[str]) -> Iterator[str]:
    """Notes, those of one kind as one line."""
    refused = "cannot be run: "
    yield from (n for n in notes if not n.startswith(refused))
    reasons = {str(i): n.removeprefix(refused) for i, n in enumerate(notes) if n.startswith(refused)}
    for group in group_reasons(reasons):
        count = f"{len(group.names)} reasons such as " if len(group.names) > 1 else ""
        yield f"{refused}{count}{group.reason}"


def _families(rows: Sequence[ForecastRow]) -> dict[str, dict[str, int]]:
    """Counts by family; a blocked record's cells are told apart from those to do."""
    counts: dict[str, dict[str, int]] = {}
    named: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        state = row.state if row.state in PLAIN_STATES else "blocked"
        own = counts.setdefault(
            row.family,
            {
                "systems": 0,
                "blocked_systems": 0,
                "records": 0,
                "cells": 0,
                "done": 0,
                "to_do": 0,
                "blocked": 0,
            },
        )
        own["records"] += 1
        own["cells"] += row.cells
        own["done"] += row.done
        own["blocked" if state == "blocked" else "to_do"] += row.cells - row.done
        for which in ("systems", *(["blocked_systems"] if state == "blocked" else [])):
            named[row.family, which].add(row.system)
    for (family, which), names in named.items():
        counts[family][which] = len(names)
    return counts


def _print_families(found: Forecast) -> None:
    heads = ("systems", "of them blocked", "records", "cells", "done", "to do", "blocked")
    print_table(
        f"matrix {found.matrix} ({found.matrix_hash})",
        ("family", *heads, "features cached"),
        [
            (family, *counts.values(), _cached([r for r in found.rows if r.family == family]))
            for family, counts in _families(found.rows).items()
        ],
        right=(*heads, "features cached"),
    )


def _cached(rows: Sequence[ForecastRow]) -> str:
    """Clips whose features are there, of those that are needed, added up over rows; blank where none are."""
    shares = [r.features.split("/") for r in rows if r.features]
    return f"{sum(int(a) for a, _ in shares)}/{sum(int(b) for _, b in shares)}" if shares else ""


def _print_rows(found: Forecast) -> None:
    right = ("clips", "fits", "cells", "done", "features cached")
    print_table(
        f"matrix {found.matrix} ({found.matrix_hash})",
        ("system", "task", "protocol", "condition", *right, "state"),
        [
            (
                r.system,
                r.task,
                " · ".join(filter(None, (r.protocol, r.training))),
                r.condition,
                r.clips,
                r.fits,
                r.cells,
                r.done,
                r.features,
                r.state if r.state in PLAIN_STATES else "blocked",
            )
            for r in found.rows
        ],
        right=right,
    )


def _lines(found: Forecast, *, rows: bool, price: float | None) -> Iterator[str]:
    reasons = {r.system: r.state for r in found.rows if r.state not in PLAIN_STATES}
    if rows:
        yield from (
            f"blocked{_more(found, (name,), price)}: {name}: {reason}" for name, reason in reasons.items()
        )
        yield from map(_sight, found.sight)
    else:
        for group in group_reasons(reasons):
            yield f"blocked{_more(found, group.names, price)}: {group.words('system')}"
        yield from _sights(found.sight)
    if found.sight:
        yield "(by differences as published records have them; for others: serbench power)"
    yield _work(found)
    yield from _blocked(found)
    yield _disk(found)
    yield from _cost(found, price)
    if not rows:
        yield "every system on every task, and every reason: --rows"


def _seen(seen: float | None) -> str:
    return (
        "no difference, however large: too few speakers"
        if seen is None
        else f"{100 * seen:.0f} points of UA or more"
    )


def _sight(s: TaskSight) -> str:
    return (
        f"{s.task}, track {s.track}: {s.speakers} clusters of {s.clips:.0f} clips, {s.systems} systems tested together, would see "
        f"{_seen(s.seen)} 4 times in 5"
    )


def _sights(sights: Sequence[TaskSight]) -> Iterator[str]:
    """One line per track: its sharpest task and its dullest."""
    tracks: dict[str, list[TaskSight]] = defaultdict(list)
    for sight in sights:
        tracks[sight.track].append(sight)
    for track, own in tracks.items():
        ordered = sorted(own, key=lambda s: float("inf") if s.seen is None else s.seen)
        best, worst = ordered[0], ordered[-1]
        words = f"{best.task} would see {_seen(best.seen)}"
        words += "" if best is worst else f", {worst.task} {_seen(worst.seen)}"
        yield f"track {track}, on {len(own)} task{'s' * (len(own) > 1)}, 4 times in 5: {words}"


def _work(found: Forecast) -> str:
    hours = found.worker_hours
    kind = "GPU" if found.gpus else "core"
    total = sum(found.worker_seconds.values())
    shares = ", ".join(
        f"{100 * seconds / total:.0f} % {_BASES[basis]}"
        for basis, seconds in found.worker_seconds.items()
        if seconds >= 0.005 * total > 0
    )
    sure = f"; how sure: {shares}, and per clip, whatever its length" if shares else ""
    return (
        f"{found.fits} fits, {found.cells} cells, {found.done} of them done; {found.undecoded} clips to decode, "
        f"{found.unconditioned} to put through conditions; about {human_time(found.seconds)} with {found.workers} worker(s), "
        f"{hours:.3g} {kind}-hours, without what is blocked{sure}"
    )


def _blocked_hours(found: Forecast, names: Iterable[str]) -> float:
    return sum(sum(found.blocked_seconds.get(name, {}).values()) for name in names) / 3600


def _more(found: Forecast, names: Sequence[str], price: float | None) -> str:
    """What these systems would take, and cost, if they could run; blank where nobody knows."""
    hours = _blocked_hours(found, names)
    if not hours:
        return ""
    cost = "" if price is None else f", {price * hours:.2f}"
    return f" (about {hours:.2g} {'GPU' if found.gpus else 'core'}-hours{cost})"


def _blocked(found: Forecast) -> Iterator[str]:
    """One line: what is blocked, all together, and how sure that is."""
    hours = _blocked_hours(found, found.blocked_seconds)
    if not hours:
        return
    guess = sum(own.get("guess", 0.0) for own in found.blocked_seconds.values()) / 3600
    kind = "GPU" if found.gpus else "core"
    yield (
        f"what is blocked would take about {hours:.3g} {kind}-hours more if all of it were mended ({100 * guess / hours:.0f} % of that a "
        "first guess), with nothing taken off for what the cache holds"
    )


def _disk(found: Forecast) -> str:
    free = "" if found.free_bytes is None else f", of {human_bytes(found.free_bytes)} free where the cache is"
    short = " — too little" if found.free_bytes is not None and found.bytes > found.free_bytes else ""
    return f"about {human_bytes(found.bytes)} more disk{free}{short}"


def _cost(found: Forecast, price: float | None) -> Iterator[str]:
    if price is None:
        return
    cost = price * found.worker_hours
    if found.gpus:
        yield f"cost: about {cost:.2f}, at {price:g} per GPU-hour; replies of paid services are not in it"
    else:
        yield (
            f"cost: {cost:.2f}, at {price:g} per hour, if a GPU took as long as a core here: no GPU is at hand to say how much faster "
            "it is; replies of paid services are not in it"
        )
