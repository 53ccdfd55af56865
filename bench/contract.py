"""The contract test by its public name, as users' own tests import it: :mod:`bench.execution.contract`."""

from bench.execution.contract import ContractReport, check_system

__all__ = ["ContractReport", "check_system"]
