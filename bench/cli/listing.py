"""``serbench list``: what there is, as a table or JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.cli.printing import print_json, print_table, warn
from bench.errors import BenchError, UsageError


def show(what: str, data: Sequence[Path], *, as_json: bool) -> None:
    """Print one of the listings.

    Args:
        what: systems, tasks, corpora, matrices or runs.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        as_json: print JSON instead of tables.
    """
    listings: dict[str, Callable[[Sequence[Path]], list[dict[str, Any]]]] = {
        "systems": lambda _: _systems(),
        "tasks": lambda folders: _tasks(folders, with_contamination=as_json),
        "corpora": _corpora,
        "matrices": lambda _: _matrices(),
        "runs": lambda _: _runs(),
    }
    rows = listings[what](data)
    if as_json:
        print_json(rows)
        return
    hidden = {
        "description", "source", "citation", "traps", "met", "hash", "title", "contamination", "warnings", "cautions", "truth", "elicitation",
        "votes", "synthetic", "accents", "contains",
    }  # fmt: skip
    if not rows:  # everything else has shipped ones
        print("no runs in the folder runs; make one with: serbench run MATRIX")
        return
    columns = [c for c in rows[0] if c not in hidden]
    print_table("", columns, [[_cell(row[c]) for c in columns] for row in rows])
    if what == "tasks" and any(row["within"].startswith("no: ") for row in rows):
        print("within: no: --json says why; protocols zero-shot and transfer (as the test corpus) remain")


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, str) and value.startswith("no: "):
        return "no"
    return "" if value is None else str(value)


def _systems() -> list[dict[str, Any]]:
    from bench.cards.registry import load_system, system_faults, system_names

    warn(system_faults())
    rows = []
    for name in system_names():
        card = load_system(name)
        trained = card.training_corpora
        rows.append(
            {
                "name": card.name,
                "title": card.title,
                "family": card.family,
                "track": card.track,
                "needs": ("a server" if card.family == "audio-llm" else None)
                or (card.weights.local if card.weights else None),
                "parameters": card.parameters,
                "licence": card.licence,
                "languages": list(card.languages),
                "trained_on": trained
                if isinstance(trained, str)
                else [f"{t.corpus}:{t.split}" for t in trained] + ["undisclosed"] * card.also_undisclosed,
                "description": card.description,
            }
        )
    return rows


def _found(data: Sequence[Path]) -> dict[str, Any]:
    from bench.corpora.prepared import data_folders, faulty_cards, find_corpora

    folders = data_folders(data)
    warn(faulty_cards(folders))
    return {c.card.name: c for c in find_corpora(folders)[0]} if folders else {}


def _corpora(data: Sequence[Path]) -> list[dict[str, Any]]:
    from bench.cards.registry import corpus_cards

    found = _found(data)
    cards = {**corpus_cards(), **{name: c.card for name, c in found.items()}}
    return [
        {
            "name": name,
            "title": card.title,
            "languages": list(card.languages),
            "accents": list(card.accents),
            "pool": card.pool_name,
            "contains": list(card.contains),
            "elicitation": card.elicitation,
            "clips": card.clips,
            "speakers": card.speakers,
            "licence": card.licence,
            "access": card.access,
            "verification": card.verification,
            "prepared": name in found or card.synthetic,
            "source": card.source,
            "citation": card.citation,
            "traps": [c.sentence for c in card.told],
            "met": list(card.met),
            "description": card.description,
        }
        for name, card in sorted(cards.items())
    ]


def _tasks(data: Sequence[Path], *, with_contamination: bool) -> list[dict[str, Any]]:
    from bench.cards.registry import system_faults
    from bench.corpora.prepared import data_folders, faulty_cards
    from bench.tasks.catalogue import catalogue

    faults = faulty_cards(data_folders(data)) + (system_faults() if with_contamination else [])
    entries = catalogue(data, with_contamination=with_contamination, faults=faults)
    warn(faults)
    return [entry.as_json() for entry in entries]


def write_catalogue(what: str, data: Sequence[Path], *, html: Path | None, markdown: Path | None) -> None:
    """Write the task catalogue as a page, or as the table between the markers of a Markdown file.

    Args:
        what: the listing asked for; only ``tasks`` can be written.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        html: file of the page; None: no page.
        markdown: file with the markers; None: no table.

    Raises:
        UsageError: another listing than tasks.
    """
    if what != "tasks":
        raise UsageError(f"list {what}: --html and --markdown go with tasks only")
    from bench.storage.run_folder import cache_folder
    from bench.tasks.catalogue import catalogue
    from reports.pages.catalogue import update_markdown, write_page

    if html is not None:
        print(write_page(catalogue(data, cache=cache_folder()), html))
    if markdown is not None:
        print(update_markdown(catalogue(shipped_only=True), markdown))


def _matrices() -> list[dict[str, Any]]:
    from bench.cards.registry import matrix_files
    from bench.execution.planning.matrix import load_matrix

    rows = []
    for name in matrix_files():
        try:
            matrix, _ = load_matrix(name)
        except BenchError as error:
            warn([str(error)])
            continue
        systems = list(dict.fromkeys(s for e in matrix.entries for s in e.systems))
        rows.append(
            {
                "name": name,
                "systems": systems,
                "plan": f"{matrix.plan.primary_metric}, {matrix.plan.primary_view}",
                "hash": matrix.hash,
                "description": matrix.description,
            }
        )
    return rows


def _unread(error: Exception) -> str:
    """What stood in the way of reading a run's description."""
    return (
        f"it says nothing of {error}"
        if isinstance(error, KeyError)
        else "not as a run writes it"
        if isinstance(error, TypeError)
        else str(error)
    )


def _runs() -> list[dict[str, Any]]:
    import json

    rows = []
    for path in sorted(Path("runs").glob("*/matrix.json")):
        try:
            described = json.loads(path.read_text(encoding="utf-8"))
            row = {
                "run": str(path.parent),
                "matrix": described["matrix"]["name"],
                "records": len(list((path.parent / "records").glob("*.json"))),
                "planned": len(described["records"]),
                "corpora": described["corpora"],
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            warn([f"{path}: cannot be read ({_unread(error)}); remove the run, or run its matrix again"])
            continue
        rows.append(row)
    return rows
