"""Non-inferiority test: is accuracy lower than the base's by at most a margin, and how many problems would decide it.

A plain bootstrap or t test fails for rare losses: 30 problems without a loss have an interval of width 0, but are weak
evidence about a loss on 1 % of problems. So two problems with a complete loss are added (a one-sided variant of Agresti
and Coull's added successes and failures), and p is never below (1 - margin)^Q: the probability that Q problems show no
loss if the run loses that share of them completely.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import ndtri, stdtr

from tersely.eval.metrics.arrays import NAN, vector

ADDED = 2  # added problems with a complete loss
MOST = 10**7  # problems


def non_inferiority_p(differences: Any, margin: float) -> float:
    """One-sided p of "the mean difference is -margin or lower" for (Q,) differences in [-1, 1], run minus base; nan dropped.

    t = (m + margin) / (s / sqrt(Q + 2)) with mean m and deviation s of the differences and two of -1, against t with
    Q - 1 degrees of freedom; never below ((1 - margin) / (1 + max(m, 0)))^Q. Fewer than 2 problems -> 1, none -> nan.
    ValueError: margin outside (0, 1), differences outside [-1, 1].
    """
    d = vector(differences, "differences")
    d = d[~np.isnan(d)]
    if not 0 < margin < 1:
        raise ValueError(f"margin: got {margin}; expected between 0 and 1, in accuracy (0.01 is one point)")
    if np.any(np.abs(d) > 1 + 1e-9):
        raise ValueError("differences: got values outside [-1, 1]; expected differences of accuracy")
    if not d.size:
        return NAN
    return _p(len(d), float(d.mean()), float((d * d).mean()), margin)


def _p(problems: int, mean: float, square: float, margin: float) -> float:
    """p-value from the number of problems and the means of their differences and squared differences."""
    if problems < 2:
        return 1.0
    total = problems + ADDED
    middle = (problems * mean - ADDED) / total
    variance = max((problems * square + ADDED) / total - middle**2, 0.0) * total / (total - 1)
    error = math.sqrt(variance / total)
    if error == 0:
        return 1.0  # every difference is -1
    no_loss = ((1 - margin) / (1 + max(mean, 0.0))) ** problems
    return float(max(stdtr(problems - 1, -(middle + margin) / error), no_loss))


def problems_to_decide(differences: Any, margin: float, level: float = 0.05) -> int | None:
    """Fewest problems that would give a conclusion at the mean and spread of these differences.

    A conclusion is "not worse by more than the margin" or a significant change (two-sided). None: more than ten million.
    """
    d = vector(differences, "differences")
    d = d[~np.isnan(d)]
    if not d.size:
        return None
    mean, square = float(d.mean()), float((d * d).mean())
    least = next(n for n in range(1, 200) if 2.0 ** (1 - n) < level)  # for a sign-flip test
    spread = float(np.std(d, ddof=1)) if len(d) > 1 else abs(mean)
    found = [_fewest(lambda n: _p(n, mean, square, margin) < level)]
    if abs(mean) > 1e-12:
        share = float((np.abs(d) > 1e-12).mean())  # only problems with a difference count
        wanted = max((ndtri(level / 2) * spread / abs(mean)) ** 2, least / share)
        found.append(math.ceil(wanted) if wanted <= MOST else None)
    known = [n for n in found if n is not None]
    return min(known) if known else None


def _fewest(enough: Callable[[int], bool]) -> int | None:
    """The smallest n with enough(n); enough must be monotonic."""
    high = 2
    while not enough(high):
        high *= 2
        if high > MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
