"""What a corpus could have told apart: the smallest difference that its test would have found four times in five."""

from __future__ import annotations

import math
from functools import cache

POWER = 0.80


def detectable_difference(
    standard_error: float, critical: float, degrees: float, *, power: float = POWER
) -> float | None:
    """Smallest true difference found with probability ``power``, in the metric's unit: (c + t_power) · se.

    c is the studentised difference from which the test rejects (for a family, the max-T one), t_power the quantile of
    Student's t on ``degrees`` of freedom (Bloom, Evaluation Review 19, 1995, 547–556). An approximation: the standard
    error is that of the pair at hand. None when nothing can be found: c is infinite, or nothing varies.

    >>> round(detectable_difference(0.02, 2.262, 9), 4)
    0.0629
    """
    if not math.isfinite(critical) or standard_error == 0.0:
        return None
    return (critical + student_quantile(power, degrees)) * standard_error


@cache
def student_quantile(probability: float, degrees: float) -> float:
    """Quantile of Student's t. A family of pairs asks for the same few again and again.

    >>> round(student_quantile(0.975, 9), 3)
    2.262
    """
    # Imported here: listing systems must not wait for scipy. Its special functions take a fifth of the time of scipy.stats.
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))
