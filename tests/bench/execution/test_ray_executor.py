"""A Ray cluster of two nodes on this machine gives what one machine gives, though a node goes away in the middle."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from bench.errors import BenchError
from bench.execution.driver import run_matrix
from bench.execution.executors.interface import WorkerLimits
from bench.execution.executors.ray_host import Host, HostOrder
from bench.execution.progress import Reporter
from bench.storage.journal import Journal
from bench.storage.run_folder import RunFolder
from tests.adapters.audio_lm.pretend_vllm import write_python
from tests.ray_clusters import two_nodes
from tests.s3_server import s3_bucket
from tests.slow_runs import prepare, records, settings, tables, write_card


@pytest.fixture
def bench_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # the cluster was started in another folder
    return prepare(tmp_path, monkeypatch)


def elsewhere(out: str) -> dict[str, Any]:
    """Settings of a run on Ray as a user names folders: from where he is."""
    return {"executor": "ray", "out": Path(out), "data": (Path("data"),)}


@pytest.fixture(scope="module")
def exchange() -> Iterator[str]:
    """A folder of an S3 server."""
    with s3_bucket() as address:
        yield f"{address}/runs"


@pytest.fixture(scope="module")
def cluster(exchange: str) -> Iterator[Cluster]:
    with two_nodes() as made:  # whose nodes know the server's address and keys, as they are started after it
        yield made


class Watch(Reporter):
    def __init__(self, when: int, action: object) -> None:
        self.notes: list[str] = []
        self._ended, self._when, self._action = 0, when, action

    def note(self, text: str) -> None:
        self.notes.append(text)

    def finished(self, slot: int, name: str, seconds: float, left: float) -> None:
        self._ended += 1
        if self._ended == self._when:
            threading.Thread(target=self._action).start()  # type: ignore[arg-type]


ASKED = """
name: one
family: audio-llm
track: released
adapter: adapters.audio_lm.model:AudioLanguageModel
params: {{model: one, mode: choice, orders: 1, request_seconds: 5}}
serve: {{engine: vllm, model: anything, ready_minutes: 1, environment: {{PRETEND_STARTS: '{starts}'}}}}
seeds: false
"""


@pytest.mark.slow
def test_a_server_is_an_actor_for_as_long_as_its_cells_ask_it(
    bench_dir: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERBENCH_VLLM_PYTHON", str(write_python(bench_dir)))
    (bench_dir / "one.yaml").write_text(ASKED.format(starts=bench_dir / "starts"))
    (bench_dir / "kill.yaml").write_text(
        "name: asked\nentries:\n  - {systems: [./one.yaml, majority], protocol: zero-shot}\n"
    )
    here = settings(bench_dir, "local")
    assert run_matrix(here, Reporter()).failed == ()
    monkeypatch.setenv("SERBENCH_CACHE", "cold")
    there = replace(here, **elsewhere("ray"), ray_address=cluster.address, shared_files=False)
    before = signal.getsignal(signal.SIGTERM)
    assert run_matrix(there, Reporter()).failed == ()
    assert signal.getsignal(signal.SIGTERM) == before, "Ray's answer to SIGTERM took the place of ours"
    assert tables(bench_dir / "ray") == tables(bench_dir / "local")
    assert records(bench_dir / "ray") == records(bench_dir / "local")
    starts = [line.split() for line in (bench_dir / "starts").read_text().splitlines()]
    assert [name for name, _ in starts] == ["one", "one"]
    assert not any(psutil.pid_exists(int(pid)) for _, pid in starts)
    # The replies came back to the driver's cache: nothing is asked again.
    again = replace(here, out=bench_dir / "again")
    assert run_matrix(again, Reporter()).failed == ()
    assert len((bench_dir / "starts").read_text().splitlines()) == 2


def test_a_node_that_goes_away_costs_only_what_it_had_in_hand(
    bench_dir: Path, cluster: Cluster, exchange: str
) -> None:
    write_card(bench_dir, wait=1.0)
    on_ray = replace(
        settings(bench_dir, "ray"),
        **elsewhere("ray"),
        ray_address=cluster.address,
        exchange=exchange,
        workers=None,
    )
    victim = cluster.list_all_nodes()[-1]
    watch = Watch(3, lambda: cluster.remove_node(victim))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERBENCH_CACHE", "cold")
        summary = run_matrix(on_ray, watch)
    assert summary.failed == ()
    assert any("2 worker(s)" in n for n in watch.notes), watch.notes
    assert any(n.startswith("begun again: ") for n in watch.notes), watch.notes
    with Journal(RunFolder(bench_dir / "ray").journal) as journal:
        fits = [j.name for j in journal.jobs() if j.kind == "fit"]
    assert len(fits) == len(set(fits)) == summary.computed
    assert run_matrix(settings(bench_dir, "local"), Reporter()).failed == ()
    assert records(bench_dir / "ray") == records(bench_dir / "local")
    assert tables(bench_dir / "ray") == tables(bench_dir / "local")


def test_a_host_works_where_the_driver_does(bench_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes that share the driver's files read relative paths, such as a card's settings, as the driver does."""
    monkeypatch.chdir("/")
    monkeypatch.setattr(sys, "path", list(sys.path))
    order = HostOrder(0, "cpu", None, WorkerLimits(), (), {}, None, "this", str(bench_dir))
    host = Host(order)
    try:
        assert Path.cwd() == bench_dir
        Host(replace(order, folder=str(bench_dir / "not-here"))).end()
        assert Path.cwd() == bench_dir, "a folder that is not seen here is no reason to fail"
    finally:
        host.end()


def test_a_cluster_that_is_not_there_is_one_sentence(bench_dir: Path) -> None:
    started = time.monotonic()
    asked = replace(settings(bench_dir, "none"), executor="ray", ray_address="127.0.0.1:1")
    with pytest.raises(BenchError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"):
        run_matrix(asked, Reporter())
    assert time.monotonic() - started < 60
