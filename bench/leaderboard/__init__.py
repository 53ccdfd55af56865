"""The board: published folders of records, and what is checked before they are believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bench.leaderboard.attesting import Attested as Attested
    from bench.leaderboard.attesting import attest as attest
    from bench.leaderboard.evidence import Evidence as Evidence
    from bench.leaderboard.evidence import read_evidence as read_evidence
    from bench.leaderboard.history import history_of as history_of
    from bench.leaderboard.publication import Board as Board
    from bench.leaderboard.publication import Publication as Publication
    from bench.leaderboard.publishing import Added as Added
    from bench.leaderboard.publishing import add_run as add_run
    from bench.leaderboard.publishing import retract as retract
    from bench.leaderboard.submitting import Submitted as Submitted
    from bench.leaderboard.submitting import submit as submit
    from bench.leaderboard.validation import Badge as Badge
    from bench.leaderboard.validation import BoardProblem as BoardProblem
    from bench.leaderboard.validation import BoardRecord as BoardRecord
    from bench.leaderboard.validation import Validation as Validation
    from bench.leaderboard.validation import validate as validate

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "attesting": ["Attested", "attest"],
        "evidence": ["Evidence", "read_evidence"],
        "history": ["history_of"],
        "publication": ["Board", "Publication"],
        "publishing": ["Added", "add_run", "retract"],
        "submitting": ["Submitted", "submit"],
        "validation": ["Badge", "BoardProblem", "BoardRecord", "Validation", "validate"],
    },
)
