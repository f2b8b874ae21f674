"""Budgets: accuracy at a token budget, and adherence to a requested length.

Shapes: `tokens`, `correct` (Q, n); requested `budgets` scalar, (Q,) or (Q, n) tokens, nan = none requested (sample dropped);
a budget grid is (B,), ascending, above 0. Sources: deviation of L1 2503.04697; control and scaling of s1 2501.19393.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.eval.metrics.arrays import (
    NAN,
    counts,
    grid,
    mean,
    not_negative,
    numbers,
    row_means,
    same_shape,
    vector,
    verdicts,
)


def accuracy_at_budget(correct: Any, tokens: Any, budgets: Any) -> np.ndarray:
    """(B,) macro mean of 1[correct and T <= B]: the truncation curve, a lower bound, because no answer is forced."""
    c, t = verdicts(correct), counts(tokens)
    same_shape(c, "correct", t, "tokens")
    known = ~np.isnan(c) & ~np.isnan(t)
    return np.array([mean(row_means((c == 1) & (t <= b), known)) for b in grid(budgets)], dtype=np.float64)


def budget_auc(budgets: Any, accuracy: Any) -> float:
    """Trapezoid of accuracy over log2(budget), divided by the width of the grid.

    One point -> its accuracy; any nan, or no point -> nan. ValueError: budgets not strictly increasing or not above 0.
    """
    b, a = grid(budgets, strict=True), vector(np.atleast_1d(numbers(accuracy, "accuracy")), "accuracy")
    same_shape(b, "budgets", a, "accuracy")
    if not len(a) or np.isnan(a).any():
        return NAN
    if len(a) == 1:
        return float(a[0])
    x = np.log2(b)
    return float((np.diff(x) * (a[1:] + a[:-1]) / 2).sum() / (x[-1] - x[0]))


def _relative(tokens: Any, budgets: Any) -> np.ndarray:
    """(samples,) pooled (T - B) / B."""
    t, b = counts(tokens), numbers(budgets, "budgets")
    if np.any(b <= 0) or np.any(np.isinf(b)):
        raise ValueError("budgets: got a value that is not above 0 and finite; expected finite values above 0")
    if b.ndim == 1 and len(b) == len(t):
        b = b[:, None]
    if b.ndim and (b.ndim != 2 or len(b) != len(t) or b.shape[1] not in (1, t.shape[1])):
        raise ValueError(f"budgets: got shape {b.shape} with tokens {t.shape}; expected a scalar, (Q,) or (Q, n)")
    return ((t - b) / b)[~np.isnan(t - b)]


def length_deviation(tokens: Any, budgets: Any) -> dict[str, float]:
    """Pooled `mean` of |T - B| / B and `rmse`, the root of the mean of its square (2503.04697)."""
    r = _relative(tokens, budgets)
    return {"mean": mean(np.abs(r)), "rmse": float(np.sqrt(mean(r**2)))}


def violation_rate(tokens: Any, budgets: Any) -> float:
    """Pooled share of T > B; equality is no violation."""
    return mean((_relative(tokens, budgets) > 0).astype(np.float64))


def budget_excess(tokens: Any, budgets: Any) -> dict[str, float]:
    """`excess`: mean (T - B) / B of the violators; `underuse`: mean (B - T) / B of the others. An empty side -> nan."""
    r = _relative(tokens, budgets)
    return {"excess": mean(r[r > 0]), "underuse": mean(-r[r <= 0])}


def s1_control(spend: Any, low: float, high: float) -> float:
    """Share of the runs of a sweep with low <= spend <= high tokens (2501.19393). Empty -> nan."""
    a = not_negative(vector(spend, "spend"), "spend")
    a = a[~np.isnan(a)]
    return mean(((a >= low) & (a <= high)).astype(np.float64))


def s1_scaling(spend: Any, accuracy: Any) -> float:
    """Mean slope (f(b) - f(a)) / (b - a) over all pairs a < b of a sweep; equal spends are skipped. No pair -> nan."""
    x, f = not_negative(vector(spend, "spend"), "spend"), vector(accuracy, "accuracy")
    same_shape(x, "spend", f, "accuracy")
    use = ~np.isnan(x) & ~np.isnan(f)
    x, f = x[use], f[use]
    i, j = np.nonzero(x[:, None] < x[None, :])
    return mean((f[j] - f[i]) / (x[j] - x[i]))
