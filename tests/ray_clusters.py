"""Ray clusters of several nodes on this machine, for tests and the soak."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.cluster_utils import Cluster

TRIES = 6
"""Ray gives a node 30 s to start, which a busy machine may not do."""


@contextmanager
def two_nodes() -> Iterator[Cluster]:
    """A head that takes no job, and two nodes with room for one each."""
    made = _started(
        lambda: Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    )
    try:
        for _ in range(2):
            add_node(made)
        yield made
    finally:
        made.shutdown()


def add_node(cluster: Cluster) -> None:
    """Add a node with room for one job."""
    _started(lambda: cluster.add_node(num_cpus=1))


def _started(start: Any) -> Any:
    for left in reversed(range(TRIES)):
        try:
            return start()
        except Exception as error:  # Ray raises a bare Exception here
            if not left or "timed out during startup" not in str(error):
                raise
    raise AssertionError
