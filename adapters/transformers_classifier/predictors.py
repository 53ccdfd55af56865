"""Released networks with their own heads as systems: they learn nothing here, and answer what they were trained to answer."""

from __future__ import annotations

import dataclasses
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from adapters.meralion_ser.answers import answers_of
from adapters.transformers_classifier.loading import load_head
from adapters.transformers_classifier.networks import HeadNetwork, windows
from adapters.transformers_classifier.outputs import HeadOutputs, head_outputs
from bench.errors import UsageError, nearest
from bench.protocols import (
    DIMENSIONS,
    SAMPLE_RATE,
    Answers,
    Array,
    Clips,
    Examples,
    FitContext,
    Waveform,
    Weights,
)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
WINDOW_SECONDS = 30.0
"""Longest window of a network that takes any length: attention over minutes does not fit into memory."""
CLIPS_AT_ONCE = 64
"""Clips whose samples are held at a time, so that a GPU can be given several of like length."""
NO_SAMPLES = "the clip has no samples"


class TransformersClassifier:
    """A released network with transformers' own head, or one of two layers, from a local folder. A :class:`bench.protocols.Predictor`.

    **Classes** are those of ``id2label``, by the label table, and ``labels`` says what the table does not know. Probabilities are
    the network's over all its classes, then those of the labels on offer made to sum to one. **Dimensions** are outputs of those names or
    of ``dimensions``; ``scale`` says between which numbers they lie, and 0..1 is what is answered, cut off beyond. **Clips over
    a window** go in windows of near-equal length, whose answers are averaged.

    Args:
        weights: the folder.
        labels: name of a class → canonical label, or null for one that is no emotion here.
        outside: what a best class means that no label on offer takes: ``masked`` (the best label on offer is the answer) or
            ``wrong`` (no label is, which counts as wrong).
        average: what is averaged over the windows of a long clip: ``probabilities`` or ``logits``.
        dimensions: dimension → output, by name or index.
        scale: ``[low, high]`` of all dimensions, or per dimension.
        activation: what the folder leaves to the caller before dimensions are read: ``none``, ``sigmoid`` or ``tanh``.
        input: Whisper alone: ``30s`` (padded, as it was trained) or ``own`` (the clip's frames alone).
        window_seconds: longest window of a network that takes any length.
        batch: how many windows may share a forward pass; None: 1 on the CPU, 16 elsewhere.
        dtype: precision of the network.
        device: where it runs, unless the context says.

    Raises:
        UsageError: a parameter that is none of these.
    """

    def __init__(
        self,
        *,
        weights: Weights,
        labels: Mapping[str, str | None] | None = None,
        outside: Literal["masked", "wrong"] = "masked",
        average: Literal["probabilities", "logits"] = "probabilities",
        dimensions: Mapping[str, Any] | None = None,
        scale: Any = None,
        activation: Literal["none", "sigmoid", "tanh"] = "none",
        input: Literal["own", "30s"] | None = None,  # noqa: A002 - the name on system cards
        window_seconds: float = WINDOW_SECONDS,
        batch: int | None = None,
        dtype: str = "float32",
        device: str = "cpu",
    ) -> None:
        for name, value, known in (
            ("outside", outside, ("masked", "wrong")),
            ("average", average, ("probabilities", "logits")),
            ("activation", activation, ("none", "sigmoid", "tanh")),
            ("dtype", dtype, tuple(DTYPES)),
        ):
            if value not in known:
                raise UsageError(f"{name} is {value!r}; {nearest(str(value), known)}")
        if batch is not None and batch < 1:
            raise UsageError(f"batch is {batch}; expected a number of windows from 1 on")
        if not 0.1 <= window_seconds <= 600:
            raise UsageError(f"window_seconds is {window_seconds}; expected 0.1 to 600")
        self._weights, self._said = weights, (labels or {}, dimensions or {}, scale)
        self._outside, self._average, self._activation = outside, average, activation
        self._input, self._window, self._batch = input, int(window_seconds * SAMPLE_RATE), batch
        self._dtype, self._device = dtype, device
        self._loaded: tuple[str, HeadNetwork, Any] | None = None

    def fit(self, train: Examples, dev: Examples, context: FitContext) -> None:
        """Load the network; ``train`` and ``dev`` are left alone.

        Args:
            train: clips of the training speakers.
            dev: those of the dev speakers.
            context: the labels on offer, and where the network runs.

        Raises:
            CannotRun: the folder holds no such network, or none of the labels on offer is one of its own.
            UsageError: the card does not say what an output means.
        """
        device = context.device or self._device
        if self._loaded is None or self._loaded[0] != device:
            network, config = load_head(
                self._weights.folder, self._input, torch.device(device), DTYPES[self._dtype]
            )
            self._loaded = (device, network, config)
        config = self._loaded[2]
        labels, dimensions, scale = self._said
        self._outputs = self._checked(
            head_outputs(
                self._names(config),
                labels=labels,
                dimensions=dimensions,
                scale=scale,
                regression=config.problem_type == "regression",
            )
        )
        self._multi_label = config.problem_type == "multi_label_classification"
        self._offered = context.labels
        self._places = self._outputs.places(context.labels)

    def _names(self, config: Any) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return tuple(str(config.id2label.get(i, f"LABEL_{i}")) for i in range(int(config.num_labels)))

    def _checked(self, outputs: HeadOutputs) -> HeadOutputs:
        """The outputs, where they are of the kind that this system answers with."""
        return outputs

    def predict(self, clips: Clips) -> Answers:
        """Answer each clip; one without samples, or to which the network answers no number, is ``failed``."""
        count = len(self._outputs.names)
        probabilities = np.full((len(clips), len(self._outputs.classes)), np.nan)
        numbers = np.full((len(clips), count), np.nan)
        failures: dict[int, str] = {}
        for start in range(0, len(clips), CLIPS_AT_ONCE):
            rows = range(start, min(start + CLIPS_AT_ONCE, len(clips)))
            for row, outputs in self._heard(clips, rows, failures).items():
                probabilities[row], numbers[row] = self._averaged(outputs)
        return self._as_answers(probabilities, self._outputs.in_unit(numbers), failures)

    def _heard(self, clips: Clips, rows: Sequence[int], failures: dict[int, str]) -> dict[int, Array]:
        """Outputs (windows, outputs) of each clip of these rows; what has no samples is noted instead."""
        assert self._loaded is not None
        network = self._loaded[1]
        longest = self._window if network.longest is None else min(self._window, network.longest)
        pieces: list[tuple[int, Waveform]] = []
        for row in rows:
            waveform = clips.read(row)
            if not len(waveform):
                failures[row] = NO_SAMPLES
                continue
            pieces += [(row, w) for w in windows(waveform, longest, network.shortest)]
        found = self._passed([w for _, w in pieces])
        by_clip: dict[int, list[Array]] = defaultdict(list)
        for (row, _), outputs in zip(pieces, found, strict=True):
            by_clip[row].append(outputs)
        return {row: np.stack(parts) for row, parts in by_clip.items()}

    def _passed(self, pieces: Sequence[Waveform]) -> list[Array]:
        """Outputs of each window. Only what changes no other's answer goes through together."""
        assert self._loaded is not None
        device, network, _ = self._loaded
        most = self._batch if self._batch is not None else (1 if device == "cpu" else 16)
        groups: dict[int, list[int]] = defaultdict(list)
        for i, piece in enumerate(pieces):
            groups[network.group(len(piece))].append(i)
        found: dict[int, Array] = {}
        for members in groups.values():
            waiting = sorted(members, key=lambda i: (len(pieces[i]), i))
            while waiting:
                chosen = waiting[:most]
                try:
                    with torch.inference_mode():
                        outputs = network.outputs([pieces[i] for i in chosen]).double().cpu().numpy()
                except torch.OutOfMemoryError:
                    if len(chosen) == 1:
                        raise
                    most = max(1, len(chosen) // 2)
                    torch.cuda.empty_cache()
                    continue
                found.update(zip(chosen, outputs, strict=True))
                waiting = waiting[len(chosen) :]
        return [found[i] for i in range(len(pieces))]

    def _averaged(self, outputs: Array) -> tuple[Array, Array]:
        """Probabilities (classes,) and numbers (outputs,) of a clip from those of its windows (windows, outputs)."""
        own = outputs[:, list(self._outputs.classes)]
        if self._average == "logits":
            own = own.mean(axis=0, keepdims=True)
        return self._spread(own).mean(axis=0), self._activated(outputs).mean(axis=0)

    def _spread(self, logits: Array) -> Array:
        """Probabilities of the network's classes (windows, classes)."""
        if not logits.shape[1]:
            return logits
        if self._multi_label:  # each class by itself, yes or no: made to sum to one over those on offer
            return 1 / (1 + np.exp(-np.clip(logits, -700, 700)))
        # A class on top by 700 leaves the others at zero: then nothing would be left to share among the labels on offer.
        powers = np.exp(np.maximum(logits - logits.max(axis=1, keepdims=True), -600.0))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def _activated(self, outputs: Array) -> Array:
        if self._activation == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-np.clip(outputs, -700, 700))))
        return np.tanh(outputs) if self._activation == "tanh" else outputs

    def _as_answers(self, own: Array, dimensions: Array, failures: Mapping[int, str]) -> Answers:
        offered, places = None, self._places
        if places is not None and self._offered:
            kept = own @ places
            offered = kept / np.maximum(kept.sum(axis=1, keepdims=True), sys.float_info.min)
        answers = answers_of(
            self._offered,
            offered,
            dimensions,
            learnt=[d in self._outputs.dimensions for d in DIMENSIONS],
            notes=self._notes(),
            failures=failures,
        )
        if offered is None or places is None or self._outside == "masked":
            return answers
        taken = np.asarray(places.any(axis=1))
        labels = tuple(
            label if status == "ok" and taken[int(row.argmax())] else None
            for status, label, row in zip(answers.statuses, answers.labels, own, strict=True)
        )
        return dataclasses.replace(answers, labels=labels)

    def _notes(self) -> dict[str, Any]:
        """What a report should know: what each output counts as, and what was left out."""
        outputs, places = self._outputs, self._places
        columns = list(outputs.classes)
        left = (
            []
            if places is None
            else [outputs.names[c] for c, row in zip(columns, places, strict=True) if not row.any()]
        )
        notes: dict[str, Any] = {"windows": f"mean of {self._average}"}
        if columns:
            notes["classes"] = {outputs.names[c]: outputs.classes[c] or "ignored" for c in columns}
        if left and self._offered:
            notes |= {"classes_left_out": left, "outside": self._outside}
        if outputs.dimensions:
            notes["dimension_scales"] = {d: list(outputs.scales[d]) for d in outputs.dimensions}
        return notes


class TransformersRegressor(TransformersClassifier):
    """A released network that answers dimensions and no class, such as audEERING's on pooled wav2vec 2.0 (arXiv 2203.07378).

    Its outputs are the dimensions that the folder names; where it names none, three are arousal, dominance and valence in
    this order, as audEERING released theirs.

    Args:
        weights: the folder.
        scale: ``[low, high]`` of all dimensions, or per dimension.
        dimensions: dimension → output, by name or index, where they have other names or another order.
        activation: what the folder leaves to the caller: ``none``, ``sigmoid`` or ``tanh``.
        window_seconds: longest window.
        batch: how many windows may share a forward pass; None: 1 on the CPU, 16 elsewhere.
        dtype: precision of the network.
        device: where it runs, unless the context says.

    Raises:
        UsageError: a parameter that is none of these.
    """

    def __init__(
        self,
        *,
        weights: Weights,
        scale: Any = None,
        dimensions: Mapping[str, Any] | None = None,
        activation: Literal["none", "sigmoid", "tanh"] = "none",
        window_seconds: float = WINDOW_SECONDS,
        batch: int | None = None,
        dtype: str = "float32",
        device: str = "cpu",
    ) -> None:
        super().__init__(
            weights=weights,
            average="logits",
            dimensions=dimensions,
            scale=scale,
            activation=activation,
            window_seconds=window_seconds,
            batch=batch,
            dtype=dtype,
            device=device,
        )

    def _names(self, config: Any) -> tuple[str, ...]:
        names = super()._names(config)
        unnamed = all(name == f"LABEL_{i}" for i, name in enumerate(names))
        return (
            ("arousal", "dominance", "valence")
            if unnamed and len(names) == 3 and not self._said[1]
            else names
        )

    def _checked(self, outputs: HeadOutputs) -> HeadOutputs:
        if outputs.kept or not outputs.dimensions:
            raise UsageError(
                f"the network answers {', '.join(outputs.names)}, which are not dimensions alone: on the card, name "
                "adapter: adapters.transformers_classifier:TransformersClassifier, or say which they are in params.dimensions"
            )
        return outputs
