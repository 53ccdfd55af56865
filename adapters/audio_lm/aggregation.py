"""From windows to a clip, from variants to one answer, and what the variants tell about the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np

from adapters.audio_lm.replies.completions import ParsedReply
from adapters.audio_lm.requests.questions import Variant
from bench.protocols import Answers, Array

Aggregate = Literal["mean", "vote"]


def merge_windows(parts: Sequence[tuple[float, ParsedReply]], labels: Sequence[str]) -> ParsedReply:
    """One answer for a clip asked in windows.

    Probabilities are averaged with the windows' seconds as weights; labels without probabilities vote with their
    seconds. The clip counts as answered when the windows answered hold at least half of its seconds; else it takes the
    status with the most seconds. The text is that of all windows, one below the other.

    Args:
        parts: (seconds, answer) of each window, in time order.
        labels: names on offer, in the order of the probabilities.
    """
    if len(parts) == 1:
        return parts[0][1]
    text = "\n".join(s.text for _, s in parts if s.text is not None) or None
    unconstrained = any(s.unconstrained for _, s in parts)
    answered = [(seconds, s) for seconds, s in parts if s.status == "ok"]
    total, answered_seconds = sum(seconds for seconds, _ in parts), sum(seconds for seconds, _ in answered)
    if 2 * answered_seconds < total or not answered:
        silent: Counter[str] = Counter()
        for seconds, s in parts:
            if s.status != "ok":
                silent[s.status] += seconds  # type: ignore[assignment]  # seconds are weights
        return ParsedReply(silent.most_common(1)[0][0], None, text, unconstrained=unconstrained)
    weights: Array = np.array([seconds for seconds, _ in answered])
    if all(s.probabilities is not None for _, s in answered):
        probabilities = np.average([s.probabilities for _, s in answered], axis=0, weights=weights)
        return ParsedReply("ok", labels[int(probabilities.argmax())], text, probabilities)
    scores = np.zeros(len(labels))
    for seconds, s in answered:
        if s.label is not None:
            scores[list(labels).index(s.label)] += seconds
    return ParsedReply("ok", labels[int(scores.argmax())], text, unconstrained=unconstrained)


def to_answers(replies: Sequence[ParsedReply], labels: Sequence[str]) -> Answers:
    """Answers of one variant, one row per clip."""
    probabilities = None
    if any(s.probabilities is not None for s in replies):
        empty = np.full(len(labels), np.nan)
        probabilities = np.stack([s.probabilities if s.probabilities is not None else empty for s in replies])
    return Answers(
        statuses=tuple(s.status for s in replies),
        labels=tuple(s.label for s in replies),
        probabilities=probabilities,
        replies=tuple(s.text for s in replies),
    )


def combine(variants: Sequence[Answers], labels: Sequence[str], how: Aggregate) -> Answers:
    """One answer per clip from all variants.

    ``mean``: the mean of the probabilities of the variants that gave some, which must be all that answered; else as
    ``vote``: the label most variants gave, the share of the votes as its probability; a tie goes to the label that an
    earlier variant gave. A clip that no variant answered takes the commonest status. The reply kept is the first variant's.

    Args:
        variants: answers of each variant, over the same clips.
        labels: names on offer, in the order of the probabilities.
        how: ``mean`` or ``vote``.
    """
    if len(variants) == 1:
        return variants[0]
    rows = len(variants[0].statuses)
    columns = {label: i for i, label in enumerate(labels)}
    statuses: list[str] = []
    predicted: list[str | None] = []
    probabilities = np.full((rows, len(labels)), np.nan)
    for row in range(rows):
        answered = [v for v in variants if v.statuses[row] == "ok"]
        if not answered:
            statuses.append(Counter(v.statuses[row] for v in variants).most_common(1)[0][0])
            predicted.append(None)
            continue
        given = [v.probabilities[row] for v in answered if v.probabilities is not None]
        if how == "mean" and len(given) == len(answered):
            mean = np.mean(given, axis=0)
            best = labels[int(mean.argmax())]
        else:
            votes = Counter(x for v in answered if (x := v.labels[row]) is not None)
            best = votes.most_common(1)[0][0]  # Counter keeps the order of first sight among equals
            mean = np.zeros(len(labels))
            for label, n in votes.items():
                mean[columns[label]] = n / votes.total()
        statuses.append("ok")
        predicted.append(best)
        probabilities[row] = mean
    return Answers(tuple(statuses), tuple(predicted), probabilities, replies=variants[0].replies)


def variant_facts(variants: Mapping[Variant, Answers], orders: Sequence[Sequence[str]]) -> dict[str, Any]:
    """What the variants say about the model without any true label: JSON values for the record.

    ``invalid_rate``: share of replies without a label. ``prompt_agreement``: share of clips on which two prompts agree,
    over pairs that differ in the prompt alone. ``order_agreement`` and ``flip_rate``: likewise for the order of the
    options, and (as disagreement) for identical repeats. ``position_shares``: how often the option at each position was
    chosen, over all variants; ``position_bias``: total variation distance of these shares from those that the same
    answers would have had with options evenly spread (0: none, towards 1: always one place).
    """
    total = sum(len(a.statuses) for a in variants.values())
    invalid = sum(s != "ok" for a in variants.values() for s in a.statuses)
    facts: dict[str, Any] = {
        "variants": len(variants),
        "invalid_rate": invalid / total if total else None,
        "prompt_agreement": _agreement(variants, ("order", "repeat")),
        "order_agreement": _agreement(variants, ("prompt", "repeat")),
        "flip_rate": None,
    }
    same = _agreement(variants, ("prompt", "order"))
    facts["flip_rate"] = None if same is None else 1 - same
    facts["statuses"] = {v.name: dict(sorted(Counter(a.statuses).items())) for v, a in variants.items()}
    return facts | _position_facts(variants, orders)


def _agreement(variants: Mapping[Variant, Answers], fixed: Sequence[str]) -> float | None:
    """Share of clips with one label under two variants alike in ``fixed``, over all such pairs and clips both answered."""
    agreed = compared = 0
    for (v, a), (w, b) in combinations(variants.items(), 2):
        if any(getattr(v, name) != getattr(w, name) for name in fixed):
            continue
        for x, y in zip(a.labels, b.labels, strict=True):
            if x is not None and y is not None:
                compared += 1
                agreed += x == y
    return agreed / compared if compared else None


def _position_facts(variants: Mapping[Variant, Answers], orders: Sequence[Sequence[str]]) -> dict[str, Any]:
    places = [0] * (len(orders[0]) if orders else 0)
    expected = np.zeros(len(places))
    answered = 0
    for variant, answers in variants.items():
        order = list(orders[variant.order])
        for label in answers.labels:
            if label is not None:
                places[order.index(label)] += 1
                answered += 1
                # What this label would get at each place if its choice did not look at the place at all.
                seen = [list(o).index(label) for o in orders]
                expected += np.bincount(seen, minlength=len(places)) / len(orders)
    if not answered or len(orders) < 2:
        return {"position_shares": None, "position_bias": None}
    shares = np.array(places) / answered
    bias = float(np.abs(shares - expected / answered).sum() / 2)
    return {"position_shares": shares.tolist(), "position_bias": bias}
