"""Predictions made elsewhere: a table read with suspicion, checked against a task, scored like any other."""

from bench.execution.imports.records import Imported, import_table
from bench.execution.imports.rows import ImportedRow, ReadingRules, read_rows

__all__ = ["Imported", "ImportedRow", "ReadingRules", "import_table", "read_rows"]
