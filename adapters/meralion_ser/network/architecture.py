"""What a card says of the network, and the network built from it, the encoder's weights and the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from adapters.meralion_ser.network import backbone, released_layout
from adapters.meralion_ser.network.configuration import FrameRule, InitScheme, MeralionSerConfig, Pooling
from adapters.meralion_ser.network.frames import MELS
from adapters.meralion_ser.network.model import MeralionSer
from adapters.meralion_ser.settings import CheckedSettings, FromOne, FromZero, Rate, ShareBelowOne, Switch
from bench.errors import UsageError
from bench.protocols import Weights

Encoder = Literal["whisper", "backbone", "features", "logmel"]
LOG_MEL_SECONDS, ENCODER_SECONDS, WINDOW_SECONDS = 0.01, 0.02, 30.0


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Architecture(CheckedSettings):
    """What the card says of the network; the rest follows from the encoder's weights and the task.

    A Whisper encoder without ``stored_layer`` starts from the audio's log-mel.

    Args:
        encoder: ``whisper`` or ``backbone`` (one of the wav2vec 2.0 family), whose blocks take the stored frames of
            ``stored_layer`` to ``layer`` and may be adapted by LoRA; ``features`` (any encoder's stored frames as they are; of
            several stored layers, a learned mix); or ``logmel`` (no weights).
        layer: the hidden state that the head reads, counted as transformers does; None: the last.
        stored_layer: the hidden state that the feature store holds.
        frames: see :class:`MeralionSerConfig`; others than ``own`` need the log-mel, padded to 30 s.
        frame_stack: how many neighbouring frames are joined into one.
        channels: width of the ECAPA blocks.
        channels_per_group: of the group norms; None: min(32, channels) groups, as released.
        pooling: see :class:`MeralionSerConfig`.
        standardise: whether frames are standardised by the training frames' mean and deviation.
        init_scheme: see :class:`MeralionSerConfig`.
        dropout: of the projection and the embedding, 0..1.
        embedding_dropout: between the two layers of the embedding, 0..1.
        lora_rank: rank r of LoRA (Hu et al. 2021) on q, k, v; 0: none.
        lora_alpha: its scale is alpha / r.
        lora_dropout: of the low-rank path's inputs, 0..1.

    Raises:
        UsageError: values that are none, or that contradict each other.
    """

    encoder: Encoder
    layer: FromZero | None = None
    stored_layer: FromZero | None = None
    frames: FrameRule = "own"
    frame_stack: FromOne = 1
    channels: FromOne = 128
    channels_per_group: FromOne | None = 16
    pooling: Pooling = "hybrid"
    standardise: Switch = True
    init_scheme: InitScheme = "few_clips"
    dropout: ShareBelowOne = 0.2
    embedding_dropout: ShareBelowOne = 0.3
    lora_rank: FromZero = 0
    lora_alpha: Rate = 16.0
    lora_dropout: ShareBelowOne = 0.0

    def __post_init__(self) -> None:
        if self.encoder == "backbone" and (self.layer is None or self.stored_layer is None):
            raise UsageError(
                "encoder 'backbone' needs layer and stored_layer (the one in features.params.layers)"
            )
        if self.stored_layer is not None and self.layer is not None and self.stored_layer > self.layer:
            raise UsageError(
                f"stored_layer {self.stored_layer} lies above layer {self.layer}, which the head reads"
            )
        if self.lora_rank and (
            not self.has_blocks or (self.stored_layer is not None and self.stored_layer == self.layer)
        ):
            raise UsageError(
                "lora_rank needs encoder 'whisper' or 'backbone' and a stored_layer below layer: nothing to adapt"
            )
        if self.frames != "own" and not self.from_mel:
            raise UsageError(
                f"frames is {self.frames!r}, which needs the padded window: encoder 'whisper' without stored_layer"
            )

    @property
    def has_blocks(self) -> bool:
        """Whether the encoder's own blocks are part of the network."""
        return self.encoder in ("whisper", "backbone")

    @property
    def from_mel(self) -> bool:
        """Whether Whisper's log-mel comes in, rather than stored frames."""
        return self.encoder == "whisper" and self.stored_layer is None

    @property
    def reads_audio(self) -> bool:
        """Whether clips are heard here, rather than read from the feature store."""
        return self.encoder == "logmel" or self.from_mel

    @property
    def frame_seconds(self) -> float:
        """Step between the frames that come in."""
        return LOG_MEL_SECONDS if self.reads_audio else ENCODER_SECONDS

    @property
    def head_frame_seconds(self) -> float:
        """Step between the frames that the head reads."""
        return ENCODER_SECONDS if self.has_blocks else self.frame_seconds

    @property
    def pads_with_silence(self) -> bool:
        """Whether the encoder sees what stands behind a clip's end: then it must be the clip's silence."""
        return self.from_mel and self.frames != "own"

    def check_stored(self, feature_params: Mapping[str, Any] | None, weights: Weights | None) -> None:
        """Refuse stored features of another layer than the one that the blocks go on from.

        ``feature_params`` are those of the encoder that made them (``features.params`` of the card), None where nobody
        tells. Several stored layers are refused where they are read.
        """
        layers = (feature_params or {}).get("layers")
        if not self.has_blocks or self.from_mel or layers is None or len(layers) != 1:
            return
        held = int(layers[0])
        if held < 0 and weights is not None:
            held += _states(weights)
        if held != self.stored_layer:
            raise UsageError(
                f"stored_layer is {self.stored_layer}, but the stored features are those of layer {held} "
                f"(features.params.layers: {list(layers)}), and the blocks would go on from the wrong layer; "
                "set both to one layer"
            )


def build_network(
    chosen: Architecture, labels: Sequence[str], weights: Weights | None, frame_dims: int, states: int
) -> MeralionSer:
    """Build the network with its encoder loaded and frozen, LoRA put in where asked for.

    Args:
        chosen: what the card says.
        labels: names of the classes, in the order of the logits; none: a placeholder class.
        weights: the encoder's folder; None where it needs none.
        frame_dims: size of the frames that come in.
        states: how many hidden states lie side by side in each frame.

    Raises:
        UsageError: a ``stored_layer`` above the encoder's last.
        DataError: weights that do not fit.
    """
    model = MeralionSer(
        MeralionSerConfig(
            **_inside(chosen, weights, frame_dims, states),
            frames=chosen.frames,
            channels=chosen.channels,
            channels_per_group=chosen.channels_per_group,
            pooling=chosen.pooling,
            standardise=chosen.standardise,
            init_scheme=chosen.init_scheme,
            dropout=chosen.dropout,
            embedding_dropout=chosen.embedding_dropout,
            id2label=dict(enumerate(labels or ("none",))),
        )
    )
    if chosen.encoder == "whisper":
        assert weights is not None
        released_layout.load_whisper_encoder(model.whisper.encoder, weights.folder)
        model.whisper.requires_grad_(False)
    if chosen.encoder == "backbone":
        assert weights is not None
        released_layout.load_backbone(model.backbone, weights.folder)
        model.backbone.requires_grad_(False)
    if chosen.lora_rank:
        model.add_lora()
        if chosen.encoder == "backbone":
            backbone.set_dropout(model.backbone, chosen.lora_dropout)
    return model


def _states(weights: Weights) -> int:
    """Hidden states of the encoder in a folder: one before its blocks and one after each."""
    from transformers import AutoConfig

    return int(AutoConfig.from_pretrained(weights.folder).num_hidden_layers) + 1


def _inside(chosen: Architecture, weights: Weights | None, frame_dims: int, states: int) -> dict[str, Any]:
    if not chosen.has_blocks:
        return {
            "encoder": "none",
            "input_dim": MELS if chosen.encoder == "logmel" else frame_dims,
            "mixed_states": states,
            "frame_stack": chosen.frame_stack,
        }
    assert weights is not None
    described = (
        {"whisper": released_layout.whisper_fields(weights.folder)}
        if chosen.encoder == "whisper"
        else {"backbone": backbone.fields_of(weights.folder)}
    )
    last = chosen.layer
    if last is None:
        last = int(described["whisper"]["encoder_layers"])
    if chosen.stored_layer is not None and chosen.stored_layer > last:
        raise UsageError(f"stored_layer {chosen.stored_layer} lies above layer {last}, which the head reads")
    return {
        "encoder": chosen.encoder,
        **described,
        "layer": chosen.layer,
        "lora_rank": chosen.lora_rank,
        "lora_alpha": chosen.lora_alpha,
        "lora_dropout": chosen.lora_dropout,
        "lora_layers": list(range((chosen.stored_layer or 0) + 1, last + 1)),
    }
