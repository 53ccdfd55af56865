"""``serbench train`` and ``serbench predict``: systems outside the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.audio.store import DecodedClip
from bench.cards.labels import View
from bench.cards.registry import load_system
from bench.cli.printing import console, figure, print_json, print_table
from bench.corpora.soundness import ClipSound, examine
from bench.errors import CannotRun, UsageError
from bench.execution.devices import one_device
from bench.execution.planning.systems import resolve_system
from bench.execution.worker import quiet_single_thread
from bench.protocols import DIMENSIONS
from bench.scoring.predictions import PredictionTable
from bench.storage.run_folder import cache_folder


def train(config: Path, *, out: Path | None, data: tuple[Path, ...], device: str, as_json: bool) -> int:
    """Train what a config asks for.

    Args:
        config: a ``.yaml`` file (docs/proposed_model.md).
        out: folder of the trained model; None: ``trained/CONFIG``.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        device: auto, cpu, cuda or cuda:N.
        as_json: print JSON instead of tables.

    Returns:
        The exit code: 0.
    """
    from rich.progress import Progress

    from bench.execution.final_training import first_process
    from bench.execution.final_training import train as train_system

    quiet_single_thread()
    device = one_device(device)
    folder = out or Path("trained") / config.stem
    quiet = as_json or not first_process()
    if not quiet:
        console().print(f"training into {folder}", soft_wrap=True)
    with Progress(console=console(), disable=quiet, transient=True) as bar:
        task = bar.add_task("epochs", total=None)
        found = train_system(
            config,
            out=folder,
            data=data,
            device=device,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            say=(lambda line: None) if as_json else (lambda line: bar.console.print(line, soft_wrap=True)),
        )
    if not first_process():
        return 0
    if as_json:
        print_json(
            {
                "folder": str(found.folder),
                "card": str(found.card),
                "clips": found.clips,
                "left_out": list(found.left_out),
                **found.notes,
            }
        )
        return 0
    notes = found.notes
    console().print(
        f"{found.clips} clips, {notes.get('epochs', '?')} epochs, {notes.get('trainable_parameters', 0):,} of "
        f"{notes.get('parameters', 0):,} parameters trained, {notes.get('lora_parameters', 0):,} of them LoRA; "
        f"it is a system: serbench predict {found.card} FILE, serbench run MATRIX with {found.card}",
        soft_wrap=True,
    )
    return 0


def forecast(config: Path, *, data: tuple[Path, ...], as_json: bool) -> int:
    """Say what a training would take.

    Args:
        config: a ``.yaml`` file.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        as_json: print JSON instead of a table.

    Returns:
        The exit code: 0.
    """
    from bench.execution.final_training import forecast as forecast_training

    found = forecast_training(config, data=data)
    if as_json:
        print_json(found)
        return 0
    print_table(
        f"{config.stem}, about",
        ("what", "how much"),
        [
            (
                name.replace("_", " "),
                f"{value:,}"
                if isinstance(value, int | float) and not isinstance(value, bool)
                else str(value),
            )
            for name, value in found.items()
        ],
        right=("how much",),
    )
    return 0


def predict(
    system: str,
    audio: Sequence[Path],
    *,
    trained_on: tuple[str, ...],
    view: View,
    data: tuple[Path, ...],
    device: str,
    seed: int,
    as_json: bool,
) -> int:
    """Answer unlabelled audio files.

    Args:
        system: its name, or the path of its card.
        audio: files of any format and length.
        trained_on: tasks to learn from first, for systems that learn.
        view: label space to choose from, where the system is free to.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        device: auto, cpu, cuda or cuda:N.
        seed: of whatever is trained first.
        as_json: print JSON instead of tables.

    Returns:
        The exit code: 1 when a file could not be answered, else 0.

    Raises:
        UsageError: no such file, or training asked of a system that does not learn, or the other way round.
        CannotRun: weights, code or a server are missing.
    """
    from bench.execution.in_process import run_in_process
    from bench.execution.unlabelled import TrainOn, group_of

    for path in audio:
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; name the audio files themselves, like {path / '*.wav'}")
        if not path.is_file():
            raise UsageError(f"{path}: no such file")
    device = one_device(device)
    card = load_system(system)
    if card.track == "released" and trained_on:
        raise UsageError(f"{card.name} answers as it stands; leave --trained-on out")
    if card.track != "released" and not trained_on:
        raise UsageError(
            f"{card.name} learns before it answers: say from what with --trained-on TASK (serbench list tasks), "
            "or keep a trained one with serbench train"
        )
    resolved = resolve_system(card)
    if resolved.blocked is not None:
        raise CannotRun(f"{card.name}: {resolved.blocked}")
    quiet_single_thread()
    lesson = TrainOn(trained_on, view, data) if trained_on else None
    cache = cache_folder()
    out = console()
    group = group_of(resolved, audio, cache=cache, training=lesson, seed=seed)
    tables = run_in_process(
        [group],
        device=device,
        cache=cache,
        say=(lambda line: None) if as_json else (lambda line: out.print(line, soft_wrap=True)),
    )
    table = tables[group.cells[0].key]
    rows = [_row(table, i, group.data.decoded[i]) for i in range(len(table.clip_ids))]
    if as_json:
        print_json(rows)
    else:
        _print(card.name, rows)
    return int(any(row["status"] != "ok" for row in rows))


def _row(table: PredictionTable, index: int, clip: DecodedClip) -> dict[str, Any]:
    p = None if table.probabilities is None else table.probabilities[index]
    known = p is not None and bool(np.isfinite(p).all())
    return {
        "file": table.clip_ids[index],
        "status": table.statuses[index],
        "label": table.answers[index],
        "probabilities": dict(zip(table.labels, map(float, p), strict=True))
        if known and p is not None
        else None,
        **{
            name: None if np.isnan(value) else float(value)
            for name, value in zip(DIMENSIONS, table.dimensions[index], strict=True)
        },
        "reply": table.replies[index],
        "message": clip.message,
        "warnings": [f.message for f in examine([ClipSound.of(clip)])],
    }


def _print(system: str, rows: Sequence[dict[str, Any]]) -> None:
    print_table(
        system,
        ("file", "status", "label", "probability", *DIMENSIONS),
        [
            (
                row["file"],
                row["status"] if row["message"] is None else f"{row['status']}: {row['message']}",
                row["label"] or "–",
                figure(row["probabilities"][row["label"]]) if row["probabilities"] and row["label"] else "–",
                *(figure(row[d]) for d in DIMENSIONS),
            )
            for row in rows
        ],
        right=("probability", *DIMENSIONS),
    )
    for row in rows:
        for warning in row["warnings"]:
            console().print(f"warning: {row['file']}: {warning}", soft_wrap=True, markup=False)
