"""The proposed model as a benchmark system: trained per fold, from cached encoder frames or from log-mel."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adapters.meralion_ser import released
from adapters.meralion_ser.batches import LabelledFrames
from adapters.meralion_ser.checkpoints import Session
from adapters.meralion_ser.configuration import MeralionSerConfig
from adapters.meralion_ser.frames import MELS, clip_frames, frame_statistics, windows
from adapters.meralion_ser.losses import HybridWeights, class_weights
from adapters.meralion_ser.network import MeralionSer, MeralionSerOutput
from adapters.meralion_ser.training import Recipe, Run, Stage, load_kept, train
from bench.errors import CannotRun, DataError, UsageError, nearest
from bench.identity import hash_json, source_hash
from bench.protocols import Answers, Array, Clips, Examples, FitContext, Weights

_LOG_MEL_SECONDS, _ENCODER_SECONDS = 0.01, 0.02
_WINDOW_SECONDS = 30.0


@dataclass(frozen=True)
class Architecture:
    """What the card says of the network; the rest follows from the encoder's weights and the task.

    ``encoder``: ``whisper`` (stored frames of ``stored_layer`` go on to ``layer`` through Whisper's own blocks,
    which LoRA may adapt), ``features`` (any encoder's stored frames, as they are) or ``logmel`` (no weights).
    """

    encoder: str
    layer: int | None = None
    stored_layer: int | None = None
    frame_stack: int = 1
    channels: int = 128
    channels_per_group: int | None = 16
    standardise: bool = True
    init_scheme: str = "few_clips"
    dropout: float = 0.2
    embedding_dropout: float = 0.3
    lora_rank: int = 0
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.encoder not in ("whisper", "features", "logmel"):
            raise UsageError(f"encoder is {self.encoder!r}; use 'whisper', 'features' or 'logmel'")
        if self.encoder == "whisper" and (self.layer is None or self.stored_layer is None):
            raise UsageError(
                "encoder 'whisper' needs layer and stored_layer (the one in features.params.layers)"
            )
        if self.stored_layer is not None and self.layer is not None and self.stored_layer > self.layer:
            raise UsageError(
                f"stored_layer {self.stored_layer} lies above layer {self.layer}, which the head reads"
            )
        if self.lora_rank and (self.encoder != "whisper" or self.stored_layer == self.layer):
            raise UsageError(
                "lora_rank needs encoder 'whisper' and a stored_layer below layer: nothing to adapt"
            )


class MeralionSerPredictor:
    """Learns categories and dimensions from one fold's training clips. A :class:`bench.protocols.Predictor`.

    Keyword arguments are the fields of :class:`Architecture` and of :class:`Recipe`, flat, as a card's ``params``.
    One seed, the same clips and the same number of threads give the same bytes; a fit that was killed goes on from
    its last epoch and ends at the same bytes.
    """

    def __init__(self, *, encoder: str, weights: Weights | None = None, **settings: Any) -> None:
        self._architecture = Architecture(encoder=encoder, **_taken(settings, Architecture))
        self._recipe = Recipe(**_taken(settings, Recipe))
        if settings:
            known = [f.name for kind in (Architecture, Recipe) for f in dataclasses.fields(kind)]
            raise UsageError(f"no parameter {next(iter(settings))!r}; {nearest(next(iter(settings)), known)}")
        if bool(self._architecture.lora_rank) != bool(self._recipe.lora_epochs):
            raise UsageError("lora_rank and lora_epochs go together: both above 0, or both 0")
        if encoder == "whisper" and weights is None:
            raise CannotRun(
                "encoder 'whisper' needs weights: name them on the system card (weights: local, hub)"
            )
        self._weights = weights

    def fit(self, train: Examples, dev: Examples, context: FitContext) -> None:
        """Learn from ``train``, and choose epochs on ``dev`` or learn from it too, as the recipe says.

        Raises:
            DataError: no clip to learn from, or a loss that is no number (the clips are named).
            CannotRun: the encoder's stored features are not given.
        """
        devices = [context.device] if context.device.startswith("cuda") else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(context.seed)
            self._fit(train, dev, context)

    def predict(self, clips: Clips) -> Answers:
        """Probabilities and dimensions, averaged over a long clip's windows and over the kept epochs.

        A clip that the frozen encoder could not take is answered ``failed``.
        """
        frames = [self._stored(clips, i) for i in range(len(clips))]
        answered = [i for i, f in enumerate(frames) if f is not None]
        probabilities = np.full((len(clips), self._model.config.num_labels), np.nan)
        dimensions = np.full((len(clips), 3), np.nan)
        probabilities[answered], dimensions[answered] = 0.0, 0.0
        self._model.eval()
        for kept in self._session.kept:
            load_kept(self._model, kept)
            for index in answered:
                p, d = self._answer(frames[index])
                probabilities[index] += p / len(self._session.kept)
                dimensions[index] += d / len(self._session.kept)
        return self._answers(probabilities, dimensions)

    def _fit(self, train_examples: Examples, dev_examples: Examples, context: FitContext) -> None:
        self._context = context
        training, dev = self._training_clips(train_examples), self._training_clips(dev_examples)
        left_out = len(train_examples) + len(dev_examples) - len(training) - len(dev)
        chooses = self._recipe.dev == "select" and _has_labels(dev)
        if self._recipe.dev == "train":
            training = _joined(training, dev)
        if not _has_labels(training):
            raise DataError("no training clip carries a category or a dimension: there is nothing to learn")
        self._learns_dimensions = bool((~torch.isnan(training.dimensions)).any())
        if self._recipe.category_weight == 0 and not self._learns_dimensions:
            raise DataError(
                "category_weight is 0 and no training clip carries a dimension: raise category_weight"
            )
        self._model = self._build(training.frames[0].shape[1])
        self._model.to(context.device)
        run = self._run(training, dev if chooses else None)
        self._session = train(run, Session(np.random.default_rng(context.seed)))
        self._notes = self._told(training, chooses, left_out)

    def _training_clips(self, examples: Examples) -> LabelledFrames:
        frames = [self._stored(examples.clips, i) for i in range(len(examples))]
        usable = [i for i, f in enumerate(frames) if f is not None]
        position = {label: index for index, label in enumerate(self._context.labels)}
        categories = [position[label] if (label := examples.labels[i]) is not None else -1 for i in usable]
        dimensions = np.asarray(examples.dimensions, dtype=np.float32).reshape(-1, 3)[usable]
        return LabelledFrames(
            tuple(examples.clips.ids[i] for i in usable),
            tuple(f for f in frames if f is not None),
            torch.tensor(categories, dtype=torch.long),
            torch.from_numpy(dimensions if self._context.dimensions else np.full_like(dimensions, np.nan)),
        )

    def _stored(self, clips: Clips, index: int) -> Tensor | None:
        features = self._context.features
        if self._architecture.encoder == "logmel":
            return clip_frames(clips, index, None)
        if features is None:
            raise CannotRun(
                f"encoder {self._architecture.encoder!r} reads stored frames: give the card a features section "
                "with one layer and pooled: false"
            )
        return clip_frames(clips, index, features)

    def _build(self, frame_dims: int) -> MeralionSer:
        chosen, labels = self._architecture, self._context.labels or ("none",)
        inside: dict[str, Any] = {
            "encoder": "none",
            "input_dim": MELS if chosen.encoder == "logmel" else frame_dims,
            "frame_stack": chosen.frame_stack,
        }
        if chosen.encoder == "whisper":
            assert self._weights is not None
            inside = {
                "encoder": "whisper",
                "whisper": released.whisper_fields(self._weights.folder),
                "layer": chosen.layer,
                "lora_rank": chosen.lora_rank,
                "lora_alpha": chosen.lora_alpha,
                "lora_dropout": chosen.lora_dropout,
                "lora_layers": list(range(self._stored_layer + 1, (chosen.layer or 0) + 1)),
            }
        model = MeralionSer(
            MeralionSerConfig(
                **inside,
                frames="own",
                channels=chosen.channels,
                channels_per_group=chosen.channels_per_group,
                standardise=chosen.standardise,
                init_scheme=chosen.init_scheme,
                dropout=chosen.dropout,
                embedding_dropout=chosen.embedding_dropout,
                id2label=dict(enumerate(labels)),
            )
        )
        if chosen.encoder == "whisper":
            assert self._weights is not None
            released.load_whisper_encoder(model, self._weights.folder)
            model.whisper.requires_grad_(False)
        if chosen.lora_rank:
            model.add_lora()
        return model

    def _run(self, training: LabelledFrames, dev: LabelledFrames | None) -> Run:
        recipe, context = self._recipe, self._context
        balance = class_weights([c if c >= 0 else None for c in training.categories.tolist()], self._classes)
        seconds = _LOG_MEL_SECONDS if self._architecture.encoder == "logmel" else _ENCODER_SECONDS
        return Run(
            model=self._model,
            stages=self._stages(training, dev),
            recipe=recipe,
            weights=HybridWeights(
                balance if recipe.balanced else None,
                recipe.category_weight,
                recipe.dimension_weight,
                recipe.label_smoothing,
            ),
            classes=self._classes,
            longest=max(1, round(min(recipe.crop_seconds, _WINDOW_SECONDS) / seconds)),
            device=context.device,
            folder=context.workdir,
            fingerprint=self._fingerprint(training, dev),
            progress=context.progress,
        )

    def _stages(self, training: LabelledFrames, dev: LabelledFrames | None) -> list[Stage]:
        """First the head on the frozen top layer; then, with LoRA, everything from the stored layer up."""
        recipe = self._recipe
        named = [(name, p) for name, p in self._model.named_parameters() if p.requires_grad]
        head = [p for name, p in named if ".lora_" not in name]
        adapters = [p for name, p in named if ".lora_" in name]
        top = training.with_frames(list(map(self._top_frames, training.frames)))
        if self._architecture.standardise:
            mean, std = frame_statistics(top.frames)
            self._model.standardise.mean.copy_(mean)
            self._model.standardise.std.copy_(std)
        stages = [
            Stage(
                recipe.epochs,
                top,
                None if dev is None else dev.with_frames(list(map(self._top_frames, dev.frames))),
                self._model.head,
                [(head, recipe.head_lr, recipe.head_decay)],
            )
        ]
        if adapters:
            groups = [
                (head, recipe.head_lr * recipe.second_stage, recipe.head_decay),
                (adapters, recipe.lora_lr, recipe.lora_decay),
            ]
            stages.append(Stage(recipe.lora_epochs, training, dev, self._from_stored, groups))
        return stages

    def _top_frames(self, stored: Tensor) -> Tensor:
        """Frames (frames, dims) of the layer that the head reads, from the stored ones."""
        if self._architecture.encoder != "whisper":
            return stored
        self._model.eval()
        with torch.no_grad():
            parts = [
                self._model.encode_from(part[None].to(self._context.device), self._stored_layer)[0].cpu()
                for part in self._windows(stored)
            ]
        return torch.cat(parts)

    def _from_stored(self, frames: Tensor, lengths: Tensor | None) -> MeralionSerOutput:
        answer = self._model(states=frames, states_layer=self._stored_layer, lengths=lengths)
        assert isinstance(answer, MeralionSerOutput)
        return answer

    def _answer(self, stored: Tensor | None) -> tuple[Array, Array]:
        """Mean probabilities (labels,) and dimensions (3,) over a clip's windows."""
        assert stored is not None
        with torch.inference_mode():
            answers = [
                self._from_stored(part[None].to(self._context.device), None) for part in self._windows(stored)
            ]
            p = torch.stack([a.logits[0].double().softmax(dim=0) for a in answers]).mean(dim=0)
            d = torch.stack([a.dimensions[0].double() for a in answers]).mean(dim=0)
        return p.cpu().numpy(), d.cpu().numpy()

    def _answers(self, probabilities: Array, dimensions: Array) -> Answers:
        labels, ok = self._context.labels, ~np.isnan(probabilities[:, 0])
        best = np.nan_to_num(probabilities).argmax(axis=1)
        return Answers(
            statuses=tuple("ok" if good else "failed" for good in ok),
            labels=tuple(labels[b] if good and labels else None for b, good in zip(best, ok, strict=True)),
            probabilities=probabilities if labels else None,
            dimensions=dimensions if self._learns_dimensions else None,
            notes=dict(self._notes),
        )

    def _told(self, training: LabelledFrames, chooses: bool, left_out: int) -> dict[str, Any]:
        """What a report should know of the fit."""
        named = [(name, p.numel()) for name, p in self._model.named_parameters() if p.requires_grad]
        session = self._session
        return {
            "trainable_parameters": sum(count for _, count in named),
            "lora_parameters": sum(count for name, count in named if ".lora_" in name),
            "epochs": session.epoch,
            "epochs_averaged": [kept.epoch for kept in session.kept],
            "training_loss": session.losses[-1],
            "dev_loss": min(session.dev_losses) if chooses else None,
            "chosen_on_dev": chooses,
            "training_clips": len(training),
            "clips_without_features": left_out,
            "classes_without_training_clip": [
                label
                for index, label in enumerate(self._context.labels)
                if not bool((training.categories == index).any())
            ],
            "dimensions_learned": self._learns_dimensions,
        }

    def _fingerprint(self, training: LabelledFrames, dev: LabelledFrames | None) -> str:
        """Name this fit: a checkpoint of any other, or of other code, is not gone on from."""
        said = [
            [part.ids, part.categories.tolist(), torch.nan_to_num(part.dimensions, nan=-1.0).tolist()]
            + [[len(f), float(f.double().sum())] for f in part.frames]
            for part in (training, dev)
            if part is not None
        ]
        return hash_json(
            {
                "architecture": dataclasses.asdict(self._architecture),
                "recipe": dataclasses.asdict(self._recipe),
                "labels": self._context.labels,
                "seed": self._context.seed,
                "weights": self._weights.content_hash if self._weights else None,
                "clips": said,
                "code": source_hash("adapters.meralion_ser"),
                "torch": torch.__version__,
            }
        )

    def _windows(self, frames: Tensor) -> Iterator[Tensor]:
        seconds = _LOG_MEL_SECONDS if self._architecture.encoder == "logmel" else _ENCODER_SECONDS
        return iter(windows(frames, round(_WINDOW_SECONDS / seconds)))

    @property
    def _stored_layer(self) -> int:
        return self._architecture.stored_layer or 0

    @property
    def _classes(self) -> int:
        return int(self._model.config.num_labels)


def _taken(settings: dict[str, Any], kind: type[Any]) -> Mapping[str, Any]:
    """Take the fields of a dataclass out of ``settings``."""
    return {f.name: settings.pop(f.name) for f in dataclasses.fields(kind) if f.name in settings}


def _has_labels(clips: LabelledFrames) -> bool:
    return bool((clips.categories >= 0).any()) or bool((~torch.isnan(clips.dimensions)).any())


def _joined(first: LabelledFrames, second: LabelledFrames) -> LabelledFrames:
    return LabelledFrames(
        first.ids + second.ids,
        first.frames + second.frames,
        torch.cat([first.categories, second.categories]),
        torch.cat([first.dimensions, second.dimensions]),
    )
