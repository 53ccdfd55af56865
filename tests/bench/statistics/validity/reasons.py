"""Why a figure lies outside its bound, where that is known."""

from __future__ import annotations

from tests.bench.statistics.validity.results import Entry

CAUTIOUS = (
    "on the safe side: leaving out a speaker who has 40 % moves the score 1/(1 − 0.4) times as far as his share of the error,"
    " and Student's t takes Kish's 5 or 6 speakers"
)
DOMINATED = (
    "two factors at once: on rating scales that differ, swapping the one big speaker is not like not swapping him, and"
    " studentising mends that only as the speakers that count grow in number (here 6)"
)
THIN = (
    "on the safe side: eight clips prove little of a class, and an interval holds at least what so few allow"
)
REASONS: dict[tuple[str, str], str] = {
    ("one speaker has 40 %", "jackknife-t"): CAUTIOUS,
    ("one speaker has 40 %", "difference"): CAUTIOUS,
    ("one speaker has 40 %, unlike", "difference"): CAUTIOUS,
    ("one speaker has 40 %, unlike", "swap test"): DOMINATED,
    ("log-normal clips per speaker", "difference"): (
        "on the safe side: few speakers hold most clips, and Student's t takes Kish's effective number of them"
    ),
    ("five equal, unlike", "max-T error"): (
        "swaps are exact for systems that are alike; for rating systems on different scales the studentised test is right only"
        " as speakers grow in number, and more of them than 40: one such pair alone is rejected in 5.5 to 5.6 %"
    ),
    ("a class held by two speakers", "difference"): (
        "two speakers tell how that class varies with one degree of freedom, and Student's t takes that of all speakers; records name"
        " such a class in a note"
    ),
    ("a class of 8 clips", "jackknife-t"): THIN,
    ("a class of 8 clips", "difference"): THIN,
    ("better by 6 points", "swap test"): (
        "5.1 points below the prediction, a hair outside: one Monte-Carlo error is 1.5 points"
    ),
}
"""By world and method."""


def reason_for(entry: Entry) -> str:
    """Give the reason in words, or say that it is not known."""
    return REASONS.get((entry.world, entry.method), "not known")
