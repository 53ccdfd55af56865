"""The proposed model as a Hugging Face model: encoder, head, categories and dimensions.

Facts of the released network: ARCHITECTURE.md of MERaLiON-SER-v1 (arXiv 2511.04914); tensor names and shapes are
those of its checkpoint with LoRA merged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    PreTrainedModel,
    WhisperConfig,
    initialization,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.utils import ModelOutput

from adapters.meralion_ser.network import backbone, lora, released_layout, whisper_layers
from adapters.meralion_ser.network.configuration import MeralionSerConfig
from adapters.meralion_ser.network.ecapa import EcapaBlock, EmotionEcapa
from adapters.meralion_ser.network.masking import frame_mask
from bench.errors import DataError, UsageError


@dataclass
class MeralionSerOutput(ModelOutput):  # type: ignore[misc]
    """``logits`` (batch, labels) in the order of ``config.id2label``; ``dimensions`` (batch, 3): V, A, D in 0..1."""

    # ModelOutput insists on defaults; both are always given.
    logits: Tensor = None  # type: ignore[assignment]
    dimensions: Tensor = None  # type: ignore[assignment]


class Standardise(nn.Module):
    """Subtract the training frames' mean and divide by their standard deviation, both (dims,)."""

    mean: Tensor
    std: Tensor

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dims))
        self.register_buffer("std", torch.ones(dims))

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (batch, frames, dims)."""
        return (frames - self.mean) / self.std


class WhisperHalf(nn.Module):
    """Holds the encoder under the released checkpoint's name, ``whisper.encoder``; there is no decoder."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.encoder = WhisperEncoder(config)


class MeralionSer(PreTrainedModel):  # type: ignore[misc]
    """Speech emotion recognition: categories and valence, arousal, dominance.

    ``forward`` takes log-mel features (batch, mels, frames), as ``WhisperFeatureExtractor`` gives them, or frames
    (batch, input_dim, frames) where the config has no encoder; or, through ``states``, an encoder's cached hidden
    state (batch, frames, dims) of layer ``states_layer``, from which it goes on.

    Args:
        config: sizes, encoder and labels; see :class:`MeralionSerConfig`.
    """

    config_class = MeralionSerConfig
    config: MeralionSerConfig
    standardise: Standardise
    base_model_prefix = ""
    main_input_name = "input_features"
    _no_split_modules = ("WhisperEncoderLayer", "EcapaBlock")
    _supports_sdpa = True
    supports_gradient_checkpointing = True

    def __init__(self, config: MeralionSerConfig) -> None:
        super().__init__(config)
        frame_dims = config.input_dim * config.frame_stack
        if config.encoder == "whisper":
            whisper = WhisperConfig(**(config.whisper or {}))
            self.whisper = WhisperHalf(whisper)
            frame_dims = whisper.d_model
            self._check_layer(whisper.encoder_layers)
        elif config.encoder == "backbone":
            self.backbone = backbone.build(config.backbone or {})
            frame_dims = int(self.backbone.config.hidden_size)
            self._check_layer(len(self.backbone.encoder.layers))
        if config.standardise:
            self.standardise = Standardise(frame_dims // config.frame_stack)
        if config.mixed_states > 1:
            self.state_weights = nn.Parameter(torch.zeros(config.mixed_states))
            frame_dims //= config.mixed_states
        embedding = int(config.embedding or 0)
        self.downstream_model = EmotionEcapa(config, frame_dims)
        self.dim_layer = nn.Sequential(
            nn.Linear(embedding, embedding),
            nn.RMSNorm(embedding),
            nn.GELU(),
            nn.Linear(embedding, 3),
            nn.Sigmoid(),
        )
        self.emotion_layer = nn.Linear(embedding, embedding)
        self.emotion_classification_layer = nn.Sequential(
            nn.RMSNorm(embedding), nn.GELU(), nn.Linear(embedding, config.num_labels)
        )
        self.post_init()
        # Not through _init_weights: transformers passes over modules without parameters of their own, the root too.
        if config.init_scheme == "few_clips" and self.device.type != "meta":
            self._initialise_for_few_clips()

    def forward(
        self,
        input_features: Tensor | None = None,
        lengths: Tensor | None = None,
        *,
        states: Tensor | None = None,
        states_layer: int = 0,
        return_dict: bool | None = None,
    ) -> MeralionSerOutput | tuple[Tensor, Tensor]:
        """Answer for a batch of windows.

        What ``lengths`` hides is the config's ``frames`` rule.

        Args:
            input_features: log-mel (batch, mels, frames), or frames (batch, input_dim, frames) where the config has no encoder.
            lengths: each clip's own frames (batch,), in whichever of the two inputs is given; None: every frame counts.
            states: in place of ``input_features``, an encoder's hidden state (batch, frames, dims).
            states_layer: the number of that state, from which the network goes on.
            return_dict: False gives a plain tuple, as transformers' models do.

        Returns:
            ``logits`` (batch, labels) in the order of ``config.id2label``, and ``dimensions`` (batch, 3): valence, arousal,
            dominance in 0..1.

        Raises:
            UsageError: both inputs, none, or one of another shape.
            DataError: more frames than the Whisper encoder has positions.
        """
        if (input_features is None) == (states is None):
            raise UsageError("MeralionSer.forward: give input_features or states, one of them")
        self._check_shape(input_features, states)
        if states is not None:
            frames, lengths = self._from_states(states, states_layer, lengths)
        else:
            assert input_features is not None
            frames, lengths = self._encoded(input_features, lengths)
        output = self.head(frames, None if self.config.frames == "all" else lengths)
        return output.to_tuple() if return_dict is False else output

    def head(self, frames: Tensor, lengths: Tensor | None = None) -> MeralionSerOutput:
        """Answer from the encoder's output, or from the frames of a model without encoder (batch, frames, dims)."""
        if self.config.standardise:
            frames = self.standardise(frames)
        if self.config.mixed_states > 1:
            states = frames.reshape(*frames.shape[:2], self.config.mixed_states, -1)
            frames = torch.einsum("s,btsd->btd", self.state_weights.softmax(dim=0), states)
        frames, lengths = self._stacked(frames, lengths)
        mask = None if lengths is None else frame_mask(lengths, frames.shape[1])
        embedding = self.downstream_model(frames, mask)
        logits = self.emotion_classification_layer(self.emotion_layer(embedding))
        return MeralionSerOutput(logits=logits, dimensions=self.dim_layer(embedding))

    @property
    def top_layer(self) -> int:
        """The hidden state that the head sees, counted as transformers counts."""
        encoder = self.backbone.encoder if self.config.encoder == "backbone" else self.whisper.encoder
        layers = len(encoder.layers)
        return layers if self.config.layer is None else int(self.config.layer)

    def encode_from(self, states: Tensor, states_layer: int, lengths: Tensor | None = None) -> Tensor:
        """Take a hidden state up to :attr:`top_layer`.

        Args:
            states: (batch, frames, dims).
            states_layer: their number, counted as transformers does.
            lengths: each clip's own frames (batch,), which hide the padding; None: all count.
        """
        if self.config.encoder == "backbone":
            return backbone.blocks(self.backbone, states, lengths, first=states_layer, last=self.top_layer)
        return whisper_layers.blocks(
            self.whisper.encoder, states, lengths, first=states_layer, last=self.top_layer
        )

    def add_lora(self) -> int:
        """Freeze the encoder, put LoRA adapters on its q, k, v as the config says; return their parameter count."""
        if self.config.encoder == "backbone":
            numbers = self.config.lora_layers or list(range(1, self.top_layer + 1))
            return backbone.add_lora(self.backbone, numbers, self.config.lora_rank, self.config.lora_alpha)
        return lora.inject(self.whisper.encoder, self.config, self.top_layer)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Save as safetensors, with any LoRA adapter merged into the weights it adapts."""
        kwargs.setdefault("state_dict", lora.merged_state(self))
        super().save_pretrained(save_directory, **kwargs)

    @classmethod
    def from_released(
        cls, folder_or_hub_id: str | Path, revision: str | None = None, *, allow_pickle: bool = False
    ) -> MeralionSer:
        """Load a checkpoint of the released layout, of any size, from a folder or the hub. Strict.

        Sizes are read from the tensors; attention heads from ``config.json`` (section ``whisper``), else d_model // 64. With
        ``meta`` as the default device, weights are on the CPU all the same.

        Args:
            folder_or_hub_id: a local folder, or a name like ``MERaLiON/MERaLiON-SER-v1``.
            revision: of the hub's repository.
            allow_pickle: whether a folder without safetensors is read from its pickle, as plain tensors.
        """
        folder = released_layout.local_folder(folder_or_hub_id, revision, allow_pickle)
        with released_layout.real_tensors():
            found = released_layout.read_tensors(folder, allow_pickle=allow_pickle)
            tensors = {n: t for n, t in found.items() if not n.startswith(released_layout.UNUSED)}
            described = released_layout.read_description(folder)
            with released_layout.buildable(folder):
                model = cls(released_layout.released_config(tensors, described, folder))
            released_layout.load_strictly(model, tensors, folder)
        return model.eval()  # type: ignore[no-any-return]

    @classmethod
    def from_trained(cls, folder: Path) -> MeralionSer:
        """Build the network that a folder of ``serbench train`` describes and load its tensors strictly.

        Not through ``from_pretrained``, which fills what is missing with random numbers.

        Raises:
            DataError: no safetensors, tensors that do not fit, or a ``config.json`` that describes no network.
        """
        with released_layout.real_tensors():
            tensors = released_layout.read_tensors(folder)
            described = released_layout.read_description(folder)
            if not described:
                raise DataError(
                    f"{folder}: no config.json, or an empty one; it must say what network the weights are of: copy it there"
                )
            with released_layout.buildable(folder):
                model = cls(MeralionSerConfig.from_dict(described))
            released_layout.load_strictly(model, tensors, folder)
        return model.eval()  # type: ignore[no-any-return]

    def _check_shape(self, features: Tensor | None, states: Tensor | None) -> None:
        """Raise :class:`UsageError` for an input that is of another shape than this network's."""
        if states is not None:
            name, given, wanted, bands = "states", states, "(batch, frames, dims)", None
        elif self.config.encoder == "backbone":
            raise UsageError(
                "MeralionSer.forward: with encoder 'backbone' give states (its hidden states), not input_features"
            )
        else:
            assert features is not None
            inside = self.config.encoder == "whisper"
            bands = self.whisper.encoder.config.num_mel_bins if inside else self.config.input_dim
            name, given, wanted = "input_features", features, f"(batch, {bands}, frames)"
        if given.dim() != 3 or 0 in given.shape[1:] or bands not in (None, given.shape[1]):
            raise UsageError(
                f"MeralionSer.forward: {name} has the shape {tuple(given.shape)}; expected {wanted}, of one frame at least"
            )

    def _encoded(self, features: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if self.config.encoder == "none":
            return features.transpose(1, 2), lengths
        hidden_from_encoder = lengths if self.config.frames == "own" else None
        hidden = whisper_layers.stem(self.whisper.encoder, features, hidden_from_encoder)
        if lengths is not None:
            lengths = whisper_layers.frames_after_stem(lengths)
        return self._from_states(hidden, 0, lengths)

    def _from_states(
        self, states: Tensor, layer: int, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        if self.config.encoder == "none":
            return states, lengths
        return self.encode_from(states, layer, lengths if self.config.frames == "own" else None), lengths

    def _stacked(self, frames: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Join each ``frame_stack`` neighbours into one frame; the last is filled up with zeros."""
        stack = self.config.frame_stack
        if stack == 1:
            return frames, lengths
        if lengths is not None:
            frames = frames * frame_mask(lengths, frames.shape[1])[:, :, None]
            lengths = (lengths + stack - 1) // stack
        frames = F.pad(frames, (0, 0, 0, -frames.shape[1] % stack))
        return frames.reshape(frames.shape[0], -1, stack * frames.shape[2]), lengths

    def _check_layer(self, layers: int) -> None:
        if self.config.layer is not None and not 0 <= self.config.layer <= layers:
            raise UsageError(
                f"MeralionSerConfig: layer is {self.config.layer}, but the encoder has states 0 to {layers}"
            )

    def _init_weights(self, module: nn.Module) -> None:
        """Library defaults, module by module."""
        if isinstance(module, Standardise):
            initialization.zeros_(module.mean)
            initialization.ones_(module.std)
        elif callable(reset := getattr(module, "reset_parameters", None)):
            reset()

    def _initialise_for_few_clips(self) -> None:
        """Keep the signal through the stacked linears: without it pooled vectors hardly differ between clips."""
        rooms = (
            self.downstream_model.pooling,
            self.downstream_model.embed,
            self.dim_layer,
            self.emotion_layer,
            self.emotion_classification_layer,
        )
        for linear in (m for room in rooms for m in room.modules() if isinstance(m, nn.Linear)):
            initialization.orthogonal_(linear.weight)
            if linear.bias is not None:
                initialization.zeros_(linear.bias)
        for block in (m for m in self.downstream_model.blocks if isinstance(m, EcapaBlock)):
            initialization.zeros_(block.norm2.weight)


AutoConfig.register("meralion_ser", MeralionSerConfig)
AutoModel.register(MeralionSerConfig, MeralionSer)
AutoModelForAudioClassification.register(MeralionSerConfig, MeralionSer)
