"""One task asked of one model: questions per clip in every variant, replies read, variants put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from adapters.audio_lm.aggregation import combine, to_answers, variant_facts
from adapters.audio_lm.no_answer import LacksFeature, why_none
from adapters.audio_lm.prompting import Prompting
from adapters.audio_lm.replies.clip_replies import read_ratings, read_variants
from adapters.audio_lm.replies.completions import ParsedReply, Usage, usage_of
from adapters.audio_lm.replies.parsing import parse_reply
from adapters.audio_lm.requests.clip_questions import (
    clip_questions,
    clip_sounds,
    prior_questions,
    sent_example,
)
from adapters.audio_lm.requests.dispatch import Dispatcher
from adapters.audio_lm.requests.prompts import PromptText
from adapters.audio_lm.requests.questions import Question, RequestOutcome, Slot, Variant
from adapters.audio_lm.settings import Settings
from bench.errors import CannotRun
from bench.protocols import ASK_AGAIN, DIMENSIONS, STORED, Answers, Array, Clips, FitContext


@dataclass
class ClipState:
    """What is known of a clip while it is asked about.

    Args:
        slots: where each reply belongs, in the order of the questions.
        keys: of the replies in the store, in that order.
        seconds: length of each window.
        status: set where the clip is not asked about at all.
    """

    slots: list[Slot] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    status: str | None = None


class PromptSession:
    """Asks a task's clips. Made for one call of ``predict``.

    Args:
        settings: the card's parameters.
        prompts: the wordings that they name.
        clips: what is asked about.
        context: labels, dimensions, seed, and whom to tell of the progress.
        dispatcher: sends what is not stored.
    """

    def __init__(
        self,
        settings: Settings,
        prompts: Mapping[str, PromptText],
        clips: Clips,
        context: FitContext,
        dispatcher: Dispatcher,
    ) -> None:
        self._settings, self._clips = settings, clips
        self._context, self._dispatcher = context, dispatcher
        self._prompting = Prompting.of(settings, prompts, context)
        self._ratings: Array = np.full((len(clips), len(DIMENSIONS)), np.nan)
        self._states = [ClipState() for _ in range(len(clips))]
        self._predicted: list[dict[Variant, ParsedReply]] = [{} for _ in range(len(clips))]
        self._problems: list[str] = []
        self._ask_again = 0
        self._usage = Usage()

    async def run(self) -> Answers:
        """Ask everything and return the combined answers, with those of each variant beside them.

        Raises:
            ServerGone, CannotRun, BudgetSpent: asking had to stop; what was answered is stored.
        """
        self._prompting = replace(self._prompting, tokens=await self._tokens())
        await self._ask_priors()
        self._make_parser_ready()
        await self._ask_clips()
        self._require_some_answer()
        return self._combined()

    async def _tokens(self) -> dict[str, list[int]]:
        """Ask the server how it cuts letters, digits or label words into tokens; that is kept beside the replies."""
        tokens = {}
        for text in self._prompting.tokenised_texts():
            tokens[text] = await self._dispatcher.tokens(self._settings.model, self._settings.revision, text)
            if self._prompting.must_be_one_token(text) and len(tokens[text]) != 1:
                raise CannotRun(
                    f"{self._settings.model}: the answer {text!r} is {len(tokens[text])} tokens there, and mode "
                    "likelihood compares single tokens; use choice"
                )
        return tokens

    def _make_parser_ready(self) -> None:
        """Read one reply in each language: the first takes seconds, in which requests under way would run out of time."""
        if self._settings.mode == "free":
            for language in {p.language for p in self._prompting.prompts.values()}:
                parse_reply("The speaker sounds fine.", self._prompting.labels, language=language)

    async def _ask_priors(self) -> None:
        """Ask for each label's likelihood without audio once, before all clips need it at the same time."""
        priors = prior_questions(self._prompting)
        if priors:
            await self._dispatcher.ask_all([lambda: priors], lambda _, outcomes: None)

    async def _ask_clips(self) -> None:
        done = 0

        def read(row: int, outcomes: list[RequestOutcome]) -> None:
            nonlocal done
            self._read(row, outcomes)
            done += 1
            self._context.progress(done, len(self._clips))

        await self._dispatcher.ask_all([self._questions_later(i) for i in range(len(self._clips))], read)

    def _questions_later(self, row: int) -> Callable[[], Sequence[Question]]:
        """Make a clip's questions when its turn comes, so that only clips in work are in memory."""
        return lambda: self._questions(row)

    def _questions(self, row: int) -> list[Question]:
        settings, state = self._settings, self._states[row]
        transcript = self._clips.transcripts[row] if self._clips.transcripts else ""
        if settings.transcript and not transcript:
            state.status = "failed"
            self._problems.append("the clip has no transcript")
            return []
        whole = settings.audio == "none" or self._clips.seconds[row] <= settings.longest_seconds
        if settings.long == "truncated" and not whole:
            state.status = "truncated"
            return []
        sounds = [] if settings.audio == "none" else clip_sounds(settings, self._clips.read(row))
        state.seconds = [s.seconds for s in sounds] or [1.0]
        asked = list(clip_questions(self._prompting, sounds, transcript))
        state.slots = [slot for slot, _ in asked]
        state.keys = [question.key for _, question in asked]
        return [question for _, question in asked]

    def _read(self, row: int, outcomes: Sequence[RequestOutcome]) -> None:
        """Read a clip's replies into one answer per variant."""
        state = self._states[row]
        if state.status is not None:
            unasked = ParsedReply(state.status, None, None)
            self._predicted[row] = dict.fromkeys(self._prompting.variants, unasked)
            return
        self._problems += [o.problem for o in outcomes if o.problem is not None]
        self._ask_again += sum(o.ask_again for o in outcomes)
        for outcome in outcomes:
            if outcome.reply is not None:
                self._usage += usage_of(outcome.reply)
        by_slot = dict(zip(state.slots, outcomes, strict=True))
        self._predicted[row] = read_variants(self._prompting, state.seconds, by_slot)
        if self._prompting.scale:
            self._ratings[row] = read_ratings(self._prompting, state.seconds, by_slot, self._prompting.scale)

    def _require_some_answer(self) -> None:
        """Raise where no clip that was asked about got a usable answer: that is the server or the card, not the clips.

        Replies that tell of a server which is not as it should be are forgotten, so that it is asked again when it is.
        """
        replies = [p for variants in self._predicted for p in variants.values()]
        answered = any(p.status == "ok" for p in replies)
        if answered or all(p.status == "truncated" for p in replies):
            return
        found = why_none(self._problems, replies)
        kept = not (self._problems or found.of_server)
        if found.of_server and self._context.server != STORED:
            self._dispatcher.forget(key for state in self._states for key in state.keys)
        clips = len(self._clips)
        hint = "; the replies are stored: serbench replies forget has them asked for again" if kept else ""
        kind = LacksFeature if found.lacks_feature else CannotRun
        raise kind(f"{self._settings.model}: no usable answer in {clips} of {clips}: {found.cause}{hint}")

    def _combined(self) -> Answers:
        labels = self._prompting.labels
        by_variant = {
            v: to_answers([predicted[v] for predicted in self._predicted], labels)
            for v in self._prompting.variants
        }
        together = combine(list(by_variant.values()), labels, self._settings.aggregate)
        return Answers(
            together.statuses,
            together.labels,
            together.probabilities,
            dimensions=self._ratings if self._prompting.scale else None,
            replies=together.replies,
            notes=variant_facts(by_variant, self._prompting.orders) | self._notes(),
            variants={v.name: a for v, a in by_variant.items()} if len(by_variant) > 1 else {},
        )

    def _notes(self) -> dict[str, Any]:
        return {
            "mode": self._settings.mode,
            "sent": sent_example(self._prompting),
            "aggregate": self._settings.aggregate,
            "tokens": {
                "prompt": self._usage.prompt,
                "cached": self._usage.cached,
                "completion": self._usage.completion,
            },
            "cost": self._dispatcher.price.of(self._usage),
            "problems": sorted(set(self._problems))[:20],
        } | self._notes_of_faults()

    def _notes_of_faults(self) -> dict[str, Any]:
        replies = [p for variants in self._predicted for p in variants.values() if p.status != "failed"]
        ignored = sum(p.unconstrained for p in replies)
        note = {"constraint": f"constraint ignored on {ignored} of {len(replies)}"} if ignored else {}
        return note | ({ASK_AGAIN: self._ask_again} if self._ask_again else {})
