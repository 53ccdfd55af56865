"""From a matrix to finished cells: planning, jobs, workers, servers, in-process use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bench.execution.contract import ContractReport as ContractReport
    from bench.execution.contract import check_system as check_system
    from bench.execution.driver import run_matrix as run_matrix
    from bench.execution.imports import import_table as import_table
    from bench.execution.in_process import evaluate as evaluate
    from bench.execution.in_process import load_task as load_task
    from bench.execution.merging import merge_shards as merge_shards
    from bench.execution.prepared_run import RunSettings as RunSettings
    from bench.execution.prepared_run import RunSummary as RunSummary

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "contract": ["ContractReport", "check_system"],
        "driver": ["run_matrix"],
        "imports": ["import_table"],
        "in_process": ["evaluate", "load_task"],
        "merging": ["merge_shards"],
        "prepared_run": ["RunSettings", "RunSummary"],
    },
)
