"""What a look at the installation gives: one thing looked at, its state, and the command that mends it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "missing", "wrong", "unseen"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    ``missing`` is optional and can be had with ``mend``; ``wrong`` is broken until mended; ``unseen`` took too long to look at.
    """

    area: str
    name: str
    state: State
    found: str
    mend: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)
