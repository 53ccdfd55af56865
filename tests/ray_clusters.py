"""Ray clusters of several nodes on this machine, for tests and the soak."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray._private import services
from ray.cluster_utils import Cluster

START_SECONDS = 300.0
"""Ray gives a node 30 s to be known to its head, which a busy machine may not do; beginning again then would take as long again."""


@contextmanager
def two_nodes() -> Iterator[Cluster]:
    """A head and a node, with room for one job each. The driver's home is the head, so it is the node that may go away."""
    with _patience():
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        add_node(made)
        yield made
    finally:
        made.shutdown()


def add_node(cluster: Cluster) -> None:
    """Add a node with room for one job."""
    with _patience():
        cluster.add_node(num_cpus=1)


@contextmanager
def _patience() -> Iterator[None]:
    """Ask for a node that starts until it is there; start no page about it, which nobody reads and a busy machine waits a minute for."""
    once, page = services.get_node, services.start_api_server

    def get_node(*args: Any, **kwargs: Any) -> Any:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return once(*args, **kwargs)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def no_page(*args: Any, **kwargs: Any) -> tuple[str, None]:
        return "", None

    services.get_node, services.start_api_server = get_node, no_page
    try:
        yield
    finally:
        services.get_node, services.start_api_server = once, page
