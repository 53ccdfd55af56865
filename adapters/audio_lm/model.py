"""Audio-LLMs as a system: a task's clips asked in every variant, read, and put together. Nothing is trained.

One adapter for every model behind an OpenAI-compatible address: vLLM on this machine or another, and closed models.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from adapters.audio_lm.aggregation import Aggregate
from adapters.audio_lm.no_answer import LacksFeature
from adapters.audio_lm.prompting import Prompting
from adapters.audio_lm.requests.client import Endpoint, RetryPolicy
from adapters.audio_lm.requests.clip_questions import sent_example
from adapters.audio_lm.requests.dispatch import Dispatcher, Price
from adapters.audio_lm.requests.prompts import TEXT_SLOT, prompt
from adapters.audio_lm.requests.questions import Constrain, Mode
from adapters.audio_lm.requests.reply_cache import ReplyStore
from adapters.audio_lm.session import PromptSession
from adapters.audio_lm.settings import Settings
from bench.errors import CannotRun, DataError, NeedsServer, UsageError
from bench.protocols import STORED, Answers, Clips, Examples, FitContext, Weights
from bench.storage.run_folder import cache_folder

MOST_LETTERED = 20
"""Options whose letters' probabilities a server tells in one request (its usual limit of top log-probabilities)."""


class AudioLanguageModel:
    """Asks an Audio-LLM for the emotion of each clip. Its parameters say how; together with the model they are its identity.

    Args:
        model: the id under which the server serves it.
        mode: ``choice`` (the model may say one of the labels only), ``free`` (it says what it wants, and
            :func:`~adapters.audio_lm.parse_reply` reads it), ``likelihood`` (probabilities of permuted option letters) or
            ``likelihood-sum`` (log-probability of each label as the answer, less that without any audio).
        prompts: ids of prompts in ``tasks/prompts``.
        orders: how many orders of the options each prompt is asked in (the first is the table's own).
        repeats: how often each such request is sent; more than one measures flips at temperature 0, spread above.
        aggregate: how the variants become one answer.
        temperature: 0: the likeliest words; above: sampled.
        max_tokens: tokens of a reply at most.
        longest_seconds: longest audio the model takes.
        long: what becomes of longer clips: ``windows`` (equal windows, answers merged) or ``truncated`` (such a clip is a
            row with that status).
        audio: ``clip``; or a control: ``silence`` of the clip's length, ``none`` (then the transcript is all it has).
        transcript: whether the prompt shows the clip's transcript; clips without one are rows with status ``failed``.
        audio_first: whether the model's own template puts audio before the text.
        system_prompt: put before the question; None: none.
        constrain: how the server takes constraints: ``vllm`` or ``json_schema``.
        dimensions: scale on which valence, arousal and dominance are asked where the task has them, like ``[1, 9]``; None:
            they are not asked.
        fallback: mode to ask in where the server lacks what ``mode`` needs (structured outputs, log-probabilities); None: that
            is an error. Notes of the answers say that it happened.
        template: what the question is wrapped in where audio is sent, ``{text}`` in its place, as the model's owner prompts it; a
            placeholder of the model's own for the audio may stand in it.
        revision: of the model, part of the replies' key where no weights are found by their content.
        weights: the model's local folder, whose content is then its revision.
        key_variable: environment variable that holds the server's key.
        price: cost per million tokens: ``{input: …, output: …}``.
        concurrency: clips in work at once, and requests.
        request_seconds: limit of one request, from its sending to the last byte of its reply.

    Raises:
        UsageError: a parameter that is none, or that contradicts another.
    """

    def __init__(
        self,
        *,
        model: str,
        mode: Mode,
        prompts: Sequence[str] = ("paper",),
        orders: int = 1,
        repeats: int = 1,
        aggregate: Aggregate = "mean",
        temperature: float = 0.0,
        max_tokens: int = 64,
        longest_seconds: float = 30.0,
        long: Literal["windows", "truncated"] = "windows",
        audio: Literal["clip", "silence", "none"] = "clip",
        transcript: bool = False,
        audio_first: bool = True,
        system_prompt: str | None = None,
        constrain: Constrain = "vllm",
        key_variable: str | None = None,
        price: Mapping[str, float] | None = None,
        concurrency: int = 64,
        request_seconds: float = 120.0,
        dimensions: Sequence[int] | None = None,
        fallback: Mode | None = None,
        template: str = TEXT_SLOT,
        revision: str | None = None,
        weights: Weights | None = None,
    ) -> None:
        self._settings = Settings(
            model=model,
            mode=mode,
            prompts=tuple(prompts),
            orders=orders,
            repeats=repeats,
            aggregate=aggregate,
            temperature=temperature,
            max_tokens=max_tokens,
            longest_seconds=longest_seconds,
            long=long,
            audio=audio,
            transcript=transcript,
            audio_first=audio_first,
            system_prompt=system_prompt,
            constrain=constrain,
            # Weights the suite found by their content are that content, whatever name a server gives them.
            revision=weights.content_hash if weights else revision,
            dimensions=(dimensions[0], dimensions[1]) if dimensions else None,
            fallback=fallback,
            template=template,
        )
        self._prompts = {name: prompt(name) for name in prompts}
        self._key_variable, self._price = key_variable, Price(**(price or {}))
        self._concurrency, self._retry = concurrency, RetryPolicy(request_seconds=request_seconds)
        self._context: FitContext | None = None

    def fit(self, train: Examples, dev: Examples, context: FitContext) -> None:
        """Take note of the labels on offer; nothing is learnt.

        Args:
            train: left alone.
            dev: left alone.
            context: the labels on offer.

        Raises:
            DataError: no categories to choose from, or more than the mode takes.
            UsageError: a limit of cost without a price.
        """
        if not context.labels:
            raise DataError(f"{self._settings.model}: the task has no categories to choose from")
        if self._settings.mode == "likelihood" and len(context.labels) > MOST_LETTERED:
            raise DataError(
                f"{self._settings.model}: {len(context.labels)} labels, and mode likelihood takes at most {MOST_LETTERED}; use choice"
            )
        if context.max_cost is not None and self._key_variable is not None and self._price == Price():
            raise UsageError(
                f"--max-cost: the price of {self._settings.model} is not known; give it with --set "
                "'SYSTEM:price={input: …, output: …}' (per million tokens)"
            )
        self._context = context

    def predict(self, clips: Clips) -> Answers:
        """Ask about every clip in every variant.

        Raises:
            NeedsServer: replies are missing and no server's address is known.
            ServerGone, CannotRun, BudgetSpent: asking had to stop; what was answered is stored.
        """
        if self._context is None:
            raise UsageError("predict before fit")
        return asyncio.run(self._predict(clips, self._context))

    def sent_for_one_clip(self, context: FitContext) -> str:
        """Return the messages of a clip's first question, as JSON: the words as they are sent, audio and transcript by name.

        Args:
            context: labels on offer and the seed of the options' order.
        """
        return sent_example(Prompting.of(self._settings, self._prompts, context))

    async def _predict(self, clips: Clips, context: FitContext) -> Answers:
        with ReplyStore(store_path(self._settings.model)) as store:
            dispatcher = Dispatcher(
                store,
                lambda: self._connect(context),
                concurrency=self._concurrency,
                price=self._price,
                max_cost=context.max_cost,
            )
            try:
                return await self._ask(clips, context, dispatcher)
            finally:
                await dispatcher.close()
                counts = dispatcher.counts
                print(
                    f"{self._settings.model}: {counts.asked} replies asked for, {counts.found} from the store, {counts.rejected} "
                    f"rejected; {counts.usage.prompt} prompt tokens ({counts.usage.cached} cached), "
                    f"{counts.usage.completion} completion tokens, cost {counts.cost:.4f}",
                    file=sys.stderr,
                )

    async def _ask(self, clips: Clips, context: FitContext, dispatcher: Dispatcher) -> Answers:
        """Ask as the card says, or, where the server cannot and the card allows it, in the fallback's mode."""
        try:
            return await PromptSession(self._settings, self._prompts, clips, context, dispatcher).run()
        except LacksFeature as error:
            if self._settings.fallback is None:
                raise
            other = replace(self._settings, mode=self._settings.fallback, fallback=None)
            answers = await PromptSession(other, self._prompts, clips, context, dispatcher).run()
            return replace(answers, notes=answers.notes | {"fallback": f"asked as {other.mode}: {error}"})

    def _connect(self, context: FitContext) -> Endpoint:
        if context.server == STORED:
            raise CannotRun(
                f"{self._settings.model}: some replies are not stored; run the matrix with its server to ask for them"
            )
        if context.server is None:
            raise NeedsServer(
                f"{self._settings.model}: replies are missing and no server's address is known; give it with --set "
                "SYSTEM:server=http://HOST:PORT/v1"
            )
        return Endpoint(
            context.server, self._settings.model, key_variable=self._key_variable, retry=self._retry
        )


def store_path(model: str) -> Path:
    """Return where a model's replies are kept."""
    return cache_folder() / "replies" / (re.sub(r"[^A-Za-z0-9._-]+", "--", model) + ".sqlite")
