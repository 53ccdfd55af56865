"""Ray clusters of several nodes on this machine, for tests and the soak."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

import psutil
from ray._private import services
from ray.cluster_utils import Cluster

TRIES = 6
"""Ray gives the parts of a node 30 s to start, which a busy machine may not do, and then they end."""


@contextmanager
def two_nodes() -> Iterator[Cluster]:
    """A head and a node, with room for one job each. The driver's home is the head, so it is the node that may go away."""
    made: Cluster = _started(
        lambda: Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    )
    try:
        add_node(made)
        yield made
    finally:
        made.shutdown()


def add_node(cluster: Cluster) -> None:
    """Add a node with room for one job."""
    _started(lambda: cluster.add_node(num_cpus=1))


def _started(start: Callable[[], Any]) -> Any:
    """Start something of Ray, again where the machine was too slow; what is left of a try in vain ends."""
    for left in reversed(range(TRIES)):
        before = set(_children())
        try:
            # No page about the cluster: nobody reads it here, and a busy machine waits a minute for it in vain.
            with patch.object(services, "start_api_server", return_value=("", None)):
                return start()
        except Exception as error:  # Ray raises a bare Exception here
            if not left or "timed out during startup" not in str(error):
                raise
            for process in set(_children()) - before:
                with suppress(psutil.Error):
                    process.kill()
    raise AssertionError


def _children() -> list[psutil.Process]:
    """What this process itself started; what those started ends with them."""
    return psutil.Process().children()
