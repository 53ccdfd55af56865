"""Any upstream of s3prl as a frozen encoder: all hidden states, as SUPERB probes see them."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adapters.s3prl_compat import import_s3prl
from bench.errors import CannotRun, DataError, UsageError, nearest
from bench.protocols import SAMPLE_RATE, Waveform, Weights

MIN_SAMPLES = 800
"""0.05 s: s3prl's own lower limit (``s3prl.nn.upstream.MIN_SECOND``), up to which it pads with silence."""


class S3PRLUpstreamEncoder:
    """``s3prl.nn.S3PRLUpstream`` under the suite's protocol.

    ``upstream`` is an s3prl name (``fbank``, ``hubert_base``, …). Names that end in ``_custom`` or ``_local`` read the
    folder of the card's weights, or ``path``. ``options`` go to the upstream's constructor.

    Frames are s3prl's: ⌈samples / stride⌉ of them, for which s3prl repeats the last frame once or twice where a model
    gives fewer. Clips are encoded one at a time, because s3prl pads batches and several upstreams see the padding.

    Trap: ``fbank`` and ``mfcc`` are normalised per clip to zero mean, so that the mean of the frames says
    little more than what the repeated last frame adds; ``fbank_no_cmvn`` is the informative one.
    """

    def __init__(
        self,
        upstream: str = "fbank",
        path: str | None = None,
        options: dict[str, Any] | None = None,
        weights: Weights | None = None,
        device: str = "cpu",
    ) -> None:
        source = str(weights.folder) if weights is not None else path
        if upstream.endswith(("_custom", "_local")) and source is None:
            raise UsageError(
                f"s3prl upstream {upstream!r} reads local weights: name them under 'weights' on the system card, or "
                "give the parameter 'path'."
            )
        if upstream.startswith("hf_") and source is not None:
            _require_whole_folder(Path(source))
        self.device = torch.device(device)
        with _quiet():
            nn = import_s3prl()
            known = nn.S3PRLUpstream.available_names()
            if upstream not in known:
                raise UsageError(f"s3prl has no upstream {upstream!r}: {nearest(upstream, known)}")
            self._model = _load(nn, upstream, source, options or {}).to(self.device)
        self._model.eval().requires_grad_(False)
        if len({*self._model.hidden_sizes}) > 1 or len({*self._model.downsample_rates}) > 1:
            raise UsageError(
                f"The layers of s3prl upstream {upstream!r} differ in size ({self._model.hidden_sizes}) or in stride "
                f"({self._model.downsample_rates}): they cannot be weighted against each other. Choose another one."
            )

    def encode(self, waveforms: Sequence[Waveform]) -> list[NDArray[np.float32]]:
        """One (layers, frames, dims) array per waveform. Clips below 0.05 s are padded with silence to 0.05 s.

        Raises:
            DataError: a clip without samples, or one that the upstream cannot take.
        """
        return [self._encode_one(waveform) for waveform in waveforms]

    def _encode_one(self, waveform: Waveform) -> NDArray[np.float32]:
        if not len(waveform):
            raise DataError(
                "A clip has no samples: an encoder needs audio. Remove the clip or repair its file."
            )
        audio = torch.from_numpy(
            np.pad(waveform, (0, max(0, MIN_SAMPLES - len(waveform)))).astype(np.float32)
        )
        length = torch.tensor([len(audio)], device=self.device)
        try:
            with torch.inference_mode(), _quiet():
                states, lengths = self._model(audio[None].to(self.device), length)
        except AssertionError as error:
            raise DataError(
                f"The s3prl upstream cannot take a clip of {len(waveform) / SAMPLE_RATE:.3f} s: its frames do not "
                f"match the clip's length ({error})."
            ) from error
        frames = int(lengths[0][0])
        return np.stack([state[0, :frames].float().cpu().numpy() for state in states])


def _require_whole_folder(folder: Path) -> None:
    """Without a front end's configuration s3prl would quietly fetch another model's from the hub."""
    missing = [name for name in ("config.json", "preprocessor_config.json") if not (folder / name).is_file()]
    if missing:
        raise CannotRun(f"{folder} lacks {' and '.join(missing)}: fetch the whole Hugging Face folder.")


def _load(nn: Any, upstream: str, source: str | None, options: dict[str, Any]) -> Any:
    try:
        return nn.S3PRLUpstream(upstream, path_or_url=source, extra_conf=options)
    except (OSError, ImportError) as error:
        where = f"from {Path(source)}" if source else "(s3prl downloads this upstream's weights on first use)"
        raise CannotRun(f"s3prl upstream {upstream!r} could not be loaded {where}: {error}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """s3prl prints, logs and warns on import, on building and on short clips; none of it is for our users."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
