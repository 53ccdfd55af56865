"""Any upstream of s3prl as a frozen encoder: all hidden states, as SUPERB probes see them."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adapters.s3prl_upstream.compat import (
    explained_downloads,
    first_cause,
    import_s3prl,
    is_filter_bank,
    upstream_names,
)
from adapters.s3prl_upstream.unnormalised import unnormalised
from adapters.transformers_encoder.loading import require_rate, require_whole
from adapters.transformers_encoder.networks import aligned
from bench.errors import BenchError, CannotRun, DataError, UsageError, nearest
from bench.protocols import SAMPLE_RATE, Waveform, Weights

MIN_SAMPLES = 800
"""0.05 s: s3prl's own lower limit (``s3prl.nn.upstream.MIN_SECOND``), up to which it pads with silence."""
WINDOW = 30 * SAMPLE_RATE
"""Longer clips go through a network in windows of 30 s, as in the other adapter: attention over ten minutes takes 40 GiB."""
LOCAL = ("_custom", "_local", "_url", "_gdriveid")
"""How the names end whose checkpoint is given; every other upstream has its own, and would leave a given one unread."""
DIRECTLY = "adapters.transformers_encoder:TransformersEncoder"
HUGGING_FACE = {
    "hf_hubert_custom": ("hubert", "HubertModel"),
    "hf_wav2vec2_custom": ("wav2vec2", "Wav2Vec2Model"),
}
"""The ``model_type`` that an upstream's name promises, and the class that s3prl reads any folder with."""


class S3PRLUpstreamEncoder:
    """``s3prl.nn.S3PRLUpstream`` under the suite's protocol.

    A Hugging Face folder must hold every tensor of the very family that the upstream's name says: s3prl itself would fill
    gaps with random values.

    Frames are s3prl's: ⌈samples / stride⌉ of them, for which s3prl repeats the last frame once or twice where a model
    gives fewer. Clips are encoded one at a time, because s3prl pads batches and several upstreams see the padding. A network
    hears a clip over 30 s in windows whose frames are put end to end; filter banks, which s3prl normalises over
    the clip, hear it whole.

    Trap: ``fbank`` and ``mfcc`` are normalised per clip to zero mean, so that the mean of the frames says
    little more than what the repeated last frame adds; ``cmvn: false`` leaves the means in.

    Args:
        upstream: an s3prl name (``fbank``, ``hubert_base``, …); names that end in ``_custom`` or ``_local`` read a folder.
        path: that folder or file, where the card names no weights.
        options: go to the upstream's constructor.
        cmvn: false leaves out the normalisation per clip of ``fbank`` and ``mfcc``.
        weights: the card's.
        device: as torch names it.

    Raises:
        UsageError: no such upstream, one that reads no weights, one whose layers differ in size, or ``cmvn: false`` for
            one that does not normalise.
        CannotRun: s3prl is not installed, or the weights are not whole or not to be had.
    """

    def __init__(
        self,
        upstream: str = "fbank",
        path: str | None = None,
        options: dict[str, Any] | None = None,
        cmvn: bool = True,
        weights: Weights | None = None,
        device: str = "cpu",
    ) -> None:
        if not isinstance(upstream, str):
            raise UsageError(
                f"upstream is {upstream!r}; expected the name of an s3prl upstream, such as 'fbank'."
            )
        source = str(weights.file or weights.folder) if weights is not None else path
        if upstream.endswith(("_custom", "_local")) and source is None:
            raise UsageError(
                f"s3prl upstream {upstream!r} reads local weights: name them under 'weights' on the system card, or "
                "give the parameter 'path'."
            )
        if source is not None and upstream in HUGGING_FACE:
            _require_own_family(upstream, Path(source))
        self.device = torch.device(device)
        with _quiet():
            nn = import_s3prl()
            known = upstream_names(nn)
            if upstream not in known:
                raise UsageError(f"s3prl has no upstream {upstream!r}: {nearest(upstream, known)}")
            if source is not None and not upstream.endswith(LOCAL):
                raise UsageError(
                    f"s3prl upstream {upstream!r} has a checkpoint of its own and would leave {source} unread. Take the "
                    "weights off the card, or choose an upstream whose name ends in _local or _custom."
                )
            self._longest = None if is_filter_bank(upstream) else WINDOW
            if cmvn:
                self._model = _load(nn, upstream, source, options or {}).to(self.device)
            else:
                with unnormalised(upstream) as plain:
                    self._model = _load(nn, "baseline_local", None, plain).to(self.device)
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
        if self._longest is None or len(waveform) <= self._longest:
            return self._states(waveform)
        parts = [waveform[start : start + self._longest] for start in range(0, len(waveform), self._longest)]
        stride = int(self._model.downsample_rates[0])  # a remainder below one frame has none of its own
        return np.concatenate([self._states(part) for part in parts if len(part) >= stride], axis=1)

    def _states(self, waveform: Waveform) -> NDArray[np.float32]:
        audio = aligned(np.pad(waveform, (0, max(0, MIN_SAMPLES - len(waveform)))).astype(np.float32))
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


def _require_own_family(upstream: str, folder: Path) -> None:
    """Refuse what s3prl would read without a word: another family, missing tensors, another front end's settings."""
    missing = [name for name in ("config.json", "preprocessor_config.json") if not (folder / name).is_file()]
    if missing:  # without a front end's configuration s3prl would fetch another model's from the hub
        raise CannotRun(f"{folder} lacks {' and '.join(missing)}: fetch the whole Hugging Face folder.")
    family, class_name = HUGGING_FACE[upstream]
    found = _settings(folder / "config.json").get("model_type")
    if found != family:
        other = next((name for name, (kind, _) in HUGGING_FACE.items() if kind == found), None)
        raise CannotRun(
            f"{folder} holds a {found!r} model, and s3prl upstream {upstream!r} would run it as {family!r}. "
            + (f"Name upstream {other!r}." if other else f"Use the encoder {DIRECTLY}.")
        )
    require_rate(
        folder, int(_settings(folder / "preprocessor_config.json").get("sampling_rate", SAMPLE_RATE))
    )
    stored = require_whole(class_name, folder)
    if stored != torch.float32:
        raise CannotRun(
            f"{folder} stores its weights as {str(stored).removeprefix('torch.')}, which s3prl runs as they are and on "
            f"audio in float32, so that the first layer fails. Use the encoder {DIRECTLY}: it widens them."
        )


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CannotRun(
            f"{path} is not JSON ({error}): fetch the whole Hugging Face folder again."
        ) from error
    return found if isinstance(found, dict) else {}


def _load(nn: Any, upstream: str, source: str | None, options: dict[str, Any]) -> Any:
    try:
        with explained_downloads(upstream):
            return nn.S3PRLUpstream(upstream, path_or_url=source, extra_conf=options)
    except BenchError:
        raise
    except (
        Exception
    ) as error:  # an upstream may raise anything at a checkpoint, an option or a package it lacks
        where = f"from {Path(source)}" if source else "(s3prl downloads this upstream's weights on first use)"
        if source and Path(source).is_dir() and upstream not in HUGGING_FACE:
            where += " (most such upstreams read one file: name it as file under the card's weights)"
        raise CannotRun(
            f"s3prl upstream {upstream!r} could not be loaded {where}: {first_cause(error)}"
        ) from error


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
