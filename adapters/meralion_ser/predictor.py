"""The proposed model as a benchmark system: trained per fold, from cached encoder frames or from log-mel."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adapters.meralion_ser.answers import answers_of
from adapters.meralion_ser.dimension_matching import matched
from adapters.meralion_ser.front_end import FrontEnd, training_front_end
from adapters.meralion_ser.network.architecture import build_network
from adapters.meralion_ser.network.frames import checked, clip_frames
from adapters.meralion_ser.training.augmentation import AudioViews
from adapters.meralion_ser.training.batches import LabelledFrames, described, joined
from adapters.meralion_ser.training.loop import TrainingRun, load_checkpoint, train
from adapters.meralion_ser.training.losses import HybridWeights, class_weights
from adapters.meralion_ser.training.recipe import check_seed, settled
from adapters.meralion_ser.training.session import TrainingSession
from adapters.meralion_ser.training.stages import FrameNetwork, build_stages
from adapters.meralion_ser.training.targets import TrainableTargets
from bench.errors import CannotRun, UsageError
from bench.protocols import Answers, Array, Clips, Examples, FitContext, Weights
from bench.storage.hashing import hash_json
from bench.storage.source_code import closure_hash


class MeralionSerPredictor:
    """Learns categories and dimensions from one fold's training clips. A :class:`bench.protocols.Predictor`.

    On one machine one seed, the same clips and the same number of threads give the same bytes; a fit that was killed goes
    on from its last epoch and ends at the same bytes.

    Args:
        encoder: see :class:`Architecture`.
        weights: the encoder's folder; None where it needs none.
        settings: the fields of :class:`Architecture` and of :class:`Recipe`, flat, as a card's ``params``.

    Raises:
        UsageError: settings that do not exist, are none, or contradict each other.
        CannotRun: an encoder without weights.
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

        Args:
            train: clips, labels and dimensions of the training speakers.
            dev: those of the speakers that epochs are chosen on.
            context: labels on offer, seed, device, stored features and the folder of checkpoints.

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

        keep(
            folder,
            self._model,
            self._architecture,
            [checkpoint.state for checkpoint in self._session.checkpoints],
            weights=self._weights,
            matching=self._matching,
            learns_dimensions=any(self._targets.dimensions),
            feature_params=self._context.feature_params,
        )
        return "adapters.meralion_ser:TrainedSer"

    def predict(self, clips: Clips) -> Answers:
        """Probabilities and dimensions, averaged over a long clip's windows and over the kept epochs.

        A clip that the frozen encoder could not take is answered ``failed``.
        """
        frames = [self._stored(clips, i) for i in range(len(clips))]
        encoded = [i for i, f in enumerate(frames) if f is not None]
        probabilities = np.full((len(clips), self._model.config.num_labels), np.nan)
        dimensions = np.full((len(clips), 3), np.nan)
        p, d = self._averaged([f for f in frames if f is not None])
        probabilities[encoded], dimensions[encoded] = p, d
        if self._matching is not None:
            offset, scale = self._matching
            dimensions = np.clip(offset + scale * dimensions, 0.0, 1.0)
        return self._as_answers(probabilities, dimensions)

    def _averaged(self, frames: Sequence[Tensor]) -> tuple[Array, Array]:
        """Probabilities (clips, labels) and dimensions (clips, 3), averaged over the kept epochs."""
        probabilities = np.zeros((len(frames), self._model.config.num_labels))
        dimensions = np.zeros((len(frames), 3))
        self._model.eval()
        for checkpoint in self._session.checkpoints:
            load_checkpoint(self._model, checkpoint)
            for index, own in enumerate(frames):
                p, d = self._network.predict(own)
                probabilities[index] += p / len(self._session.checkpoints)
                dimensions[index] += d / len(self._session.checkpoints)
        return probabilities, dimensions

    def _matched(self, training: LabelledFrames) -> tuple[Array, Array]:
        _, predicted = self._averaged(training.frames)
        return matched(predicted, training.dimensions.double().numpy())

    def _fit(self, train_examples: Examples, dev_examples: Examples, context: FitContext) -> None:
        self._context, self._states = context, 1
        training, dev = self._training_clips(train_examples), self._training_clips(dev_examples)
        left_out = len(train_examples) + len(dev_examples) - len(training) - len(dev)
        if self._recipe.dev == "train":
            training = joined(training, dev)
        self._targets = TrainableTargets.of(training, self._recipe)
        judged = self._targets.judging(dev) if self._recipe.dev == "select" else None
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
        self._model.config.learnt_dimensions = self._targets.answered()
        if self._recipe.checkpointing:
            self._model.gradient_checkpointing_enable()
        self._model.to(context.device)
        self._network = FrameNetwork(self._model, self._architecture, context.device)
        run = self._run(training, judged)
        self._session = train(run, TrainingSession(np.random.default_rng(context.seed)))
        self._matching = self._matched(training) if self._recipe.match_dimensions else None
        self._notes = self._fit_notes(training, judged is not None, left_out)

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
        front_end = self._front_end()
        places = {x: (part.clips, i) for part in examples for i, x in enumerate(part.clips.ids)}
        views = []
        for clip in clips.ids:
            own, index = places[clip]
            made = takes(own.read(index), own.pcm_hashes[index])
            views.append(tuple(checked(front_end(take), clip) for take in made))
        return dataclasses.replace(clips, views=tuple(views))

    def _front_end(self) -> FrontEnd:
        return training_front_end(
            self._architecture, self._weights, self._context.feature_params, self._context.device
        )

    @functools.cached_property
    def _audio_front_end(self) -> FrontEnd:
        """Where clips are read from their audio: what it depends on is the same in every fit."""
        return self._front_end()

    def _stored(self, clips: Clips, index: int) -> Tensor | None:
        features = self._context.features
        if self._architecture.reads_audio:
            return checked(self._audio_front_end(clips.read(index)), clips.ids[index])
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
            stages=build_stages(self._network, recipe, training, dev),
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

    def _as_answers(self, probabilities: Array, dimensions: Array) -> Answers:
        return answers_of(
            self._context.labels,
            probabilities,
            dimensions,
            learnt=self._targets.dimensions,
            notes=self._notes,
        )

    def _fit_notes(self, training: LabelledFrames, chooses: bool, left_out: int) -> dict[str, Any]:
        """What a report should know of the fit."""
        named = [(name, p.numel()) for name, p in self._model.named_parameters() if p.requires_grad]
        session = self._session
        return {
            "parameters": sum(p.numel() for p in self._model.parameters()),
            "trainable_parameters": sum(count for _, count in named),
            "lora_parameters": sum(count for name, count in named if ".lora_" in name),
            "epochs": session.epoch,
            "epochs_averaged": [checkpoint.epoch for checkpoint in session.checkpoints],
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
            "dimensions_learned": any(self._targets.dimensions),
            "dimensions_without_answer": self._targets.unanswered(),
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

    @property
    def _classes(self) -> int:
        return int(self._model.config.num_labels)
