"""Filter banks of s3prl as they are before each clip is brought to zero mean and unit variance."""

from __future__ import annotations

import contextlib
import inspect
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from bench.errors import UsageError


@contextlib.contextmanager
def unnormalised(upstream: str) -> Iterator[dict[str, str]]:
    """Yield the options of s3prl's ``baseline_local`` that make an upstream's spectra without the normalisation per clip.

    They name a copy of the upstream's own configuration with ``use_cmvn: False``, which is what tells s3prl's ``fbank_no_cmvn``
    from its ``fbank``; it lasts as long as the context.

    Raises:
        UsageError: the upstream is none of s3prl's spectra that are normalised per clip.
    """
    from s3prl import hub

    entry = getattr(hub, upstream)
    source = Path(inspect.getfile(entry)).with_name(f"{upstream}.yaml")
    settings = yaml.safe_load(source.read_text(encoding="utf-8")) if source.is_file() else {}
    if not settings.get("cmvn", {}).get("use_cmvn"):
        raise UsageError(
            f"cmvn is false, and s3prl upstream {upstream!r} is not normalised per clip: take cmvn off the card, or name "
            "fbank or mfcc."
        )
    settings["cmvn"]["use_cmvn"] = False
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{upstream}.yaml"
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        yield {"model_config": str(path)}
