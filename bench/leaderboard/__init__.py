"""The board: published folders of records, what is checked before they are believed, and what makes them one board."""

from bench.leaderboard.publication import Board, Publication
from bench.leaderboard.publishing import Added, add_run, retract
from bench.leaderboard.validation import Badge, BoardProblem, BoardRecord, Validation, validate

__all__ = [
    "Added",
    "Badge",
    "Board",
    "BoardProblem",
    "BoardRecord",
    "Publication",
    "Validation",
    "add_run",
    "retract",
    "validate",
]
