"""Trained networks as systems: what ``serbench train`` keeps, and the released checkpoint, answering zero-shot.

A folder holds ``model.safetensors`` and ``config.json`` (Hugging Face), the encoder's ``preprocessor_config.json``,
``serbench.json`` with what the network alone does not say, and ``epoch-2.safetensors`` and so on where several epochs are
averaged. A folder of the released layout (ARCHITECTURE.md of MERaLiON-SER-v1) answers as it is.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adapters.meralion_ser.answers import answers_of
from adapters.meralion_ser.class_names import shares
from adapters.meralion_ser.dimension_matching import matched
from adapters.meralion_ser.folder_facts import FolderFacts, read_facts
from adapters.meralion_ser.front_end import FRONT_END, network_front_end
from adapters.meralion_ser.network import lora
from adapters.meralion_ser.network.architecture import WINDOW_SECONDS, Architecture
from adapters.meralion_ser.network.frames import padded_mel, windows
from adapters.meralion_ser.network.model import MeralionSer
from adapters.meralion_ser.network.released_layout import load_strictly, read_file
from adapters.meralion_ser.training.session import State
from bench.errors import DataError, UsageError
from bench.protocols import DIMENSIONS, Answers, Array, Clips, Examples, FitContext, Weights

CLIPS_IN_MEMORY = 500
"""Clips whose frames are held while the kept epochs answer in turn: hidden states of 1,024 values are 0.2 MB a second."""


def check_keepable(architecture: Architecture) -> None:
    """Raise :class:`UsageError` for a network that could not answer from audio by itself: best before it is trained."""
    if architecture.encoder == "features":
        raise UsageError(
            "encoder 'features' is not part of the network, so the folder could not hear audio by itself; "
            "train with encoder 'whisper', 'backbone' or 'logmel'"
        )


def keep(
    folder: Path,
    model: MeralionSer,
    architecture: Architecture,
    checkpoints: Sequence[State],
    *,
    weights: Weights | None = None,
    matching: tuple[Array, Array] | None = None,
    learns_dimensions: bool = True,
    feature_params: Mapping[str, Any] | None = None,
) -> None:
    """Write a trained network and the epochs it averages, LoRA merged, all as safetensors.

    Args:
        folder: is made; epochs of an earlier training in it go.
        model: the network.
        architecture: what the card said of it.
        checkpoints: trained weights of each epoch that is averaged, the best first.
        weights: the encoder's folder, whose front end's configuration is copied.
        matching: offset and scale (3,) of the dimensions.
        learns_dimensions: whether it answers any.
        feature_params: those of the encoder whose stored frames it learnt from (``features.params`` of the card).

    Raises:
        UsageError: the encoder is not part of the network.
    """
    from safetensors.torch import save_file

    check_keepable(architecture)
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("epoch-*.safetensors"):
        stale.unlink()
    parameters = dict(model.named_parameters())
    for number, state in enumerate(checkpoints, start=1):
        with torch.no_grad():
            for name, tensor in state.items():
                parameters[name].copy_(tensor)
        if number == 1:
            model.save_pretrained(folder)
        else:
            merged = {name: t.contiguous().cpu() for name, t in lora.merged_state(model).items()}
            save_file(merged, folder / f"epoch-{number}.safetensors")
    for path in folder.glob("*.safetensors"):
        shutil.copymode(folder / "config.json", path)  # safetensors keeps what it writes from everybody else
    if weights is not None and (weights.folder / FRONT_END).is_file():
        shutil.copyfile(weights.folder / FRONT_END, folder / FRONT_END)
    window = str((feature_params or {}).get("input", "own"))
    FolderFacts(architecture, learns_dimensions, matching, window).write(folder)


class TrainedSer:
    """A trained network answering as it stands. A :class:`bench.protocols.Predictor` that learns nothing.

    Clips over 30 s are cut into windows of near-equal length, whose answers are averaged. Probabilities are those of the
    labels on offer, made to sum to one: what the network gives to a class that is not on offer is left out, and a label it
    does not know gets none. A network that was trained on dimensions alone answers these, and no label.

    Args:
        weights: a folder of :func:`keep`, or of the released layout.
        average: whether the kept epochs are averaged, or the best (the first) answers alone: two systems.
    """

    def __init__(self, *, weights: Weights, average: bool = True) -> None:
        self._folder, self._pickled = weights.folder, weights.pickled
        self._average = average

    def fit(self, train: Examples, dev: Examples, context: FitContext) -> None:
        """Load the network; ``train`` and ``dev`` are left alone.

        Args:
            train: clips of the training speakers.
            dev: those of the dev speakers.
            context: the labels on offer, and where the network runs.

        Raises:
            CannotRun: the folder holds no such network, its classes have names that nobody knows, or none of the labels
                on offer is one of its own.
            DataError: a checkpoint that does not fit, or cannot be read.
        """
        self._context = context
        facts = read_facts(self._folder)
        if facts is None:
            self._model = MeralionSer.from_released(self._folder, allow_pickle=self._pickled)
            facts = FolderFacts(Architecture(encoder="whisper", frames="all"))
        else:
            self._model = MeralionSer.from_trained(self._folder)
        self._facts = facts
        self._model.to(context.device)
        self._front_end = network_front_end(
            self._model, facts.architecture, facts.input, self._folder, context.device
        )
        self._shares = shares(self._names, context.labels)

    def predict(self, clips: Clips) -> Answers:
        """Answer each clip, averaged over its windows and, where asked for, over the kept epochs.

        A clip that cannot be heard, or to which the network answers no number, is ``failed``.
        """
        probabilities, dimensions = np.zeros((len(clips), self._classes)), np.zeros((len(clips), 3))
        failures: dict[int, str] = {}
        extra = sorted(self._folder.glob("epoch-*.safetensors")) if self._average else []
        for start in range(0, len(clips), CLIPS_IN_MEMORY):
            encoded, unencoded = self._encode(clips, range(start, min(start + CLIPS_IN_MEMORY, len(clips))))
            failures |= unencoded
            for path in (None, *extra):
                if path is not None:
                    self._load(path)
                for index, frames in encoded.items():
                    p, d = self._answer(frames)
                    probabilities[index] += p / (1 + len(extra))
                    dimensions[index] += d / (1 + len(extra))
            if extra:
                self._load(self._folder / "model.safetensors")
        probabilities[list(failures)] = dimensions[list(failures)] = np.nan
        return self._answers(probabilities, dimensions, 1 + len(extra), failures)

    @property
    def _classes(self) -> int:
        return int(self._model.config.num_labels)

    @property
    def _names(self) -> list[str]:
        named = {int(index): str(label) for index, label in (self._model.config.id2label or {}).items()}
        return [named[i] for i in range(self._classes)]

    @property
    def _learnt(self) -> list[bool]:
        """Which dimensions are answered: those that the config names, where it names them."""
        named = getattr(self._model.config, "learnt_dimensions", None)
        return [self._facts.dimensions and (named is None or name in named) for name in DIMENSIONS]

    def _encode(self, clips: Clips, rows: Iterable[int]) -> tuple[dict[int, Tensor], dict[int, str]]:
        """Frames of the clips that can be heard, and why the others cannot, by row."""
        encoded: dict[int, Tensor] = {}
        failures: dict[int, str] = {}
        for index in rows:
            try:
                frames = self._front_end(clips.read(index))
            except DataError as error:
                failures[index] = str(error)
                continue
            if bool(torch.isfinite(frames).all()):
                encoded[index] = frames
            else:
                failures[index] = "its frames hold NaN or infinity; listen to it, and re-encode it"
        return encoded, failures

    def _load(self, path: Path) -> None:
        load_strictly(self._model, read_file(path), path)
        self._model.to(self._context.device)

    def _answer(self, frames: Tensor) -> tuple[Array, Array]:
        parts = windows(frames, round(WINDOW_SECONDS / self._facts.architecture.frame_seconds))
        with torch.inference_mode():
            found = [self._of_window(part[None].to(self._context.device)) for part in parts]
        p = torch.stack([a.logits[0].double().softmax(dim=0) for a in found]).mean(dim=0)
        d = torch.stack([a.dimensions[0].double() for a in found]).mean(dim=0)
        return p.cpu().numpy(), d.cpu().numpy()

    def _of_window(self, frames: Tensor) -> Any:
        architecture = self._facts.architecture
        if architecture.stored_layer is not None:
            return self._model(states=frames, states_layer=architecture.stored_layer)
        lengths = torch.tensor([frames.shape[1]], device=frames.device)
        if architecture.encoder == "whisper" and architecture.frames != "own":
            positions = int(self._model.whisper.encoder.config.max_source_positions)
            frames = padded_mel(frames, 2 * positions)
        return self._model(frames.transpose(1, 2), lengths)

    def _answers(
        self, probabilities: Array, dimensions: Array, averaged: int, failures: dict[int, str]
    ) -> Answers:
        offered = None
        if self._shares is not None:
            mass = probabilities @ self._shares
            total = mass.sum(axis=1, keepdims=True)
            offered = np.divide(mass, total, out=np.full_like(mass, np.nan), where=total > 0)
            unsaid = {int(i): "no probability for any label on offer" for i in np.flatnonzero(total == 0)}
            failures = unsaid | failures if self._context.labels else failures
        offset, scale = self._facts.matching or (np.zeros(3), np.ones(3))
        return answers_of(
            self._context.labels,
            offered,
            np.clip(offset + scale * dimensions, 0.0, 1.0),
            learnt=self._learnt,
            notes={
                "checkpoints_averaged": averaged,
                "labels_of_the_network": self._names,
                "parameters": sum(p.numel() for p in self._model.parameters()),
            },
            failures=failures,
        )


class MatchedSer(TrainedSer):
    """A trained network as it stands, whose dimensions are moved and scaled to the truth of other speakers of the corpus.

    Mean and variance over the clips of the training and dev speakers; categories stay as they are. It has seen labels
    of the corpus, so it belongs to the track ``adapted``, and beside the network itself, which answers raw.
    """

    def fit(self, train: Examples, dev: Examples, context: FitContext) -> None:
        """Load the network, answer the clips that carry dimensions, and match to them.

        Args:
            train: clips of the training speakers.
            dev: those of the dev speakers.
            context: the labels on offer, and where the network runs.

        Raises:
            CannotRun: as :meth:`TrainedSer.fit`.
            DataError: no clip carries a dimension, the network learnt none, or a checkpoint does not fit.
        """
        super().fit(train, dev, context)
        self._facts = dataclasses.replace(self._facts, matching=None)
        truth = np.concatenate([np.asarray(part.dimensions).reshape(-1, 3) for part in (train, dev)])
        if np.isnan(truth).all():
            raise DataError(
                "no training clip carries a dimension, so there is nothing to match to: run it on a corpus with "
                "dimensions, and the network itself on this one"
            )
        predicted = [self.predict(part.clips).dimensions for part in (train, dev) if len(part)]
        given = np.concatenate([np.full((0, 3), np.nan), *(d for d in predicted if d is not None)])
        if len(given) < len(truth):
            raise DataError(f"{self._folder}: the network learnt no dimension, so there is nothing to match")
        self._facts = dataclasses.replace(self._facts, matching=matched(given, truth))

    def predict(self, clips: Clips) -> Answers:
        """Answer as the network does, its dimensions matched; the notes hold the scale of each."""
        found = super().predict(clips)
        scales = None if self._facts.matching is None else self._facts.matching[1].round(4).tolist()
        return dataclasses.replace(found, notes={**found.notes, "dimension_scales": scales})
