"""Accuracy: mean@n, bounds over undecided samples, pass@k and stricter variants.

Shapes: `correct` (Q, n) of 1 correct, 0 incorrect, nan undecided; undecided samples and problems without any are dropped.
Sources: pass@k 2107.03374; G-Pass@k and mG-Pass@k as quoted by secondary sources; the rest are standard definitions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tersely.eval.metrics.arrays import NAN, macro, mean, same_shape, verdicts


def mean_at_n(correct: Any) -> float:
    """Macro mean of `correct`: the primary accuracy (avg@n, the estimate of pass@1). Nothing left -> nan."""
    c = verdicts(correct)
    return macro(c, ~np.isnan(c))


def where_ended(correct: Any, truncated: Any) -> np.ndarray:
    """`correct` with 0 for a correct answer in a truncated completion, as training counts it.

    `truncated` (Q, n) of 1, 0 and nan; an unknown one counts as ended.
    """
    c, cut = verdicts(correct), verdicts(truncated, "truncated")
    same_shape(c, "correct", cut, "truncated")
    return np.where((cut == 1) & (c == 1), 0.0, c)


def undecided_rate(correct: Any) -> float:
    """Pooled share of samples whose verdict is nan. No sample -> nan."""
    c = verdicts(correct)
    return float(np.isnan(c).mean()) if c.size else NAN


def accuracy_bounds(correct: Any) -> tuple[float, float]:
    """Macro means with every undecided sample counted incorrect, and counted correct. No sample -> (nan, nan)."""
    c = verdicts(correct)
    everything = np.ones(c.shape, dtype=bool)
    low, high = (macro(np.nan_to_num(c, nan=fill), everything) for fill in (0.0, 1.0))
    return low, high


def _whole(value: Any, name: str) -> int:
    if value != int(value):
        raise ValueError(f"{name}: got {value}; expected a whole number")
    return int(value)


def _draw(n: Any, c: Any, k: Any) -> tuple[int, int, int]:
    n, c, k = _whole(n, "n"), _whole(c, "c"), _whole(k, "k")
    if k < 1:
        raise ValueError(f"k: got {k}; expected 1 or more")
    if c < 0 or c > n:
        raise ValueError(f"c: got {c}; expected between 0 and n = {n}")
    if n < k:
        raise ValueError(f"n: got {n}; expected at least k = {k}")
    return n, c, k


def pass_at_k(n: int, c: int, k: int) -> float:
    """Probability that k of n samples, c of them correct, include a correct one: 1 - C(n-c, k) / C(n, k) (2107.03374).

    ValueError for n < k (the released snippet returns 1 there), c outside 0..n, k < 1.
    """
    n, c, k = _draw(n, c, k)
    if n - c < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def pass_at_k_mean(correct: Any, k: int) -> float:
    """Mean of pass@k over the problems with at least k decided samples. No such problem -> nan."""
    c = verdicts(correct)
    k = _whole(k, "k")
    if k < 1:
        raise ValueError(f"k: got {k}; expected 1 or more")
    n_q, right = (~np.isnan(c)).sum(axis=1), np.nansum(c, axis=1)
    return mean(np.array([pass_at_k(n, r, k) for n, r in zip(n_q, right, strict=False) if n >= k], dtype=np.float64))


def g_pass_at_k(n: int, c: int, k: int, tau: float) -> float:
    """Probability that at least ceil(tau * k), and at least one, of k random samples are correct.

    tau = 0 equals pass@k, tau = 1 requires all k. ValueError as in pass_at_k, and for tau outside [0, 1].
    """
    n, c, k = _draw(n, c, k)
    if not 0 <= tau <= 1:
        raise ValueError(f"tau: got {tau}; expected in [0, 1]")
    least = max(1, math.ceil(tau * k - 1e-9))
    ways = sum(math.comb(c, j) * math.comb(n - c, k - j) for j in range(least, min(c, k) + 1))
    return ways / math.comb(n, k)


def mg_pass_at_k(n: int, c: int, k: int) -> float:
    """(2/k) * sum of g_pass_at_k(n, c, k, i/k) over i = ceil(k/2)+1 .. k; k = 1 gives the empty sum, 0."""
    n, c, k = _draw(n, c, k)
    return 2.0 / k * sum(g_pass_at_k(n, c, k, i / k) for i in range(math.ceil(k / 2) + 1, k + 1))
