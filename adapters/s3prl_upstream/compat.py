"""What s3prl 0.4.18 expects of torchaudio and torchaudio 2.11 no longer has; what it fetches, and where it keeps it.

``import s3prl.hub`` reads ``torchaudio.set_audio_backend`` and ``torchaudio.sox_effects``; both were removed. Adding
the two names, only where they are missing, changes nothing for other users of torchaudio.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.errors import CannotRun


@contextlib.contextmanager
def explained_downloads(upstream: str) -> Iterator[None]:
    """While s3prl loads an upstream, a download that fails says which file is missing, and where to put it."""
    from s3prl.util import download

    original = download._download

    def fetch(filepath: Path, url: str, *args: Any, **options: Any) -> None:
        try:
            original(filepath, url, *args, **options)
        except Exception as error:  # whatever stopped it, this file is what is missing
            why = f"cannot be fetched here ({first_cause(error)})"
            raise CannotRun(_not_here(upstream, Path(filepath), url, why)) from error

    download._download = fetch
    try:
        yield
    finally:
        download._download = original


def first_cause(error: BaseException) -> str:
    """Name what went wrong first; s3prl tries a second way of fetching, whose complaint hides the reason of the first."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return f"{type(error).__name__}: {error}" if str(error) else f"{type(error).__name__}, without a reason"


def _not_here(upstream: str, path: Path, url: str, why: str) -> str:
    return (
        f"s3prl upstream {upstream!r} needs a checkpoint that is not in s3prl's cache ({path.parent}) and {why}. Where "
        f"there is a network: curl -L --create-dirs -o {shlex.quote(str(path))} {shlex.quote(url)}"
    )


def upstream_names(nn: ModuleType) -> list[str]:
    """Name s3prl's upstreams; its own list also has what its modules import (``Path``, ``FileLock``)."""
    from s3prl import hub

    return [
        name
        for name in nn.S3PRLUpstream.available_names()
        if str(getattr(getattr(hub, name), "__module__", "")).endswith(".hubconf")
    ]


def is_filter_bank(upstream: str) -> bool:
    """Whether an upstream computes spectra and no network: ``fbank``, ``mfcc``, ``mel``, ``linear``, ``stft_mag`` …"""
    from s3prl import hub

    return getattr(hub, upstream).__module__.split(".")[-2] in ("baseline", "log_stft")


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
