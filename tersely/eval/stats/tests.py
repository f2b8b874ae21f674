"""Tests of two runs on the same problems, standard errors, and the correction for multiple tests."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tersely.eval.metrics.arrays import NAN, matrix, numbers, row_means, same_shape, vector, verdicts
from tersely.eval.stats.bootstrap import CHUNK, check, differences, paired

EXACT_UP_TO = 16  # non-zero differences: 65,536 sign flips
ROUNDING = 1e-12  # of the size of the values


def paired_permutation(a: Any, b: Any, *, draws: int = 10_000, seed: int = 0) -> float:
    """Two-sided sign-flip p of the mean over problems of d_q = mean a_q - mean b_q.

    Zero differences are not flipped. Up to 16 others: all 2^m flips, p = share with |sum| >= |observed sum|, never below
    2 / 2^m; more: (1 + count) / (1 + draws). Rounding: 1e-12 of the size of the values counts as equal. No non-zero
    difference -> 1; no problem -> nan.
    """
    check(draws)
    x, y = (row_means(v, ~np.isnan(v)) for v in paired(a, b))
    if not x.size:
        return NAN
    d = x - y
    d = d[np.abs(d) > ROUNDING * np.maximum(np.abs(x), np.abs(y))]
    if not d.size:
        return 1.0
    d = d / np.abs(d).max()  # avoids under- and overflow of squares and sums
    bar = abs(d.sum()) - ROUNDING * np.abs(d).sum()
    if len(d) <= EXACT_UP_TO:
        flips = (np.arange(2 ** len(d))[:, None] >> np.arange(len(d))) & 1
        return max(float((np.abs((1 - 2 * flips) @ d) >= bar).mean()), least_p(len(d)))
    rng = np.random.default_rng(seed)
    reached, left, step = 0, draws, max(1, CHUNK // len(d))
    while left > 0:
        flips = rng.integers(0, 2, size=(min(step, left), len(d)), dtype=np.int8)
        reached += int((np.abs((1.0 - 2.0 * flips) @ d) >= bar).sum())
        left -= step
    return (1 + reached) / (1 + draws)


def least_p(count: int) -> float:
    """Smallest two-sided p of a sign-flip test with this many non-zero differences: 2 / 2^count, at most 1."""
    return min(1.0, 2.0 ** (1 - count))


def _two_sided(x: int, y: int) -> float:
    """min(1, 2 P(Bin(x+y, 1/2) <= min(x, y))), exact; 1 without any event."""
    n = x + y
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(min(x, y) + 1)) / 2**n) if n else 1.0


def mcnemar_exact(a: Any, b: Any) -> float:
    """Exact McNemar p of two greedy runs, (Q,) of 0 and 1 each; pairs with a nan are dropped. No discordant pair -> 1."""
    x, y = verdicts(a, "a"), verdicts(b, "b")
    for name, v in (("a", x), ("b", y)):
        if v.shape[1] != 1 and v.size:
            raise ValueError(f"{name}: got shape {v.shape}; expected (Q,), one sample per problem for McNemar's test")
    same_shape(x, "a", y, "b")
    return _two_sided(int(((x == 1) & (y == 0)).sum()), int(((x == 0) & (y == 1)).sum()))


def sign_test(differences: Any) -> float:
    """Exact two-sided sign test; zeros and nan are dropped, none left -> 1."""
    d = numbers(differences, "differences")
    return _two_sided(int((d > 0).sum()), int((d < 0).sum()))


def standard_error(correct: Any, fixed_benchmark: bool = False) -> float:
    """Standard error of mean@n.

    Items random: sd(p_q, ddof=1) / sqrt(Q), fewer than 2 problems -> nan. Fixed benchmark:
    sqrt(sum p_q (1 - p_q) / (n_q - 1)) / Q; any n_q = 1 -> nan, because one sample does not show sampling noise.
    """
    c = verdicts(correct)
    n = (~np.isnan(c)).sum(axis=1)
    p, n = row_means(c, ~np.isnan(c))[n > 0], n[n > 0]
    if not fixed_benchmark:
        return _spread(p)
    if not n.size or (n == 1).any():
        return NAN
    return float(np.sqrt((p * (1 - p) / (n - 1)).sum()) / len(p))


def _spread(x: np.ndarray) -> float:
    return float(np.std(x, ddof=1) / np.sqrt(len(x))) if len(x) >= 2 else NAN


def clustered_standard_error(values: Any, clusters: Any) -> float:
    """sqrt(sum over clusters of (sum of v - mean v)^2) / Q for related items: (Q,) values and (Q,) hashable labels.

    nan values are dropped. None left -> nan.
    """
    v = matrix(values, "values")
    v = row_means(v, ~np.isnan(v))
    labels = list(clusters)
    if len(labels) != len(v):
        raise ValueError(f"clusters: got {len(labels)} labels for {len(v)} values; lengths must match")
    known = ~np.isnan(v)
    if not known.any():
        return NAN
    center = v[known].mean()
    sums: dict[Any, float] = {}
    for label, value in zip(labels, v, strict=False):
        if not np.isnan(value):
            sums[label] = sums.get(label, 0.0) + float(value - center)
    return math.sqrt(sum(s * s for s in sums.values())) / int(known.sum())


def paired_standard_error(a: Any, b: Any) -> float:
    """sd(d_q, ddof=1) / sqrt(Q) of the per-problem differences; fewer than 2 shared problems -> nan."""
    return _spread(differences(a, b))


def holm(p_values: Any) -> np.ndarray:
    """Holm-adjusted p in the order given: running maximum of (m - i + 1) p_(i) over the sorted p, capped at 1.

    nan stays nan and does not count as a test. ValueError: p outside [0, 1].
    """
    p = vector(p_values, "p_values")
    if np.any((p < 0) | (p > 1)):
        raise ValueError("p_values: got values outside [0, 1]; expected probabilities")
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return adjusted
