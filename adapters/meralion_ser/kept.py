"""Trained networks as systems: what ``serbench train`` keeps, and the released checkpoint, answering zero-shot.

A folder holds ``model.safetensors`` and ``config.json`` (Hugging Face), the encoder's ``preprocessor_config.json``,
``serbench.json`` with what the network alone does not say, and ``epoch-2.safetensors`` and so on where several epochs are
averaged. A folder of the released layout (ARCHITECTURE.md of MERaLiON-SER-v1) answers as it is.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adapters.meralion_ser import lora
from adapters.meralion_ser.architecture import WINDOW_SECONDS, Architecture
from adapters.meralion_ser.checkpoints import State
from adapters.meralion_ser.frames import WhisperMel, checked, log_mel, padded_mel, windows
from adapters.meralion_ser.network import MeralionSer
from adapters.meralion_ser.released import load_strictly
from bench.atomic import write_text
from bench.errors import CannotRun, DataError, UsageError
from bench.labels import label_table
from bench.protocols import SAMPLE_RATE, Answers, Array, Clips, Examples, FitContext, Waveform, Weights

_FACTS, _FRONT_END = "serbench.json", "preprocessor_config.json"


def keep(
    folder: Path,
    model: MeralionSer,
    architecture: Architecture,
    kept: Sequence[State],
    weights: Weights | None,
    matching: tuple[Array, Array] | None,
    learns_dimensions: bool,
) -> None:
    """Write a trained network and the epochs it averages, LoRA merged, all as safetensors."""
    from safetensors.torch import save_file

    if architecture.encoder == "features":
        raise UsageError(
            "encoder 'features' is not part of the network, so the folder could not hear audio by itself; "
            "train with encoder 'whisper', 'backbone' or 'logmel'"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("epoch-*.safetensors"):
        stale.unlink()
    parameters = dict(model.named_parameters())
    for number, state in enumerate(kept, start=1):
        with torch.no_grad():
            for name, tensor in state.items():
                parameters[name].copy_(tensor)
        if number == 1:
            model.save_pretrained(folder)
        else:
            merged = {name: t.contiguous().cpu() for name, t in lora.merged_state(model).items()}
            save_file(merged, folder / f"epoch-{number}.safetensors")
    if weights is not None and (weights.folder / _FRONT_END).is_file():
        shutil.copyfile(weights.folder / _FRONT_END, folder / _FRONT_END)
    facts = {
        "architecture": dataclasses.asdict(architecture),
        "dimensions": learns_dimensions,
        "matching": None if matching is None else [part.tolist() for part in matching],
    }
    write_text(folder / _FACTS, json.dumps(facts, indent=1) + "\n")


class TrainedSer:
    """A trained network answering as it stands. A :class:`bench.protocols.Predictor` that learns nothing.

    ``weights``: a folder of :func:`keep`, or of the released layout. ``average``: whether the kept epochs are averaged, or
    the best (the first) answers alone: two systems. Clips over 30 s are cut into windows of near-equal length, whose
    answers are averaged. Probabilities are those of the labels on offer, made to sum to one: what the network gives to
    a class that is not on offer is left out, and a label it does not know gets none.
    """

    def __init__(self, *, weights: Weights, average: bool = True) -> None:
        self._folder = weights.folder
        self._average = average

    def fit(self, train: Examples, dev: Examples, context: FitContext) -> None:
        """Load the network; ``train`` and ``dev`` are left alone.

        Raises:
            CannotRun: the folder holds no such network, or none of the labels on offer is one of its own.
            DataError: a checkpoint that does not fit.
        """
        self._context = context
        facts = self._facts()
        if facts is None:
            self._model = MeralionSer.from_released(self._folder)
            self._architecture = Architecture(encoder="whisper", frames="all")
        else:
            self._model = MeralionSer.from_pretrained(self._folder).eval()
            self._architecture = Architecture(**facts["architecture"])
        self._dimensions = facts is None or bool(facts["dimensions"])
        matching = None if facts is None else facts["matching"]
        self._matching = (np.zeros(3), np.ones(3)) if matching is None else tuple(map(np.array, matching))
        self._model.to(context.device)
        self._hear = self._front_end()
        self._shares = _shares(self._names, context.labels)

    def predict(self, clips: Clips) -> Answers:
        """Answer each clip, averaged over its windows and, where asked for, over the kept epochs."""
        heard = [checked(self._hear(clips.read(i)), clips.ids[i]) for i in range(len(clips))]
        probabilities, dimensions = np.zeros((len(clips), self._classes)), np.zeros((len(clips), 3))
        extra = sorted(self._folder.glob("epoch-*.safetensors")) if self._average else []
        for path in (None, *extra):
            if path is not None:
                self._load(path)
            for index, frames in enumerate(heard):
                p, d = self._answer(frames)
                probabilities[index] += p / (1 + len(extra))
                dimensions[index] += d / (1 + len(extra))
        if extra:
            self._load(self._folder / "model.safetensors")
        offset, scale = self._matching
        return self._answers(probabilities, np.clip(offset + scale * dimensions, 0.0, 1.0), 1 + len(extra))

    @property
    def _classes(self) -> int:
        return int(self._model.config.num_labels)

    @property
    def _names(self) -> list[str]:
        named = {int(index): str(label) for index, label in (self._model.config.id2label or {}).items()}
        return [named[i] for i in range(self._classes)]

    def _facts(self) -> dict[str, Any] | None:
        path = self._folder / _FACTS
        if not path.is_file():
            return None
        try:
            facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            Architecture(**facts["architecture"])
        except (ValueError, KeyError, TypeError, UsageError) as error:
            raise CannotRun(f"{path}: not what serbench train wrote ({error}); train again") from error
        return facts

    def _front_end(self) -> Callable[[Waveform], Tensor]:
        if self._architecture.encoder == "logmel":
            return log_mel
        if self._architecture.encoder == "backbone":
            return self._backbone_states()
        if not (self._folder / _FRONT_END).is_file():
            from transformers import WhisperFeatureExtractor

            mels = int(self._model.whisper.encoder.config.num_mel_bins)
            return WhisperMel(WhisperFeatureExtractor(feature_size=mels))
        return WhisperMel.of(self._folder)

    def _backbone_states(self) -> Callable[[Waveform], Tensor]:
        from transformers import AutoFeatureExtractor

        extract = AutoFeatureExtractor.from_pretrained(self._folder)

        def states(waveform: Waveform) -> Tensor:
            values = extract(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt")["input_values"]
            with torch.inference_mode():
                found = self._model.backbone(values.to(self._context.device), output_hidden_states=True)
            return found.hidden_states[self._model.top_layer][0].cpu()  # type: ignore[no-any-return]

        return states

    def _load(self, path: Path) -> None:
        from safetensors.torch import load_file

        load_strictly(self._model, load_file(path), path)
        self._model.to(self._context.device)

    def _answer(self, frames: Tensor) -> tuple[Array, Array]:
        rate = 0.02 if self._architecture.encoder == "backbone" else 0.01
        parts = windows(frames, round(WINDOW_SECONDS / rate))
        with torch.inference_mode():
            found = [self._of_window(part[None].to(self._context.device)) for part in parts]
        p = torch.stack([a.logits[0].double().softmax(dim=0) for a in found]).mean(dim=0)
        d = torch.stack([a.dimensions[0].double() for a in found]).mean(dim=0)
        return p.cpu().numpy(), d.cpu().numpy()

    def _of_window(self, frames: Tensor) -> Any:
        if self._architecture.encoder == "backbone":
            return self._model.head(frames)
        lengths = torch.tensor([frames.shape[1]], device=frames.device)
        if self._architecture.encoder == "whisper" and self._architecture.frames != "own":
            positions = int(self._model.whisper.encoder.config.max_source_positions)
            frames = padded_mel(frames, 2 * positions)
        return self._model(frames.transpose(1, 2), lengths)

    def _answers(self, probabilities: Array, dimensions: Array, averaged: int) -> Answers:
        labels = self._context.labels
        mass = probabilities @ self._shares
        total = mass.sum(axis=1, keepdims=True)
        if labels and bool((total <= 0).any()):
            raise DataError("the network gives no probability to any label on offer")
        offered = mass / total if labels else mass
        return Answers(
            statuses=("ok",) * len(probabilities),
            labels=tuple(labels[int(b)] if labels else None for b in offered.argmax(axis=1))
            if labels
            else (None,) * len(probabilities),
            probabilities=offered if labels else None,
            dimensions=dimensions if self._dimensions else None,
            notes={
                "checkpoints_averaged": averaged,
                "labels_of_the_network": self._names,
                "parameters": sum(p.numel() for p in self._model.parameters()),
            },
        )


def _shares(own: Sequence[str], offered: Sequence[str]) -> Array:
    """Matrix (own, offered): where each of the network's classes goes.

    A label on offer takes the class of its own name, else the class of its place among the seven (calm: neutral); labels
    that take the same class share it evenly.

    >>> _shares(["neutral", "sad"], ["sad", "calm"]).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    table = label_table()
    taken = [o if o in own else table.place("seven", o) for o in offered]
    shares = np.array([[float(t == name) for t in taken] for name in own]).reshape(len(own), len(offered))
    counts = shares.sum(axis=1, keepdims=True)
    if offered and not counts.any():
        raise CannotRun(
            f"the network knows {', '.join(own)}, and none of the labels on offer: {', '.join(offered)}"
        )
    return np.asarray(np.divide(shares, counts, out=np.zeros_like(shares), where=counts > 0))
