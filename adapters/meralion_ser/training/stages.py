"""The stages of a training: the head on frozen frames first, then, with LoRA, everything from the stored layer up.

And how frames go through the network in each: through the frozen prefix once, in windows of 30 s, or whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adapters.meralion_ser.network import whisper_layers
from adapters.meralion_ser.network.architecture import WINDOW_SECONDS, Architecture
from adapters.meralion_ser.network.frames import frame_statistics, padded_mel, windows
from adapters.meralion_ser.network.model import MeralionSer, MeralionSerOutput
from adapters.meralion_ser.training.batches import LabelledFrames
from adapters.meralion_ser.training.loop import Stage
from adapters.meralion_ser.training.recipe import Recipe
from bench.protocols import Array


@dataclass(frozen=True)
class FrameNetwork:
    """The network of a fit, and how frames (frames, dims) as they come in go through it.

    Args:
        model: the network, on its device.
        architecture: what the card says of it.
        device: where frames are sent.
    """

    model: MeralionSer
    architecture: Architecture
    device: str

    def predict(self, frames: Tensor) -> tuple[Array, Array]:
        """Mean probabilities (labels,) and dimensions (3,) over a clip's windows."""
        with torch.inference_mode():
            outputs = [
                self.forward(self.model, window[None].to(self.device), None)
                for window in self._windows(frames)
            ]
            p = torch.stack([o.logits[0].double().softmax(dim=0) for o in outputs]).mean(dim=0)
            d = torch.stack([o.dimensions[0].double() for o in outputs]).mean(dim=0)
        return p.cpu().numpy(), d.cpu().numpy()

    def forward(self, network: nn.Module, frames: Tensor, lengths: Tensor | None) -> MeralionSerOutput:
        """Answer from the frames that come in: log-mel, or a stored hidden state.

        Args:
            network: the model, or what Accelerate wrapped it in.
            frames: (batch, frames, dims).
            lengths: each clip's own frames (batch,); None: all.
        """
        if self.architecture.from_mel:
            if lengths is None:
                lengths = torch.full((len(frames),), frames.shape[1], device=frames.device)
            output = network(self._padded(frames).transpose(1, 2), lengths)
        else:
            output = network(states=frames, states_layer=self._stored_layer, lengths=lengths)
        assert isinstance(output, MeralionSerOutput)
        return output

    def forward_from_top(
        self, network: nn.Module, frames: Tensor, lengths: Tensor | None
    ) -> MeralionSerOutput:
        """Answer from frames of the layer that the head reads.

        Args:
            network: the model, or what Accelerate wrapped it in.
            frames: (batch, frames, dims).
            lengths: each clip's own frames (batch,); None: all.
        """
        top = self.model.top_layer if self.architecture.has_blocks else 0
        output = network(states=frames, states_layer=top, lengths=lengths)
        assert isinstance(output, MeralionSerOutput)
        return output

    def seen_by_head(self, clips: LabelledFrames) -> LabelledFrames:
        """Take clips through the frozen prefix, once, to the layer that the head reads."""
        return dataclasses.replace(clips.through(self._top_frames), silence=False)

    def _top_frames(self, frames: Tensor) -> Tensor:
        if not self.architecture.has_blocks:
            return frames
        self.model.eval()
        with torch.no_grad():
            parts = [self._encoded(window[None].to(self.device))[0].cpu() for window in self._windows(frames)]
        return torch.cat(parts)

    def _encoded(self, frames: Tensor) -> Tensor:
        """Frozen output (1, frames, dims) that the head reads, of one clip's window."""
        if not self.architecture.from_mel:
            return self.model.encode_from(frames, self._stored_layer)
        own = frames.shape[1]
        frames = self._padded(frames)
        hidden = whisper_layers.stem(self.model.whisper.encoder, frames.transpose(1, 2), None)
        hidden = self.model.encode_from(hidden, 0)
        return hidden if self.architecture.frames == "all" else hidden[:, : (own + 1) // 2]

    def _padded(self, mel: Tensor) -> Tensor:
        if self.architecture.frames == "own":
            return mel
        return padded_mel(mel, 2 * int(self.model.whisper.encoder.config.max_source_positions))

    def _windows(self, frames: Tensor) -> Sequence[Tensor]:
        return windows(frames, round(WINDOW_SECONDS / self.architecture.frame_seconds))

    @property
    def _stored_layer(self) -> int:
        return self.architecture.stored_layer or 0


def build_stages(
    network: FrameNetwork, recipe: Recipe, training: LabelledFrames, dev: LabelledFrames | None
) -> list[Stage]:
    """Lay out the stages; where the architecture standardises, put the training frames' statistics into the network.

    Args:
        network: the network of the fit.
        recipe: epochs, learning rates and the length of crops.
        training: clips that are learnt from.
        dev: clips that epochs are chosen on; None: no choice.
    """
    model, architecture = network.model, network.architecture
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    head = [p for name, p in named if ".lora_" not in name]
    adapters = [p for name, p in named if ".lora_" in name]
    top = network.seen_by_head(training)
    if architecture.standardise:
        mean, std = frame_statistics(frames for takes in (top.frames, *top.views) for frames in takes)
        model.standardise.mean.copy_(mean)
        model.standardise.std.copy_(std)
    stages = []
    if recipe.epochs:
        seen = None if dev is None else network.seen_by_head(dev)
        groups = [(head, recipe.head_lr, recipe.head_decay)]
        longest = _crop_frames(recipe, architecture.head_frame_seconds)
        if architecture.frames == "all":
            # A crop out of a padded window would be of its padding alone, more often than not.
            longest = round(WINDOW_SECONDS / architecture.head_frame_seconds)
        stages.append(Stage(recipe.epochs, top, seen, network.forward_from_top, groups, longest))
    if adapters:
        groups = [
            (head, recipe.head_lr * recipe.second_stage, recipe.head_decay),
            (adapters, recipe.lora_lr, recipe.lora_decay),
        ]
        longest = _crop_frames(recipe, architecture.frame_seconds)
        stages.append(Stage(recipe.lora_epochs, training, dev, network.forward, groups, longest))
    return stages


def _crop_frames(recipe: Recipe, frame_seconds: float) -> int:
    """Frames of a crop, where they are ``frame_seconds`` apart."""
    return max(1, round(min(recipe.crop_seconds, WINDOW_SECONDS) / frame_seconds))
