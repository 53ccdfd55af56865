"""An Audio-LLM trained on a fold's clips, as a system: ``fit`` trains, ``predict`` starts its server and asks.

The folds, the clips and the dev speakers are those of every other adapted system; how the model is asked, how a reply is read and
what counts as an answer are those of every other Audio-LLM (:class:`~adapters.audio_lm.model.AudioLanguageModel`).
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adapters.audio_lm.model import AudioLanguageModel
from adapters.audio_lm.requests.prompts import TEXT_SLOT
from adapters.audio_lm.tuning.budget import forecast
from adapters.audio_lm.tuning.classes import class_named, class_of
from adapters.audio_lm.tuning.classes.qwen2_audio import QWEN2_AUDIO
from adapters.audio_lm.tuning.fits import TunedFit, fit_once, stored_fit
from adapters.audio_lm.tuning.lessons import Teacher, prompt_for
from adapters.audio_lm.tuning.loop import TuningRun, tune, updates_per_epoch
from adapters.audio_lm.tuning.network import TunedNetwork
from adapters.audio_lm.tuning.parts import assembled
from adapters.audio_lm.tuning.processes import launched, launched_count, own_device
from adapters.audio_lm.tuning.recipe import OWN_LANGUAGE, TuningRecipe, recipe_of
from adapters.audio_lm.tuning.served import lora_spec, require_served_files, write_served
from adapters.audio_lm.tuning.taught import described, joined, no_clips, taught
from bench.cards.system import ServerSpec
from bench.errors import CannotRun, DataError, NeedsServer, UsageError
from bench.execution.vllm_server import Server, Serving
from bench.protocols import STORED, Answers, Clips, Examples, FitContext, Weights
from bench.storage.hashing import hash_json
from bench.storage.source_code import closure_hash

LANGUAGE_MODEL = "language_model"
"""Name of the part on a card: where it stands, ``weights`` are the tower, and the model is put together from both."""
TRAINED_BY = (
    "adapters.audio_lm.tuning.loop",
    "adapters.audio_lm.tuning.network",
    "adapters.audio_lm.tuning.lessons",
)
"""Code that decides what is learnt; how the model is asked afterwards does not."""


class TunedAudioLM:
    """Learns from one fold's training clips and is asked through a vLLM server of its own. A :class:`bench.protocols.Predictor`.

    Args:
        weights: folder of the Audio-LLM; with ``parts``, that of its audio tower.
        tuning: settings of :class:`~adapters.audio_lm.tuning.recipe.TuningRecipe`.
        parts: ``language_model``: a Llama in GGUF; the model is put together from it and the tower.
        model_type: class of the model (:mod:`adapters.audio_lm.tuning.classes`): what forecasts go by before weights are at hand. A
            folder of another class is refused.
        serve: how vLLM serves the trained model; None: nobody can ask it.
        asking: parameters of :class:`~adapters.audio_lm.model.AudioLanguageModel`; ``prompts`` may hold ``own``, the first
            wording in the language of the clips.

    Raises:
        UsageError: settings that do not exist, are none, or contradict each other.
    """

    def __init__(
        self,
        *,
        weights: Weights,
        tuning: Mapping[str, Any],
        parts: Mapping[str, Weights] | None = None,
        model_type: str = QWEN2_AUDIO.model_type,
        serve: ServerSpec | None = None,
        **asking: Any,
    ) -> None:
        self._weights, self._parts, self._serve = weights, dict(parts or {}), serve
        if unknown := sorted(set(self._parts) - {LANGUAGE_MODEL}):
            raise UsageError(f"parts: {', '.join(unknown)}: expected {LANGUAGE_MODEL} alone")
        self._recipe: TuningRecipe = recipe_of(tuning)
        self._class = class_named(model_type)
        if serve is not None and serve.lora is not None:
            raise UsageError(
                "serve.lora: what is trained here is served as its class wants it, with a LoRA module of its own or merged; leave lora out"
            )
        self._asking = {"prompts": [OWN_LANGUAGE], **asking}
        if not isinstance(self._asking["prompts"], Sequence) or isinstance(self._asking["prompts"], str):
            raise UsageError(f"prompts is {self._asking['prompts']!r}; expected a list of names")
        self._asked("en", revision=None)
        self._server: Server | None = None
        self._end_server: weakref.finalize[Any, Any] | None = None

    def fit(self, train: Examples, dev: Examples, context: FitContext) -> None:
        """Train on ``train``, choosing the epoch on ``dev`` or learning from it too; or find the training where it is done.

        Args:
            train: clips and labels of the training speakers; may be empty where ``epochs`` is 0.
            dev: those of the speakers that epochs are chosen on.
            context: labels on offer, seed, device, stored output of the tower, folder of the server's log.

        Raises:
            DataError: nothing to learn from, a label that cannot be said, or a loss that is no number.
            CannotRun: weights or a package is missing, or stored replies are asked for and nothing was trained.
        """
        if not context.labels:
            raise DataError("an Audio-LLM is taught names of emotions, and the task has none on offer")
        if context.server not in (None, STORED):
            raise CannotRun(
                f"{self._asking['model']} is trained here and served from what was learnt; the server at {context.server} cannot know it: "
                "leave --set …:server= out, or keep it with serbench train and ask that"
            )
        self._processes = launched(context.device)
        context = dataclasses.replace(context, device=own_device(context.device))
        self._context = context
        self._learning = taught(train, context, "all" if self._recipe.epochs else "none")
        self._judging = taught(dev, context, "all" if self._recipe.epochs else "none")
        if self._recipe.dev == "train":
            self._learning, self._judging = joined(self._learning, self._judging), no_clips()
        if self._recipe.epochs and not len(self._learning):
            raise DataError(
                "no training clip carries one of the labels on offer and was heard by the tower: nothing to learn from"
            )
        if self._recipe.epochs and self._recipe.dev == "select" and not len(self._judging):
            raise DataError("dev: select needs clips of dev speakers, and there are none; use dev: train")
        self._fitted = self._fit(context) if self._recipe.epochs else None

    @staticmethod
    def forecast(params: Mapping[str, Any], parameters: int, train: Clips, dev: Clips) -> dict[str, Any]:
        """Say what a training will take; needs neither weights nor features. WORLD_SIZE says how many GPUs share it, as torchrun does.

        Args:
            params: of the card.
            parameters: of the model.
            train: clips to learn from.
            dev: clips that epochs are judged on.
        """
        recipe = recipe_of(params.get("tuning", {}))
        learnt, judged = train.seconds.tolist(), dev.seconds.tolist()
        if recipe.dev == "train":
            learnt, judged = learnt + judged, []
        audio_class = class_named(str(params.get("model_type", QWEN2_AUDIO.model_type)))
        return forecast(recipe, parameters, learnt, judged, rows=audio_class.rows, gpus=launched_count())

    @property
    def notes(self) -> dict[str, Any]:
        """What a report should know of the fit."""
        if self._fitted is None:
            return {"epochs": 0, "updates": 0, "examples_seen": 0, "training_clips": 0}
        return dict(self._fitted.notes)

    def predict(self, clips: Clips) -> Answers:
        """Ask about every clip in every variant; a server is started where replies are missing, and stays until this object goes.

        Raises:
            CannotRun: no vLLM here, or one that cannot serve the model.
            ServerGone, BudgetSpent: asking had to stop; what was answered is stored.
        """
        language = clips.languages[0] if len(clips) else "en"
        asked = self._asked(language, revision=self._revision())
        nothing = _no_examples(clips)
        asked.fit(nothing, nothing, self._asking_context())
        try:
            answers = asked.predict(clips)
        except NeedsServer:
            asked.fit(nothing, nothing, dataclasses.replace(self._context, server=self._serving()))
            answers = asked.predict(clips)
        return dataclasses.replace(answers, notes=answers.notes | {"tuning": self.notes})

    def close(self) -> None:
        """End the server, if one was started: the next fold's needs the memory that it holds."""
        if self._end_server is not None:
            self._end_server()

    def sent_for_one_clip(self, context: FitContext) -> str:
        """Return the messages of a clip's first question, as JSON: in English where the prompts are those of the clips' language.

        Args:
            context: labels on offer and the seed of the options' order.
        """
        return self._asked("en", revision=None).sent_for_one_clip(context)

    def save(self, folder: Path) -> str:
        """Write the trained model, LoRA merged or beside it as its class is served; return the adapter that asks it.

        Args:
            folder: is made.
        """
        self._write_served(folder)
        return "adapters.audio_lm.model:AudioLanguageModel"

    def kept_as(self, name: str) -> dict[str, Any]:
        """Return what the card of the kept folder says beside its weights: it is an Audio-LLM like any other.

        Args:
            name: of the system, under which its server serves it.
        """
        prompts = [
            x if x != OWN_LANGUAGE else prompt_for(x, self._language()).name for x in self._asking["prompts"]
        ]
        served = self._served_as(name)
        serve = None if served is None else served.model_dump(mode="json", exclude_defaults=True)
        return {
            "family": "audio-llm",
            "params": {**self._asking, "prompts": prompts, "model": name},
            "serve": None if serve is None else serve | {"engine": "vllm"},
        }

    def _language(self) -> str:
        """The language that most clips speak."""
        languages = list(self._learning.languages)
        return max(sorted(set(languages)), key=languages.count) if languages else "en"

    def _asked(self, language: str, *, revision: str | None) -> AudioLanguageModel:
        """The model as it is asked in a language."""
        names = [prompt_for(str(x), language).name for x in self._asking["prompts"]]
        return AudioLanguageModel(
            **{**self._asking, "prompts": list(dict.fromkeys(names)), "revision": revision}
        )

    def _asking_context(self) -> FitContext:
        return (
            self._context
            if self._context.server == STORED
            else dataclasses.replace(self._context, server=None)
        )

    def _fit(self, context: FitContext) -> TunedFit:
        if not self._parts:
            self._base()  # a folder of another class is told before anything else
        fingerprint = self._fingerprint()
        if (found := stored_fit(fingerprint)) is not None:
            return found
        if context.server == STORED:
            raise CannotRun(
                "the trained weights of this fit are not stored; run the matrix, which trains them"
            )
        self._teacher(self._base()).require_answers(self._learning.languages + self._judging.languages)
        devices = [context.device] if context.device.startswith("cuda") else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(context.seed)
            return fit_once(fingerprint, self._train, self._processes)

    def _train(self, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        context, recipe = self._context, self._recipe
        network = TunedNetwork(self._base(), recipe, context.device)
        if self._learning.rows and network.width != self._learning.rows[0].shape[1]:
            raise CannotRun(
                f"the tower's stored output has {self._learning.rows[0].shape[1]} values a row, and the projector of {self._base()} reads "
                f"{network.width}: the tower belongs to another model"
            )
        if recipe.standardise:
            network.standardise(self._learning.rows)
        teacher = self._teacher(self._base())
        if recipe.projector_start == "answers":
            clips = zip(self._learning.labels, self._learning.languages, strict=True)
            network.start_toward(
                self._learning.rows, [teacher.judged(x, language, 0).answer[:-1] for x, language in clips]
            )
        run = TuningRun(
            network=network,
            teacher=teacher,
            recipe=recipe,
            train=self._learning,
            dev=self._judging if recipe.dev == "select" else None,
            device=context.device,
            folder=folder,
            fingerprint=self._fingerprint(),
            progress=context.progress,
            processes=self._processes,
        )
        session = tune(run, context.seed)
        learnt = network.learnt()
        named = [(name, p.numel()) for name, p in network.named_parameters() if p.requires_grad]
        notes = {
            "parameters": sum(p.numel() for p in network.model.parameters()),
            "trainable_parameters": sum(count for _, count in named),
            "lora_parameters": sum(count for name, count in named if ".lora_" in name),
            "epochs": session.epoch,
            "epoch_kept": session.checkpoints[0].epoch,
            "updates": session.epoch * updates_per_epoch(len(self._learning), recipe.batch),
            "examples_seen": session.epoch * len(self._learning),
            "training_clips": len(self._learning),
            "dev_clips": len(self._judging),
            **({"processes": self._processes.count} if self._processes.count > 1 else {}),
            "training_losses": [round(x, 5) for x in session.losses],
            "dev_losses": [round(x, 5) for x in session.dev_losses],
            "taught_prompts": sorted(
                {prompt_for(n, x).name for n in recipe.prompts for x in set(self._learning.languages)}
            ),
            "taught_forms": list(recipe.forms),
            "classes_without_training_clip": [x for x in context.labels if x not in self._learning.labels],
        }
        del network
        if context.device.startswith("cuda"):
            torch.cuda.empty_cache()  # the server takes the GPU next
        return learnt, notes

    def _teacher(self, base: Path) -> Teacher:
        return Teacher(
            base,
            self._context.labels,
            self._recipe,
            audio_first=bool(self._asking.get("audio_first", True)),
            system_prompt=self._asking.get("system_prompt"),
            template=str(self._asking.get("template", TEXT_SLOT)),
        )

    def _base(self) -> Path:
        """Folder of the model before it is trained.

        Raises:
            CannotRun: it is of another class than the card says, or lacks the files that its server loads.
        """
        if LANGUAGE_MODEL in self._parts:
            return assembled(self._weights, self._parts[LANGUAGE_MODEL])
        found = class_of(self._weights.folder)
        if found is not self._class:
            raise CannotRun(
                f"{self._weights.folder} holds a {found.model_type!r} model, and the card says model_type: {self._class.model_type}"
            )
        require_served_files(self._weights.folder, found)
        return self._weights.folder

    def _base_content(self) -> list[str]:
        return [self._weights.content_hash, *(w.content_hash for _, w in sorted(self._parts.items()))]

    def _revision(self) -> str:
        """Of the model that answers: under it its replies are stored."""
        return hash_json([*self._base_content(), None if self._fitted is None else self._fitted.content])

    def _fingerprint(self) -> str:
        asked = {key: self._asking.get(key) for key in ("audio_first", "system_prompt", "template")}
        return hash_json(
            {
                "base": self._base_content(),
                "recipe": dataclasses.asdict(self._recipe),
                "asked": asked,
                "labels": self._context.labels,
                "seed": self._context.seed,
                "clips": [described(part) for part in (self._learning, self._judging)],
                "code": [closure_hash(module) for module in TRAINED_BY],
                "torch": torch.__version__,
            }
        )

    def _write_served(self, folder: Path) -> None:
        if self._fitted is None:
            shutil.copytree(self._base(), folder, dirs_exist_ok=True)
            return
        network = TunedNetwork(self._base(), self._recipe)
        network.take(self._fitted.learnt())
        write_served(network, folder, lora_rank=self._recipe.lora_rank)

    def _served_as(self, name: str) -> ServerSpec | None:
        """How the trained model is served: with its LoRA module where its class takes one."""
        with_lora = self._fitted is not None and self._recipe.lora_rank and self._class.lora_served
        if self._serve is None or not with_lora:
            return self._serve
        return self._serve.model_copy(update={"lora": lora_spec(name, self._recipe.lora_rank)})

    def _serving(self) -> str:
        """Address of the server of the trained model, started if it does not run."""
        if self._server is None or not self._server.alive:
            if self._serve is None:
                raise CannotRun(f"{self._asking['model']}: its card does not say how it is served (serve)")
            folder, name = self._base(), str(self._asking["model"])
            if self._fitted is not None:
                folder = self._context.workdir / "served"
                self._write_served(folder)
            served = self._served_as(name)
            assert served is not None
            serving = Serving(str(folder), name, None, _on_device(served, self._context.device))
            print(f"starting a vLLM server for {self._asking['model']}", file=sys.stderr, flush=True)
            self._server = Server.start(serving, self._context.workdir / "server.log")
            # Once only: a process's number may be another's later.
            self._end_server = weakref.finalize(self, self._server.stop)
        return self._server.address


def _on_device(spec: ServerSpec, device: str) -> ServerSpec:
    """Let the server have the GPU that this worker has, and no other."""
    if not device.startswith("cuda"):
        return spec
    index = int(device.partition(":")[2] or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    own = visible.split(",")[index] if visible else str(index)
    return spec.model_copy(update={"environment": {**spec.environment, "CUDA_VISIBLE_DEVICES": own}})


def _no_examples(clips: Clips) -> Examples:
    nothing = Clips((), (), np.zeros(0), (), clips.read)
    return Examples(nothing, (), np.zeros((0, 3)), ())
