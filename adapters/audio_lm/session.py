"""One task asked of one model: questions per clip in every variant, replies read, variants put together."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adapters.audio_lm.aggregation import combine, merge_windows, to_answers, variant_facts
from adapters.audio_lm.dimensions import (
    Scale,
    aspects,
    constraint,
    digits,
    prefix,
    read_dimensions,
)
from adapters.audio_lm.replies.completions import (
    Said,
    Usage,
    answer_logprob,
    is_refusal,
    read_choice,
    read_letters,
    softmax,
    text_of,
    usage_of,
    was_cut,
)
from adapters.audio_lm.replies.parsing import parse_reply
from adapters.audio_lm.requests.dispatch import Asker, Question, RequestOutcome
from adapters.audio_lm.requests.option_orders import option_orders
from adapters.audio_lm.requests.prompts import Control, PromptText, display_name, render, render_dimensions
from adapters.audio_lm.requests.questions import (
    SCORED,
    Sound,
    Variant,
    constrained,
    letters_only,
    messages,
    windows,
)
from adapters.audio_lm.requests.reply_cache import reply_key
from adapters.audio_lm.settings import Settings
from bench.errors import CannotRun
from bench.protocols import DIMENSIONS, Answers, Array, Clips, FitContext

LETTERS = string.ascii_uppercase
CONTROLS: Mapping[str, Control | None] = {"clip": None, "silence": "audio-free", "none": "text-only"}


@dataclass(frozen=True)
class Slot:
    """Where a reply belongs: window of the clip (−1: asked without audio), variant, the label whose likelihood it tells or the
    aspect of the dimensions that it rates ("" otherwise).
    """

    window: int
    variant: Variant
    label: str = ""
    aspect: str = ""


@dataclass
class AskedClip:
    """What is known of a clip while it is asked about."""

    slots: list[Slot] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    status: str | None = None
    """Set where the clip is not asked about at all."""


class LacksFeature(CannotRun):
    """The server cannot be asked in this mode; another may do, where the card allows it."""


class PromptSession:
    """Asks a task's clips. Made for one call of ``predict``."""

    def __init__(
        self,
        settings: Settings,
        prompts: Mapping[str, PromptText],
        clips: Clips,
        context: FitContext,
        asker: Asker,
    ) -> None:
        self._settings, self._prompts, self._clips = settings, prompts, clips
        self._labels, self._context, self._asker = context.labels, context, asker
        self._orders = option_orders(self._labels, settings.orders, seed=context.seed)
        self._variants = [
            Variant(name, order, repeat)
            for name in settings.prompts
            for order in range(len(self._orders))
            for repeat in range(settings.repeats)
        ]
        self._tokens: dict[str, list[int]] = {}
        self._scale = settings.dimensions if context.dimensions else None
        self._rated: Array = np.full((len(clips), len(DIMENSIONS)), np.nan)
        self._rows = [AskedClip() for _ in range(len(clips))]
        self._said: list[dict[Variant, Said]] = [{} for _ in range(len(clips))]
        self._problems: list[str] = []
        self._usage = Usage()

    async def run(self) -> Answers:
        """Ask everything and return the combined answers, with those of each variant beside them."""
        await self._learn_tokens()
        done = 0

        def keep(row: int, outcomes: list[RequestOutcome]) -> None:
            nonlocal done
            self._read(row, outcomes)
            done += 1
            self._context.progress(done, len(self._clips))

        await self._ask_priors()
        await self._asker.ask_all([self._asking(i) for i in range(len(self._clips))], keep)
        if (
            self._clips.ids
            and self._problems
            and not any(s.status == "ok" for x in self._said for s in x.values())
        ):
            self._explain_nothing_worked()
        by_variant = {
            v: to_answers([self._said[i][v] for i in range(len(self._clips))], self._labels)
            for v in self._variants
        }
        together = combine(list(by_variant.values()), self._labels, self._settings.aggregate)
        facts = variant_facts(by_variant, self._orders) | {
            "mode": self._settings.mode,
            "aggregate": self._settings.aggregate,
            "tokens": {
                "prompt": self._usage.prompt,
                "cached": self._usage.cached,
                "completion": self._usage.completion,
            },
            "cost": self._asker.price.of(self._usage),
            "problems": sorted(set(self._problems))[:20],
        }
        return Answers(
            together.statuses,
            together.labels,
            together.probabilities,
            dimensions=self._rated if self._scale else None,
            replies=together.replies,
            notes=facts,
            variants={v.name: a for v, a in by_variant.items()} if len(by_variant) > 1 else {},
        )

    async def _ask_priors(self) -> None:
        """Ask for each label's likelihood without audio once, before all clips need it at the same time."""
        if self._settings.mode != "likelihood-sum" or self._settings.transcript:
            return
        priors = [self._question(v, (), "", label) for v in self._variants for label in self._labels]
        await self._asker.ask_all([lambda: priors], lambda _, outcomes: None)

    def _explain_nothing_worked(self) -> None:
        """Every request was rejected: that is the server or the card, not the clips."""
        problem = self._problems[0]
        words = problem.lower()
        constraints = "does not take structured outputs (use mode: free, or fallback: free)"
        what, kind = "answers none of the requests", CannotRun
        for sign, reason, lacking in (
            ("audio", "does not take audio", CannotRun),
            ("structured", constraints, LacksFeature),
            ("guided", constraints, LacksFeature),
            ("response_format", constraints, LacksFeature),
            (
                "logprob",
                "does not give log-probabilities (use mode: choice, or fallback: choice)",
                LacksFeature,
            ),
        ):
            if sign in words:
                what, kind = reason, lacking
                break
        raise kind(
            f"{self._settings.model}: the server {what}; all {len(self._problems)} were rejected, the first with: {problem}"
        )

    # ------------------------------------------------------------------------------------------------- questions

    def _asking(self, row: int) -> Callable[[], Sequence[Question]]:
        return lambda: list(self._questions(row))

    def _questions(self, row: int) -> Iterator[Question]:
        """Make a clip's questions when its turn comes, so that only clips in work are in memory."""
        settings, entry = self._settings, self._rows[row]
        transcript = self._clips.transcripts[row] if self._clips.transcripts else ""
        if settings.transcript and not transcript:
            entry.status = "failed"
            self._problems.append("the clip has no transcript")
            return
        whole = settings.audio == "none" or self._clips.seconds[row] <= settings.longest_seconds
        if settings.long == "truncated" and not whole:
            entry.status = "truncated"
            return
        heard = self._sounds(row)
        entry.seconds = [s.seconds for s in heard] or [1.0]
        for variant in self._variants:
            for window, sound in enumerate(heard or [None]):
                sounds = (sound,) if sound is not None else ()
                for label in self._scored_labels():
                    entry.slots.append(Slot(window, variant, label))
                    yield self._question(variant, sounds, transcript, label)
                    if label:
                        entry.slots.append(Slot(-1, variant, label))
                        yield self._question(variant, (), transcript, label)
        if self._scale is None:
            return
        for window, sound in enumerate(heard):
            for aspect in aspects(settings.mode):
                entry.slots.append(Slot(window, self._variants[0], aspect=aspect))
                yield self._rating(sound, aspect, self._scale)

    def _scored_labels(self) -> Sequence[str]:
        return self._labels if self._settings.mode == "likelihood-sum" else ("",)

    def _sounds(self, row: int) -> list[Sound]:
        if self._settings.audio == "none":
            return []
        waveform = self._clips.read(row)
        if self._settings.audio == "silence":
            waveform = np.zeros_like(waveform)
        return [Sound.of(part) for part in windows(waveform, self._settings.longest_seconds)]

    def _question(self, variant: Variant, sounds: tuple[Sound, ...], transcript: str, label: str) -> Question:
        settings = self._settings
        prompt = self._prompts[variant.prompt]
        order = self._orders[variant.order]
        text = render(
            prompt,
            self._labels,
            order,
            transcript=transcript if settings.transcript else None,
            form="lettered" if settings.mode == "likelihood" else "plain",
            control=CONTROLS[settings.audio],
        ).text
        body: dict[str, Any] = {
            "model": settings.model,
            "messages": messages(
                text,
                system=settings.system_prompt,
                sounds=len(sounds),
                audio_first=settings.audio_first,
                prefix=_word(label, prompt) if label else None,
            ),
            "temperature": settings.temperature,
        }
        body |= self._constraint(prompt, order, variant.repeat)
        key = reply_key(
            settings.model, settings.revision, body, tuple(s.hash for s in sounds), variant.repeat
        )
        return Question(key, body, sounds)

    def _rating(self, sound: Sound, aspect: str, scale: Scale) -> Question:
        """Ask for the dimensions, in the language of the first prompt."""
        settings, variant = self._settings, self._variants[0]
        text = render_dimensions(self._prompts[variant.prompt].language, *scale).text
        body: dict[str, Any] = {
            "model": settings.model,
            "messages": messages(
                text,
                system=settings.system_prompt,
                sounds=1,
                audio_first=settings.audio_first,
                prefix=prefix(aspect),
            ),
            "temperature": settings.temperature,
        }
        body |= constraint(
            settings.mode, settings.constrain, aspect, scale, self._tokens, settings.max_tokens
        )
        key = reply_key(settings.model, settings.revision, body, (sound.hash,), 0)
        return Question(key, body, (sound,))

    def _constraint(self, prompt: PromptText, order: Sequence[str], repeat: int) -> dict[str, Any]:
        settings = self._settings
        match settings.mode:
            case "choice":
                words = [_word(label, prompt) for label in order]
                return {"max_tokens": settings.max_tokens, **constrained(words, settings.constrain)}
            case "free":
                sampled = {"seed": repeat} if settings.temperature > 0 else {}
                return {"max_tokens": settings.max_tokens, **sampled}
            case "likelihood":
                return letters_only([self._tokens[x][0] for x in LETTERS[: len(order)]])
            case "likelihood-sum":
                return dict(SCORED)

    async def _learn_tokens(self) -> None:
        """Ask the server how it cuts letters or label words into tokens, and keep that beside the replies."""
        match self._settings.mode:
            case "likelihood":
                texts = list(LETTERS[: len(self._labels)])
            case "likelihood-sum":
                texts = sorted({_word(x, p) for x in self._labels for p in self._prompts.values()})
            case _:
                texts = []
        if self._scale and self._settings.mode in ("likelihood", "likelihood-sum"):
            texts += digits(self._scale)
        single = set(LETTERS) | set(digits(self._scale or (0, 0)))
        for text in texts:
            self._tokens[text] = await self._asker.tokens(self._settings.model, self._settings.revision, text)
            if text in single and len(self._tokens[text]) != 1:
                raise CannotRun(
                    f"{self._settings.model}: the answer {text!r} is {len(self._tokens[text])} tokens there, and mode "
                    "likelihood compares single tokens; use choice"
                )

    # --------------------------------------------------------------------------------------------------- replies

    def _read(self, row: int, outcomes: Sequence[RequestOutcome]) -> None:
        """Read a clip's replies into one answer per variant."""
        entry = self._rows[row]
        if entry.status is not None:
            self._said[row] = {v: Said(entry.status, None, None) for v in self._variants}
            return
        self._problems += [o.problem for o in outcomes if o.problem is not None]
        for outcome in outcomes:
            if outcome.reply is not None:
                self._usage += usage_of(outcome.reply)
        replies = dict(zip(entry.slots, outcomes, strict=True))
        for variant in self._variants:
            parts = [
                (seconds, self._said_in(window, variant, replies))
                for window, seconds in enumerate(entry.seconds)
            ]
            self._said[row][variant] = merge_windows(parts, self._labels)
        if self._scale:
            self._rated[row] = self._rating_of(entry, replies, self._scale)

    def _rating_of(self, entry: AskedClip, replies: Mapping[Slot, RequestOutcome], scale: Scale) -> Array:
        """Mean over the windows, weighted by their seconds, of what could be read."""
        parts = []
        for window in range(len(entry.seconds)):
            asked = {a: Slot(window, self._variants[0], aspect=a) for a in aspects(self._settings.mode)}
            parts.append(read_dimensions({a: replies[s].reply for a, s in asked.items()}, scale))
        rated = np.stack(parts)
        weights = np.isfinite(rated) * np.array(entry.seconds)[:, np.newaxis]
        total = weights.sum(axis=0)
        mean = (np.nan_to_num(rated) * weights).sum(axis=0) / np.where(total > 0, total, 1)
        return np.where(total > 0, mean, np.nan)

    def _said_in(self, window: int, variant: Variant, replies: Mapping[Slot, RequestOutcome]) -> Said:
        if self._settings.mode == "likelihood-sum":
            return self._summed(window, variant, replies)
        outcome = replies[Slot(window, variant)]
        if outcome.reply is None:
            return Said("failed", None, outcome.problem)
        reply, order = outcome.reply, self._orders[variant.order]
        prompt = self._prompts[variant.prompt]
        match self._settings.mode:
            case "choice":
                return read_choice(reply, {_word(x, prompt): x for x in order})
            case "likelihood":
                return self._in_table_order(read_letters(reply, order, LETTERS), order)
            case _:
                return self._parsed(reply, prompt)

    def _parsed(self, reply: Mapping[str, Any], prompt: PromptText) -> Said:
        text = text_of(reply)
        if is_refusal(reply):
            return Said("refused", None, text)
        if was_cut(reply) or text is None:
            return Said("unparsed", None, text)
        found = parse_reply(text, self._labels, language=prompt.language)
        return Said(found.status, found.label, text)

    def _in_table_order(self, said: Said, order: Sequence[str]) -> Said:
        if said.probabilities is None:
            return said
        place = {label: i for i, label in enumerate(order)}
        return Said(said.status, said.label, said.text, said.probabilities[[place[x] for x in self._labels]])

    def _summed(self, window: int, variant: Variant, replies: Mapping[Slot, RequestOutcome]) -> Said:
        """Log-probability of each label as the answer, less that without audio; then normalised over the labels."""
        scores = []
        prompt = self._prompts[variant.prompt]
        for label in self._labels:
            tokens = len(self._tokens[_word(label, prompt)])
            pair = [replies[Slot(w, variant, label)] for w in (window, -1)]
            problem = next((o.problem for o in pair if o.reply is None), None)
            if problem is not None:
                return Said("failed", None, problem)
            found = [answer_logprob(o.reply or {}, tokens) for o in pair]
            if found[0] is None or found[1] is None:
                return Said("unparsed", None, None)
            scores.append(found[0] - found[1])
        probabilities = softmax(np.array(scores))
        return Said("ok", self._labels[int(probabilities.argmax())], None, probabilities)


def _word(label: str, prompt: PromptText) -> str:
    """Return a label as the prompt writes it."""
    return display_name(label, prompt.language, capital=prompt.settings.capital)
