"""The proposed model as a benchmark system: trained per fold, from cached encoder frames or from log-mel."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adapters.meralion_ser.answers import answers_of
from adapters.meralion_ser.dimension_matching import matched
from adapters.meralion_ser.network import whisper_layers
from adapters.meralion_ser.network.architecture import WINDOW_SECONDS, build_network
from adapters.meralion_ser.network.frames import (
    WhisperMel,
    checked,
    clip_frames,
    frame_statistics,
    log_mel,
    padded_mel,
    stored_frames,
    windows,
)
from adapters.meralion_ser.network.model import MeralionSerOutput
from adapters.meralion_ser.training.augmentation import AudioViews
from adapters.meralion_ser.training.batches import LabelledFrames, described, joined
from adapters.meralion_ser.training.loop import Stage, TrainingRun, load_kept, train
from adapters.meralion_ser.training.losses import HybridWeights, class_weights
from adapters.meralion_ser.training.recipe import check_seed, settled
from adapters.meralion_ser.training.session import TrainingSession
from adapters.meralion_ser.training.targets import Learnable
from adapters.transformers_encoder import TransformersEncoder
from bench.errors import CannotRun, UsageError
from bench.protocols import Answers, Array, Clips, Examples, FitContext, Waveform, Weights
from bench.storage.hashing import hash_json
from bench.storage.source_code import closure_hash


class MeralionSerPredictor:
    """Learns categories and dimensions from one fold's training clips. A :class:`bench.protocols.Predictor`.

    Keyword arguments are the fields of :class:`Architecture` and of :class:`Recipe`, flat, as a card's ``params``.
    On one machine one seed, the same clips and the same number of threads give the same bytes; a fit that was killed goes
    on from its last epoch and ends at the same bytes.
    """

    def __init__(self, *, encoder: str, weights: Weights | None = None, **settings: Any) -> None:
        self._architecture, self._recipe = settled(encoder, settings)
        if self._architecture.has_blocks and weights is None:
            raise CannotRun(
                f"encoder {encoder!r} needs weights: name them on the system card (weights: local, hub)"
            )
        self._weights = weights

    def fit(self, train: Examples, dev: Examples, context: FitContext) -> None:
        """Learn from ``train``, and choose epochs on ``dev`` or learn from it too, as the recipe says.

        Raises:
            DataError: no clip to learn from, or a loss that is no number (the clips are named).
            CannotRun: the encoder's stored features are not given.
            UsageError: stored features of another layer than ``stored_layer``, a seed that is none.
        """
        check_seed(context.seed)
        self._architecture.check_stored(context.feature_params, self._weights)
        devices = [context.device] if context.device.startswith("cuda") else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(context.seed)
            self._fit(train, dev, context)

    @property
    def notes(self) -> dict[str, Any]:
        """What a report should know of the fit."""
        return dict(self._notes)

    def require_keepable(self) -> None:
        """Raise :class:`UsageError` where :meth:`save` would, before anything is trained."""
        from adapters.meralion_ser.trained import check_keepable

        check_keepable(self._architecture)

    def save(self, folder: Path) -> str:
        """Keep what was learnt as a Hugging Face folder; return the adapter that answers from it.

        Raises :class:`UsageError` where the encoder is not part of the network.
        """
        from adapters.meralion_ser.trained import keep

        kept = [k.state for k in self._session.kept]
        keep(
            folder,
            self._model,
            self._architecture,
            kept,
            self._weights,
            self._matching,
            any(self._learnable.dimensions),
            self._context.feature_params,
        )
        return "adapters.meralion_ser:TrainedSer"

    def predict(self, clips: Clips) -> Answers:
        """Probabilities and dimensions, averaged over a long clip's windows and over the kept epochs.

        A clip that the frozen encoder could not take is answered ``failed``.
        """
        frames = [self._stored(clips, i) for i in range(len(clips))]
        answered = [i for i, f in enumerate(frames) if f is not None]
        probabilities = np.full((len(clips), self._model.config.num_labels), np.nan)
        dimensions = np.full((len(clips), 3), np.nan)
        p, d = self._averaged([f for f in frames if f is not None])
        probabilities[answered], dimensions[answered] = p, d
        if self._matching is not None:
            offset, scale = self._matching
            dimensions = np.clip(offset + scale * dimensions, 0.0, 1.0)
        return self._answers(probabilities, dimensions)

    def _averaged(self, frames: Sequence[Tensor]) -> tuple[Array, Array]:
        """Probabilities (clips, labels) and dimensions (clips, 3), averaged over the kept epochs."""
        probabilities = np.zeros((len(frames), self._model.config.num_labels))
        dimensions = np.zeros((len(frames), 3))
        self._model.eval()
        for kept in self._session.kept:
            load_kept(self._model, kept)
            for index, own in enumerate(frames):
                p, d = self._answer(own)
                probabilities[index] += p / len(self._session.kept)
                dimensions[index] += d / len(self._session.kept)
        return probabilities, dimensions

    def _matched(self, training: LabelledFrames) -> tuple[Array, Array]:
        _, said = self._averaged(training.frames)
        return matched(said, training.dimensions.double().numpy())

    def _fit(self, train_examples: Examples, dev_examples: Examples, context: FitContext) -> None:
        self._context, self._states = context, 1
        training, dev = self._training_clips(train_examples), self._training_clips(dev_examples)
        left_out = len(train_examples) + len(dev_examples) - len(training) - len(dev)
        if self._recipe.dev == "train":
            training = joined(training, dev)
        self._learnable = Learnable.of(training, self._recipe)
        judged = self._learnable.judging(dev) if self._recipe.dev == "select" else None
        sizes = sorted({f.shape[1] for f in training.frames})
        if len(sizes) > 1:
            raise UsageError(
                f"the store holds frames of {' and of '.join(map(str, sizes))} values; they are of different features or layers"
            )
        training = self._with_views(training, (train_examples, dev_examples))
        self._model = build_network(
            self._architecture, context.labels, self._weights, training.frames[0].shape[1], self._states
        )
        # Beside the weights, for whoever reads the kept folder: of the others the network gives untrained numbers.
        self._model.config.learnt_dimensions = self._learnable.answered()
        if self._recipe.checkpointing:
            self._model.gradient_checkpointing_enable()
        self._model.to(context.device)
        run = self._run(training, judged)
        self._session = train(run, TrainingSession(np.random.default_rng(context.seed)))
        self._matching = self._matched(training) if self._recipe.match_dimensions else None
        self._notes = self._told(training, judged is not None, left_out)

    def _training_clips(self, examples: Examples) -> LabelledFrames:
        frames = [self._stored(examples.clips, i) for i in range(len(examples))]
        usable = [i for i, f in enumerate(frames) if f is not None]
        position = {label: index for index, label in enumerate(self._context.labels)}
        categories = [position[label] if (label := examples.labels[i]) is not None else -1 for i in usable]
        dimensions = np.asarray(examples.dimensions, dtype=np.float32).reshape(-1, 3)[usable]
        soft = examples.soft_labels if self._recipe.soft_labels else None
        return LabelledFrames(
            tuple(examples.clips.ids[i] for i in usable),
            tuple(f for f in frames if f is not None),
            torch.tensor(categories, dtype=torch.long),
            torch.from_numpy(dimensions if self._context.dimensions else np.full_like(dimensions, np.nan)),
            soft=None if soft is None else torch.from_numpy(soft[usable].astype(np.float32)),
            sources=tuple(examples.speakers[i].partition("/")[0] for i in usable),
            silence=self._architecture.pads_with_silence,
        )

    def _with_views(self, clips: LabelledFrames, examples: Sequence[Examples]) -> LabelledFrames:
        """Add further takes of each clip's audio, through the same frozen encoder as the clip's own frames."""
        if not self._recipe.views:
            return clips
        takes = AudioViews(self._recipe.views, noise_folder=self._recipe.noise_folder)
        see = self._hearing()
        places = {x: (part.clips, i) for part in examples for i, x in enumerate(part.clips.ids)}
        views = []
        for clip in clips.ids:
            own, index = places[clip]
            made = takes(own.read(index), own.pcm_hashes[index])
            views.append(tuple(checked(see(take), clip) for take in made))
        return dataclasses.replace(clips, views=tuple(views))

    def _hearing(self) -> Callable[[Waveform], Tensor]:
        """How a waveform becomes frames here: as the feature store's encoder would have it."""
        chosen = self._architecture
        if chosen.encoder == "logmel":
            return log_mel
        if chosen.from_mel:
            return self._mel
        if chosen.stored_layer is None or self._weights is None:
            raise UsageError(
                "views needs an encoder that can be run here: encoder 'whisper', 'backbone' or 'logmel'"
            )
        # As the stored frames were made: of the padded window, where they were.
        told = self._context.feature_params or {}
        same = {name: told[name] for name in ("input", "dtype") if name in told}
        encoder = TransformersEncoder(
            self._weights, layers=[chosen.stored_layer], device=self._context.device, **same
        )
        return lambda waveform: stored_frames(encoder.encode([waveform])[0])

    @functools.cached_property
    def _mel(self) -> WhisperMel:
        assert self._weights is not None
        return WhisperMel.of(self._weights.folder)

    def _stored(self, clips: Clips, index: int) -> Tensor | None:
        features = self._context.features
        if self._architecture.encoder == "logmel":
            return clip_frames(clips, index, None)
        if self._architecture.from_mel:
            return checked(self._mel(clips.read(index)), clips.ids[index])
        if features is None:
            raise CannotRun(
                f"encoder {self._architecture.encoder!r} reads stored frames: give the card a features section "
                "with params.layers, and pooled: false"
            )
        frames = clip_frames(clips, index, features)
        if frames is not None:
            self._states = len(features[clips.pcm_hashes[index]])
            if self._states > 1 and self._architecture.has_blocks:
                raise UsageError(
                    f"encoder {self._architecture.encoder!r} goes on from one stored layer, and features.params.layers "
                    f"holds {self._states}"
                )
        return frames

    def _run(self, training: LabelledFrames, dev: LabelledFrames | None) -> TrainingRun:
        recipe, context = self._recipe, self._context
        balance = class_weights([c if c >= 0 else None for c in training.categories.tolist()], self._classes)
        return TrainingRun(
            model=self._model,
            stages=self._stages(training, dev),
            recipe=recipe,
            weights=HybridWeights(
                balance if recipe.balanced else None,
                recipe.category_weight,
                recipe.dimension_weight,
                recipe.label_smoothing,
                recipe.focal,
            ),
            classes=self._classes,
            device=context.device,
            folder=context.workdir,
            fingerprint=self._fingerprint(training, dev),
            progress=context.progress,
            log=context.log,
        )

    def _stages(self, training: LabelledFrames, dev: LabelledFrames | None) -> list[Stage]:
        """First the head on the frozen top layer; then, with LoRA, everything from the stored layer up."""
        recipe = self._recipe
        named = [(name, p) for name, p in self._model.named_parameters() if p.requires_grad]
        head = [p for name, p in named if ".lora_" not in name]
        adapters = [p for name, p in named if ".lora_" in name]
        top = self._seen_by_head(training)
        if self._architecture.standardise:
            mean, std = frame_statistics(frames for takes in (top.frames, *top.views) for frames in takes)
            self._model.standardise.mean.copy_(mean)
            self._model.standardise.std.copy_(std)
        stages = []
        if recipe.epochs:
            seen = None if dev is None else self._seen_by_head(dev)
            groups = [(head, recipe.head_lr, recipe.head_decay)]
            longest = self._longest(self._architecture.head_frame_seconds)
            if self._architecture.frames == "all":
                # A crop out of a padded window would be of its padding alone, more often than not.
                longest = round(WINDOW_SECONDS / self._architecture.head_frame_seconds)
            stages.append(Stage(recipe.epochs, top, seen, self._from_top, groups, longest))
        if adapters:
            groups = [
                (head, recipe.head_lr * recipe.second_stage, recipe.head_decay),
                (adapters, recipe.lora_lr, recipe.lora_decay),
            ]
            longest = self._longest(self._architecture.frame_seconds)
            stages.append(Stage(recipe.lora_epochs, training, dev, self._forward, groups, longest))
        return stages

    def _longest(self, frame_seconds: float) -> int:
        """Frames of a crop, where they are ``frame_seconds`` apart."""
        return max(1, round(min(self._recipe.crop_seconds, WINDOW_SECONDS) / frame_seconds))

    def _seen_by_head(self, clips: LabelledFrames) -> LabelledFrames:
        return dataclasses.replace(clips.through(self._top_frames), silence=False)

    def _top_frames(self, stored: Tensor) -> Tensor:
        """Frames (frames, dims) of the layer that the head reads, from those that come in: the frozen prefix, once."""
        if not self._architecture.has_blocks:
            return stored
        self._model.eval()
        with torch.no_grad():
            parts = [
                self._encoded(part[None].to(self._context.device))[0].cpu() for part in self._windows(stored)
            ]
        return torch.cat(parts)

    def _encoded(self, frames: Tensor) -> Tensor:
        """Frozen output (1, frames, dims) that the head reads, of one clip's window."""
        if not self._architecture.from_mel:
            return self._model.encode_from(frames, self._stored_layer)
        own = frames.shape[1]
        frames = self._padded(frames)
        hidden = whisper_layers.stem(self._model.whisper.encoder, frames.transpose(1, 2), None)
        hidden = self._model.encode_from(hidden, 0)
        return hidden if self._architecture.frames == "all" else hidden[:, : (own + 1) // 2]

    def _padded(self, mel: Tensor) -> Tensor:
        if self._architecture.frames == "own":
            return mel
        return padded_mel(mel, 2 * int(self._model.whisper.encoder.config.max_source_positions))

    def _from_top(self, network: nn.Module, frames: Tensor, lengths: Tensor | None) -> MeralionSerOutput:
        answer = network(states=frames, states_layer=self._top, lengths=lengths)
        assert isinstance(answer, MeralionSerOutput)
        return answer

    def _forward(self, network: nn.Module, frames: Tensor, lengths: Tensor | None) -> MeralionSerOutput:
        """Answer from the frames that come in: log-mel, or a stored hidden state."""
        if self._architecture.from_mel:
            if lengths is None:
                lengths = torch.full((len(frames),), frames.shape[1], device=frames.device)
            answer = network(self._padded(frames).transpose(1, 2), lengths)
        else:
            answer = network(states=frames, states_layer=self._stored_layer, lengths=lengths)
        assert isinstance(answer, MeralionSerOutput)
        return answer

    @property
    def _top(self) -> int:
        return self._model.top_layer if self._architecture.has_blocks else 0

    def _answer(self, stored: Tensor) -> tuple[Array, Array]:
        """Mean probabilities (labels,) and dimensions (3,) over a clip's windows."""
        with torch.inference_mode():
            answers = [
                self._forward(self._model, part[None].to(self._context.device), None)
                for part in self._windows(stored)
            ]
            p = torch.stack([a.logits[0].double().softmax(dim=0) for a in answers]).mean(dim=0)
            d = torch.stack([a.dimensions[0].double() for a in answers]).mean(dim=0)
        return p.cpu().numpy(), d.cpu().numpy()

    def _answers(self, probabilities: Array, dimensions: Array) -> Answers:
        return answers_of(
            self._context.labels,
            probabilities,
            dimensions,
            learnt=self._learnable.dimensions,
            notes=self._notes,
        )

    def _told(self, training: LabelledFrames, chooses: bool, left_out: int) -> dict[str, Any]:
        """What a report should know of the fit."""
        named = [(name, p.numel()) for name, p in self._model.named_parameters() if p.requires_grad]
        session = self._session
        return {
            "parameters": sum(p.numel() for p in self._model.parameters()),
            "trainable_parameters": sum(count for _, count in named),
            "lora_parameters": sum(count for name, count in named if ".lora_" in name),
            "epochs": session.epoch,
            "epochs_averaged": [kept.epoch for kept in session.kept],
            "training_loss": session.losses[-1],
            "training_losses": [round(x, 5) for x in session.losses],
            "dev_losses": [round(x, 5) for x in session.dev_losses],
            "dev_loss": min(session.dev_losses) if chooses else None,
            "chosen_on_dev": chooses,
            "training_clips": len(training),
            "clips_without_features": left_out,
            "classes_without_training_clip": [
                label
                for index, label in enumerate(self._context.labels)
                if not bool((training.categories == index).any())
            ],
            "dimensions_learned": any(self._learnable.dimensions),
            "dimensions_without_answer": self._learnable.unanswered(),
            **(
                {}
                if self._matching is None
                else {"dimension_scales": [round(float(x), 4) for x in self._matching[1]]}
            ),
        }

    def _fingerprint(self, training: LabelledFrames, dev: LabelledFrames | None) -> str:
        """Name this fit: a checkpoint of any other, or of other code, is not gone on from."""
        return hash_json(
            {
                "architecture": dataclasses.asdict(self._architecture),
                "recipe": dataclasses.asdict(self._recipe),
                "labels": self._context.labels,
                "seed": self._context.seed,
                "features": self._context.feature_params,
                "weights": self._weights.content_hash if self._weights else None,
                "clips": [described(part) for part in (training, dev) if part is not None],
                "code": closure_hash("adapters.meralion_ser"),
                "torch": torch.__version__,
            }
        )

    def _windows(self, frames: Tensor) -> Iterator[Tensor]:
        return iter(windows(frames, round(WINDOW_SECONDS / self._architecture.frame_seconds)))

    @property
    def _stored_layer(self) -> int:
        return self._architecture.stored_layer or 0

    @property
    def _classes(self) -> int:
        return int(self._model.config.num_labels)
