"""Pareto front and hypervolume of (tokens, accuracy) points: fewer tokens and more accuracy are better.

Definitions are our own. Unit of the hypervolume: accuracy times doublings of tokens. Fix the reference once per report
and print it. Claim dominance between two runs only with stats.dominance_probability >= 0.95.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.eval.metrics.arrays import not_negative, numbers


def _points(points: Any) -> np.ndarray:
    p = numbers(points, "points")
    if p.size == 0:
        p = p.reshape(0, 2)
    if p.ndim != 2 or p.shape[1] != 2:
        raise ValueError(f"points: got shape {p.shape}; expected (M, 2): tokens, accuracy")
    not_negative(p[:, 0], "points (tokens)")
    return p


def pareto_front(points: Any) -> np.ndarray:
    """(M,) bool: no other point has tokens <= and accuracy >= with one of them strict. Duplicates stay; nan -> False."""
    p = _points(points)
    t, a = p[:, 0], p[:, 1]
    no_worse = (t[:, None] <= t[None, :]) & (a[:, None] >= a[None, :])  # [i, j]: i at least as good as j
    strict = (t[:, None] < t[None, :]) | (a[:, None] > a[None, :])
    return ~(no_worse & strict).any(axis=0) & ~np.isnan(p).any(axis=1)


def hypervolume(points: Any, reference: Any, log2: bool = True) -> float:
    """Area of the union of [x(T), x(T_ref)] x [A_ref, A], x = log2 T, or T when log2 is False.

    reference = (T_ref, A_ref). Points with T >= T_ref or A <= A_ref, and nan rows, add nothing; no point -> 0.
    ValueError: T <= 0 with log2.
    """
    p = _points(points)
    ref = numbers(reference, "reference")
    if ref.shape != (2,) or np.isnan(ref).any():
        raise ValueError(f"reference: got {reference!r}; expected (tokens, accuracy)")
    p = p[~np.isnan(p).any(axis=1)]
    if log2 and np.any(p[:, 0] <= 0):
        raise ValueError("points: got a token count of 0 or less; expected above 0 with log2")
    if log2 and ref[0] <= 0:
        raise ValueError(f"reference: got {ref[0]} tokens; expected above 0 with log2")
    p = p[(p[:, 0] < ref[0]) & (p[:, 1] > ref[1])]
    p = p[np.argsort(p[:, 0], kind="stable")]
    x = np.append(p[:, 0], ref[0])
    x = np.log2(x) if log2 else x
    return float((np.diff(x) * (np.maximum.accumulate(p[:, 1]) - ref[1])).sum())
