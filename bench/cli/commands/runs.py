"""Computing a matrix: ``run``, ``status``, ``merge``, ``reparse``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.options import BuildEnvironments, Data, Json, RunPath


def run(
    matrix: Annotated[
        str, typer.Argument(help="A matrix by name (serbench list matrices), or the path of a .yaml file.")
    ],
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder (default runs/<matrix>).")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Keep a part: system=…,task=…,protocol=… (patterns allowed; repeatable)."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="SYSTEM:key=value, a parameter of a system card (repeatable)."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="Worker processes (default: one per GPU, else per core).")
    ] = None,
    batch_seconds: Annotated[
        float | None,
        typer.Option(
            help="Seconds of audio an encoder gets at a time (default: by the device's free memory).", min=0.1
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(help="At most so many clips per task; such records cannot be published.", min=1),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(help="Stop asking a paid model when its replies on a task cost this much.", min=0),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="Compute one part of the matrix, i/n; serbench merge puts the parts together."),
    ] = None,
    executor: Annotated[
        Literal["local", "ray"], typer.Option(help="Processes of this machine, or a Ray cluster.")
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(help="Of the Ray cluster (default: this machine's, else a cluster of its own)."),
    ] = None,
    shared_files: Annotated[
        bool,
        typer.Option(
            "--shared-files/--no-shared-files",
            help="Whether the nodes of the cluster see this machine's files under the same paths.",
        ),
    ] = True,
    exchange: Annotated[
        str | None,
        typer.Option(
            help="Where they do not: an address that all reach, by which files travel (s3://bucket/folder; default: Ray's object store)."
        ),
    ] = None,
    job_timeout: Annotated[
        float | None, typer.Option(help="Seconds after which a job is stopped and fails.", min=1)
    ] = None,
    worker_memory: Annotated[
        float | None,
        typer.Option(help="GiB that a worker may use with all it starts, before it is stopped.", min=0.1),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Also try again what failed of itself, not for a server, a machine or memory.",
        ),
    ] = False,
    build_environments: BuildEnvironments = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and how long it would take.")
    ] = False,
    rows: Annotated[
        bool, typer.Option("--rows", help="With --dry-run: every system on every task, and every reason.")
    ] = False,
    price_per_gpu_hour: Annotated[
        float | None,
        typer.Option(help="With --dry-run: what an hour of a GPU costs, to say what the run would.", min=0),
    ] = None,
    json_: Json = False,
) -> None:
    """Run a matrix, or go on with it: nothing that is finished is computed twice."""
    from bench.cli import forecasting, running
    from bench.errors import UsageError
    from bench.execution.executors.interface import WorkerLimits
    from bench.execution.planning.shards import parse_shard
    from bench.execution.prepared_run import RunSettings

    settings = RunSettings(
        matrix=matrix,
        data=tuple(data or ()),
        out=out,
        only=running.parse_only(only or []),
        settings=running.parse_settings(set_ or []),
        device=device,
        workers=workers,
        batch_seconds=batch_seconds,
        limit=limit,
        max_cost=max_cost,
        executor=executor,
        ray_address=ray_address,
        shared_files=shared_files,
        exchange=exchange,
        limits=WorkerLimits(job_timeout, None if worker_memory is None else worker_memory * 2**30),
        shard=None if shard is None else parse_shard(shard),
        retry_failed=retry_failed,
    )
    if not dry_run and (rows or price_per_gpu_hour is not None):
        raise UsageError("--rows and --price-per-gpu-hour are for --dry-run: add it, or leave them out")
    if dry_run:
        raise typer.Exit(forecasting.dry_run(settings, rows=rows, price=price_per_gpu_hour, as_json=json_))
    if build_environments:
        from bench.cli import environments

        environments.build_for(settings)
    raise typer.Exit(running.run(settings, as_json=json_))


def status(
    run: RunPath,
    every: Annotated[
        float | None,
        typer.Option(
            help="Look again after so many seconds, until the run ends.", min=0.5, metavar="SECONDS"
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print a line of JSON.")] = False,
) -> None:
    """How far a run is, what its workers do, what failed and what is blocked: of one that runs, was killed, or has ended."""
    from bench.cli import status as looking

    try:
        looking.show_status(run, every=every, as_json=json_)
    except KeyboardInterrupt:  # of who watches; the run goes on
        sys.exit(130)  # without a word, unlike the interrupts that main hears of


def merge(
    runs: Annotated[list[Path], typer.Argument(help="The folders of all shards.", metavar="RUN…")],
    out: Annotated[Path, typer.Option(help="The folder of the run that they become.")],
    data: Data = None,
    json_: Json = False,
) -> None:
    """Put the shards of a matrix together (serbench run --shard i/n), and score them as one run."""
    from bench.cli import running

    raise typer.Exit(running.merge(runs, out, tuple(data or ()), as_json=json_))


def reparse(run: RunPath, data: Data = None, json_: Json = False) -> None:
    """Read a run's stored Audio-LLM replies again with today's parser, without any server, and score them."""
    from bench.cli import running

    raise typer.Exit(running.reparse(run, tuple(data or ()), as_json=json_))
