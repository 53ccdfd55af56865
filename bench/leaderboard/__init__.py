"""The board: published folders of records, what is checked before they are believed, and what makes them one board."""

from bench.leaderboard.adding import Added, add_run, retract
from bench.leaderboard.checking import Badge, BoardRecord, Problem, Validation, validate
from bench.leaderboard.publication import Board, Publication

__all__ = [
    "Added",
    "Badge",
    "Board",
    "BoardRecord",
    "Problem",
    "Publication",
    "Validation",
    "add_run",
    "retract",
    "validate",
]
