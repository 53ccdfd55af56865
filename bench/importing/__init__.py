"""Predictions made elsewhere: a table read with suspicion, checked against a task, scored like any other."""

from bench.importing.reading import Row, read_rows
from bench.importing.scoring import Imported, import_table

__all__ = ["Imported", "Row", "import_table", "read_rows"]
