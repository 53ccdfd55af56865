"""What a claim says, in words that its records bear."""

from __future__ import annotations

from collections.abc import Sequence

from bench.leaderboard.claims.ledger import Claim, ClaimLedger, Contestant
from bench.leaderboard.claims.rules import RIVAL_WORDS, ClaimQuestion
from bench.tasks.transfer import OTHER_LANGUAGES, OTHER_POOLS

NOTHING = "No published record speaks to this question."
LIKELIEST = "the answer being the likeliest of the classes that are scored"
MOST_NAMED = 3
"""Contradicting records that a sentence names."""


def claim_sentence(claim: Claim) -> str:
    """Say what the records hold of one task: the test, whose records they are, and what other versions say."""
    if claim.rival is None:
        return f"On {claim.task}, nothing {_scope(claim)} that stands was measured beside {claim.proposed.system}.{_space(_elsewhere(claim))}"
    parts = [_outcome(claim), _origin(claim)]
    if p := claim.pairing:
        parts += [_redrawn(claim)] if p.redrawn_low is not None and not p.rests_on_seeds else []
    parts += [
        claim.spread.words(claim.proposed.system, claim.rival.system),
        _contradictions(claim),
        _elsewhere(claim),
    ]
    return " ".join(filter(None, parts))


def summary(claims: Sequence[Claim]) -> str:
    """Say in one paragraph how a proposed system stands over the tasks of a question, confirmed or not."""
    sentences = []
    for system, track in dict.fromkeys((c.proposed.system, c.track) for c in claims):
        own = [c for c in claims if (c.proposed.system, c.track) == (system, track)]
        met = [c for c in own if c.rival]
        if not met:
            sentences.append(f"Nothing {_scope(own[0])} was measured beside `{system}`.")
            continue
        sides: list[str] = []
        for side, words in (("ahead", "ahead of"), ("behind", "behind"), ("level", "level with")):
            if on := [c for c in met if c.side == side]:
                rival = "it" if sides else f"the strongest system {_scope(met[0])}"
                counted = f" on {len(on)}" if len(met) > 1 else ""
                sides.append(f"{words} {rival}{counted} ({'; '.join(map(_briefly, on))})")
        tasks = len({c.task for c in met})
        pools = len({c.pool for c in met})
        shared = f", which have {pools} {'pool' if pools == 1 else 'pools'} of speakers between them," if pools < tasks else ""  # fmt: skip
        over = f"Of {tasks} tasks{shared}" if tasks > 1 else "On the one task that was run"
        sentences.append(f"{over} `{system}` is {' and '.join(sides)}.")
    return " ".join(sentences)


def standing(claims: Sequence[Claim]) -> str:
    """Say in one short sentence how the proposed systems stand over the tasks of a question; blank where nothing was met.

    For a first screen, whose boards lack what only studies measured.
    """
    said = []
    for system in dict.fromkeys(c.proposed.system for c in claims):
        met = [c for c in claims if c.proposed.system == system and c.rival]
        sides = [
            f"{side} on {len(on)} ({sum(c.confirmed for c in on)} confirmed)"
            for side in ("ahead", "behind", "level")
            if (on := [c for c in met if c.side == side])
        ]
        if sides:
            tasks = "the one task" if len(met) == 1 else f"{len(met)} tasks"
            said.append(
                f"Beside the strongest system {_scope(met[0])}, studies included, {system} is {', '.join(sides)} of {tasks}."
            )
    return " ".join(said)


def block(ledger: ClaimLedger, question: str) -> str:
    """A question's block of Markdown: the summary, then a line per claim.

    Args:
        ledger: all claims.
        question: its id.
    """
    claims = ledger.of(question)
    lines = [f"- {claim_sentence(c)}" for c in claims]
    return "\n".join([summary(claims), "", *lines]) if claims else NOTHING


def _scope(claim: Claim) -> str:
    return _scope_words(claim.question, claim.track)


def _scope_words(question: ClaimQuestion, track: str) -> str:
    told = [_learnt_words(question), LIKELIEST if question.outside == "masked" else ""]
    setting = ", ".join(filter(None, told))
    only = f", asked of {', '.join(question.tasks)} alone" if question.tasks != ("*",) else ""
    rivals = f"in the {track} track" if track else RIVAL_WORDS[question.rivals]
    return f"{rivals}{f' ({setting})' if setting else ''}{only}"


def _learnt_words(question: ClaimQuestion) -> str:
    """What the systems of a question learnt from; blank for the corpus itself, which is usual."""
    if question.protocol != "transfer":
        return "" if question.protocol == "within" else question.protocol
    corpora = {OTHER_LANGUAGES: "corpora of other languages", OTHER_POOLS: "other corpora"}
    return f"trained on {corpora.get(question.training, question.training or 'other corpora')} alone"


def _briefly(claim: Claim) -> str:
    """Task, size and whether the test bears it out."""
    p = claim.pairing
    by = (
        f" by {abs(100 * claim.difference):.1f} points of {claim.metric.upper().replace('_', '-')}"
        if claim.side != "level"
        else ""
    )
    if p is None:
        said = "not tested"
    elif claim.confirmed:
        once = " for the one seed that was run" if p.one_seed else ""
        said = "confirmed" + (" for these seeds only" if p.rests_on_seeds else once)
    else:
        said = {"equivalent": "equivalent within the margin"}.get(p.verdict, "not confirmed")
    depends = ", and other published versions say otherwise" if claim.contradicting else ""
    return f"{claim.task}{by}: {said}{depends}"


def _outcome(claim: Claim) -> str:
    assert claim.rival is not None
    if claim.pairing is not None:
        return claim.pairing.sentence
    scores = [f"{c.system} scores {100 * c.estimate:.1f}" for c in (claim.proposed, claim.rival)]
    metric = claim.metric.upper().replace("_", "-")
    return f"On {claim.task}, {' and '.join(scores)} in {metric}; the difference has no interval and no test, because {claim.untested}."


def _origin(claim: Claim) -> str:
    assert claim.rival is not None
    a, b = claim.proposed, claim.rival
    others = len(claim.rivals) - 1
    rank = f"the strongest of {others + 1}" if others else "the only one"
    tied = f", level with {', '.join(claim.tied)}" if claim.tied else ""
    code = "both by the same code" if a.code_version == b.code_version else "by different code"
    return f"{b.system} is {rank} {_scope(claim)}{tied}; {_place(a)}, {_place(b)}, {code}."


def _place(c: Contestant) -> str:
    seeds = ("1 seed" if c.seeds == 1 else f"{c.seeds} seeds") if c.seeded else "no seed"
    return f"{c.system} as in {c.publication} (code {c.code_version}, {seeds})"


def _redrawn(claim: Claim) -> str:
    p = claim.pairing
    assert p is not None
    assert p.redrawn_low is not None
    assert p.redrawn_high is not None
    low, high = (p.redrawn_low, p.redrawn_high) if p.difference >= 0 else (-p.redrawn_high, -p.redrawn_low)
    return f"With seeds drawn anew the interval is {_points(low)} to {_points(high)}."


def _contradictions(claim: Claim) -> str:
    if not claim.contradicting:
        return ""
    said = [f"{_points(p.difference)} by {p.first} and {p.second}" for p in claim.contradicting[:MOST_NAMED]]
    left = len(claim.contradicting) - MOST_NAMED
    more = f" (and {left} more)" if left > 0 else ""
    return f"Published records that say otherwise, proposed less rival in points: {'; '.join(said)}{more}."


def _elsewhere(claim: Claim) -> str:
    """Rivals that cannot be set beside it: scored on other clips, or of which no record stands any more."""
    said = []
    if claim.elsewhere:
        said.append(
            f"{', '.join(claim.elsewhere)} was scored on other clips of the task and cannot be set beside it."
        )
    if claim.replaced:
        said.append(f"{', '.join(claim.replaced)} was published before, and no record of it stands any more.")
    return " ".join(said)


def _space(text: str) -> str:
    return f" {text}" if text else ""


def _points(value: float) -> str:
    written = f"{100 * value:.1f}"
    return "0.0" if float(written) == 0 else written.replace("-", "−")
