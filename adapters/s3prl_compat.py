"""What s3prl 0.4.18 expects of torchaudio and torchaudio 2.11 no longer has.

``import s3prl.hub`` reads ``torchaudio.set_audio_backend`` and ``torchaudio.sox_effects``; both were removed. Adding
the two names, only where they are missing, changes nothing for other users of torchaudio.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from bench.errors import CannotRun


def import_s3prl() -> ModuleType:
    """Make the missing names available, import ``s3prl.nn`` and return it.

    Raises:
        CannotRun: s3prl or torchaudio is not installed, or does not load here.
    """
    try:
        import torchaudio

        _complete(torchaudio)
        import s3prl.nn
    except (ImportError, OSError) as error:
        raise CannotRun(
            f"s3prl cannot be imported here ({error}). Install the pair this suite pins: "
            "pip install 's3prl==0.4.18' 'torch>=2.11,<2.12' 'torchaudio>=2.11,<2.12'"
        ) from error
    module: ModuleType = s3prl.nn
    return module


def _complete(torchaudio: Any) -> None:
    if not hasattr(torchaudio, "set_audio_backend"):
        torchaudio.set_audio_backend = _accept_backend
    if not hasattr(torchaudio, "sox_effects"):
        effects = ModuleType(
            "torchaudio.sox_effects", doc="Stand-in: sox effects were removed from torchaudio."
        )
        effects.apply_effects_tensor = _no_effects  # type: ignore[attr-defined]
        effects.apply_effects_file = _no_effects  # type: ignore[attr-defined]
        sys.modules["torchaudio.sox_effects"] = effects
        torchaudio.sox_effects = effects


def _accept_backend(backend: str | None = None) -> None:
    """Accept and ignore a backend: torchaudio has one way to load files now, and we hand over samples."""


def _no_effects(*args: Any, **kwargs: Any) -> Any:
    raise CannotRun(
        "This s3prl upstream applies sox effects, which torchaudio 2.11 no longer has. Choose another upstream."
    )
