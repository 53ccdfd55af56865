"""What learns of an Audio-LLM: its projector, and LoRA on its language model; from the tower's stored output on.

A batch never touches the tower. Its rows go through the projector into the places of the audio tokens, the language model reads
the whole, and only the positions before answer tokens go through ``lm_head``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapters.audio_lm.tuning.classes import class_of
from adapters.audio_lm.tuning.frugal import make_frugal
from adapters.audio_lm.tuning.lessons import Lesson
from adapters.audio_lm.tuning.projector_start import toward_answers
from adapters.audio_lm.tuning.recipe import TuningRecipe
from bench.errors import CannotRun, UsageError

IGNORED = -100
MEAN, DEVIATION = "standardise.mean", "standardise.deviation"


@dataclass(frozen=True)
class LessonBatch:
    """Lessons side by side, padded on the right.

    Args:
        tokens: (lessons, tokens).
        targets: the token that each position is to say next, or -100 where nothing is asked (lessons, tokens).
        rows: the tower's output for all audio tokens of the batch, in order (audio tokens, width).
    """

    tokens: Tensor
    targets: Tensor
    rows: Tensor

    @classmethod
    def of(cls, lessons: Sequence[Lesson], rows: Sequence[Tensor], device: str) -> LessonBatch:
        """Put lessons and their clips' rows together.

        Args:
            lessons: what is taught.
            rows: of each clip (audio tokens, width).
            device: where the batch goes.
        """
        longest = max(map(len, lessons))
        # What fills up is never read, but must be no audio token: the last token of a lesson ends an answer.
        tokens = torch.full((len(lessons), longest), lessons[0].answer[-1])
        targets = torch.full((len(lessons), longest), IGNORED)
        for i, lesson in enumerate(lessons):
            known, said = len(lesson.prompt), len(lesson)
            tokens[i, :said] = torch.tensor(lesson.prompt + lesson.answer)
            targets[i, known - 1 : said - 1] = torch.tensor(lesson.answer)
        return cls(tokens.to(device), targets.to(device), torch.cat(list(rows)).to(device))


class TunedNetwork(nn.Module):
    """An Audio-LLM of which the projector and LoRA learn.

    Args:
        folder: of the model, in Hugging Face format.
        recipe: what learns.
        device: where it runs.

    Raises:
        CannotRun: a model of a class that is not known here, or weights that are not whole.
        UsageError: LoRA on layers that the language model has not.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, folder: Path, recipe: TuningRecipe, device: str = "cpu") -> None:
        super().__init__()
        self.audio_class, self._recipe = class_of(folder), recipe
        self.folder = folder
        half = recipe.precision == "bf16"
        self.model = load_model(folder, "auto" if half else torch.float32)
        self.model.requires_grad_(False)
        core = self.model.model
        if half:  # the tower and the projector are kept, and served, as they were stored
            core.language_model.bfloat16()
            self.model.lm_head.bfloat16()
        self._stored = next(core.audio_tower.parameters()).dtype
        self.audio_token = int(self.model.config.audio_token_id)
        width = self.audio_class.width(self.model.config)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        core.multi_modal_projector.float().requires_grad_(recipe.projector_lr > 0)
        self._adapted: Any = core.language_model
        if recipe.lora_rank:
            self._adapted = _with_lora(core.language_model, recipe, folder)
        if recipe.checkpointing:
            core.language_model.gradient_checkpointing_enable({"use_reentrant": False})
        self.to(device)
        if recipe.frugal:
            make_frugal(self._adapted)

    @property
    def projector(self) -> nn.Module:
        """What maps the tower's rows to rows of the language model."""
        found: nn.Module = self.model.model.multi_modal_projector
        return found

    @property
    def width(self) -> int:
        """Values per row of the tower's output."""
        return len(self.mean)

    def standardise(self, rows: Sequence[Tensor]) -> None:
        """Let the projector read rows of mean 0 and deviation 1 on these clips.

        Args:
            rows: of each training clip (audio tokens, width).

        Raises:
            UsageError: a projector that is more than one linear layer: the scale could not be folded into it.
        """
        self._linear("standardise")
        together = torch.cat(list(rows)).double()
        self.mean.copy_(together.mean(dim=0))
        self.deviation.copy_(together.std(dim=0).clamp_min(1e-5))

    def start_toward(self, rows: Sequence[Tensor], answers: Sequence[Sequence[int]]) -> None:
        """Let the projector begin where a clip's mean row lies nearest to the embedding of its answer.

        Args:
            rows: of each training clip (audio tokens, width); :meth:`standardise` comes first.
            answers: tokens of each clip's answer, without its end.

        Raises:
            UsageError: a projector that is more than one linear layer.
            DataError: one answer for all clips.
        """
        linear = self._linear("projector_start: answers")
        embedding = self.model.get_input_embeddings().weight.detach().cpu().double()
        named = {tokens: embedding[list(tokens)].mean(dim=0) for tokens in {tuple(a) for a in answers}}
        heard = [(r.double() - self.mean.cpu()) / self.deviation.cpu() for r in rows]
        weight, bias = toward_answers(heard, torch.stack([named[tuple(a)] for a in answers]))
        with torch.no_grad():
            linear.weight.copy_(weight)
            linear.bias.copy_(bias)

    def _linear(self, setting: str) -> nn.Linear:
        """The projector's only layer."""
        if [*dict(self.projector.named_children())] != ["linear"]:
            raise UsageError(f"{setting}: the projector is not one linear layer; leave it out")
        found: nn.Linear = self.model.model.multi_modal_projector.linear
        return found

    def groups(self) -> list[dict[str, Any]]:
        """Return what learns as groups of an optimiser."""
        recipe = self._recipe
        projector = [p for p in self.projector.parameters() if p.requires_grad]
        adapters = [p for name, p in self.named_parameters() if p.requires_grad and ".lora_" in name]
        found = [
            {"params": projector, "lr": recipe.projector_lr, "weight_decay": recipe.projector_decay},
            {"params": adapters, "lr": recipe.lora_lr, "weight_decay": recipe.lora_decay},
        ]
        return [group for group in found if group["params"]]

    def learnt(self) -> dict[str, Tensor]:
        """Return copies of all that was learnt, on the CPU, by name."""
        return {name: t.detach().cpu().clone() for name, t in self._learning().items()}

    def take(self, learnt: dict[str, Tensor]) -> None:
        """Put back what :meth:`learnt` returned.

        Raises:
            CannotRun: it was learnt by another model or recipe: a LoRA of another rank, or on other layers.
        """
        own = self._learning()
        if odd := sorted(set(own) ^ set(learnt)):
            raise CannotRun(
                f"what was learnt does not fit {self.folder}: {odd[0]} is in one of them alone; its lora_rank, lora_targets and model must "
                "be those it was trained with"
            )
        with torch.no_grad():
            for name, tensor in own.items():
                if tensor.shape != learnt[name].shape:
                    raise CannotRun(
                        f"what was learnt does not fit {self.folder}: {name} is {tuple(learnt[name].shape)} there, and {tuple(tensor.shape)} "
                        "here; its lora_rank, lora_targets and model must be those it was trained with"
                    )
                tensor.copy_(learnt[name])

    def _learning(self) -> dict[str, Tensor]:
        own: dict[str, Tensor] = {name: p for name, p in self.named_parameters() if p.requires_grad}
        return own | {MEAN: self.mean, DEVIATION: self.deviation}

    def answer_losses(self, batch: LessonBatch) -> Tensor:
        """Return −log p(answer | question) of each lesson (lessons,): summed over the tokens of the answer and its end."""
        hidden, asked = self._hidden(batch)
        logits = self.model.lm_head(hidden[asked].to(self.model.lm_head.weight.dtype)).float()
        losses = F.cross_entropy(logits, batch.targets[asked], reduction="none")
        lessons = asked.nonzero()[:, 0]
        return losses.new_zeros(len(batch.tokens)).index_add(0, lessons, losses)

    def next_logits(self, batch: LessonBatch) -> Tensor:
        """Return the logits of the first token of each answer (lessons, vocabulary)."""
        hidden, asked = self._hidden(batch)
        first = asked.int().argmax(dim=1)
        last = hidden[torch.arange(len(first), device=first.device), first]
        logits: Tensor = self.model.lm_head(last.to(self.model.lm_head.weight.dtype)).float()
        return logits

    def _hidden(self, batch: LessonBatch) -> tuple[Tensor, Tensor]:
        audio = self.projector((batch.rows.float() - self.mean) / self.deviation)
        embeds = self.model.get_input_embeddings()(batch.tokens)
        place = (batch.tokens == self.audio_token)[..., None]
        embeds = embeds.masked_scatter(place, audio.to(embeds.dtype))
        # No mask: padding stands on the right, where a causal model does not look from any token of a lesson.
        output = self._adapted(inputs_embeds=embeds, use_cache=False)
        return output.last_hidden_state, batch.targets != IGNORED

    def lora(self) -> tuple[Any, dict[str, Tensor]]:
        """Return peft's configuration of the LoRA, and its tensors by their names in the language model, on the CPU."""
        from peft import get_peft_model_state_dict

        found = get_peft_model_state_dict(self._adapted)
        return self._adapted.peft_config["default"], {k: t.detach().cpu() for k, t in found.items()}

    def merge(self) -> Any:
        """Merge LoRA into the language model and the standardisation into the projector; return the whole model.

        The network is of no use for training afterwards.
        """
        if self._recipe.lora_rank:
            self.model.model.language_model = self._adapted.merge_and_unload()
        linear = getattr(self.projector, "linear", None)
        if linear is not None:
            with torch.no_grad():
                weight = linear.weight.double() / self.deviation.double()
                linear.bias.copy_(linear.bias.double() - weight @ self.mean.double())
                linear.weight.copy_(weight)
        self.projector.to(self._stored)
        return self.model


def load_model(folder: Path, dtype: torch.dtype | Literal["auto"]) -> Any:
    """Load an Audio-LLM, whole.

    Args:
        folder: in Hugging Face format.
        dtype: of its weights; ``auto``: as they are stored.

    Raises:
        CannotRun: a class that is not known here, tensors missing or of another shape than the configuration says.
    """
    audio_class = class_of(folder)
    try:
        model, report = audio_class.load(folder, dtype)
    except (OSError, ValueError, RuntimeError) as error:
        raise CannotRun(
            f"{folder}: its weights do not fit its configuration ({str(error).splitlines()[0]})"
        ) from None
    faults = [*report["missing_keys"], *(str(k) for k in report.get("mismatched_keys", ()))]
    if faults:
        raise CannotRun(
            f"{folder}: {len(faults)} tensors are missing or of another shape, first {sorted(faults)[0]}"
        )
    return model.eval()


def _with_lora(language_model: nn.Module, recipe: TuningRecipe, folder: Path) -> Any:
    from peft import LoraConfig, get_peft_model

    names = {
        name.rpartition(".")[2] for name, m in language_model.named_modules() if isinstance(m, nn.Linear)
    }
    if unknown := sorted(set(recipe.lora_targets) - names):
        raise UsageError(
            f"lora_targets: {folder} has no linear layers called {', '.join(unknown)}; its language model has {', '.join(sorted(names))}"
        )
    adapter = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=list(recipe.lora_targets),
    )
    return get_peft_model(language_model, adapter)
