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
    **{
        (f"UA {top}, errors crowd in few speakers", "jackknife-t"): (
            "a handful of errors in two or three of forty speakers looks like less crowding than there is: corpora that happen to hold few"
            " bad speakers show both a better score and a smaller variance"
        )
        for top in (0.97, 0.99)
    },
    ("a class of 8 clips", "jackknife-t"): THIN,
    ("a class of 8 clips", "difference"): THIN,
}
"""By world and method."""


def reason_for(entry: Entry) -> str:
    """Give the reason in words, or say that it is not known."""
    return REASONS.get((entry.world, entry.method), "not known")
