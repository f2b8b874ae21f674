"""Adaptivity: whether length follows difficulty.

Difficulty is 1 - reference_rate, (Q,), the solve rate of a fixed reference model (n >= 16 samples): taken from the
evaluated model itself it would make the correlation trivial, since incorrect answers are long. Problems of equal rate are
interchangeable: before a cut each gets the mean tokens of its tie group, so that nothing depends on the order of rows.
Definitions are our own; ALP (2506.05256) reports a ratio with other, unpublished edges: do not compare ours with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.eval.metrics.arrays import (
    NAN,
    counts,
    mean,
    numbers,
    rates,
    row_means,
    same_problems,
    same_shape,
    vector,
    verdicts,
)

BINS = ("0", "(0,0.25]", "(0.25,0.5]", "(0.5,0.75]", "(0.75,1)", "1")


def _known(tokens: Any, reference_rate: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean tokens and rate of the problems that have both, (Q',) each."""
    t, r = counts(tokens), rates(reference_rate)
    same_problems(t, "tokens", r, "reference_rate")
    t = row_means(t, ~np.isnan(t))
    use = ~np.isnan(t) & ~np.isnan(r)
    return t[use], r[use]


def allocation_curve(tokens: Any, reference_rate: Any, shares: Any) -> np.ndarray:
    """L(s): share of all tokens spent on the easiest fraction s of problems, linear between problems.

    No problem, or no token at all -> nan. ValueError: a share outside [0, 1].
    """
    s = vector(np.atleast_1d(numbers(shares, "shares")), "shares")
    if not np.all((s >= 0) & (s <= 1)):
        raise ValueError("shares: got a value outside [0, 1]; expected fractions")
    t, r = _known(tokens, reference_rate)
    if not len(t) or t.sum() == 0:
        return np.full(len(s), np.nan)
    _, group, size = np.unique(-r, return_inverse=True, return_counts=True)  # easy first
    tied = np.repeat(np.bincount(group, weights=t) / size, size)
    spent = np.concatenate([[0.0], np.cumsum(tied)])
    return np.interp(s, np.arange(len(spent)) / len(tied), spent / spent[-1])


def token_share_easiest_half(tokens: Any, reference_rate: Any) -> float:
    """L(0.5): one half for equal lengths on all problems, less for a model that adapts."""
    return float(allocation_curve(tokens, reference_rate, [0.5])[0])


def adaptation_ratio(tokens: Any, reference_rate: Any) -> float:
    """(1 - L(2/3)) / L(1/3): mean tokens on the hardest third over the easiest third, with fractional problems.

    One problem, or all rates equal -> 1. L(1/3) = 0 or no problem -> nan.
    """
    easy, rest = allocation_curve(tokens, reference_rate, [1 / 3, 2 / 3])
    if np.isnan(easy) or easy == 0:
        return NAN
    _, r = _known(tokens, reference_rate)
    return 1.0 if r.min() == r.max() else float((1.0 - rest) / easy)


def _ranks(x: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of theirs."""
    _, group, size = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(size) - (size - 1) / 2)[group]


def length_difficulty_spearman(tokens: Any, reference_rate: Any, correct: Any = None) -> float:
    """Spearman of mean tokens with difficulty; with `correct` (Q, n), tokens of correct samples only.

    Fewer than 2 problems, or a constant side -> nan.
    """
    if correct is not None:
        c, t = verdicts(correct), counts(tokens)
        same_shape(t, "tokens", c, "correct")
        tokens = np.where(c == 1, t, np.nan)
    t, r = _known(tokens, reference_rate)
    if len(t) < 2 or t.min() == t.max() or r.min() == r.max():
        return NAN
    x, y = _ranks(t), _ranks(-r)
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def length_difficulty_kendall(tokens: Any, reference_rate: Any) -> float:
    """Kendall tau-b of mean tokens with difficulty. Fewer than 2 problems, or a constant side -> nan."""
    t, r = _known(tokens, reference_rate)
    if len(t) < 2 or t.min() == t.max() or r.min() == r.max():
        return NAN
    from scipy.stats import kendalltau  # slow to import, and reports do not need it

    return float(kendalltau(t, -r, variant="b").statistic)


def rate_bin(reference_rate: Any) -> np.ndarray:
    """(Q,) index into BINS; -1 for an unknown rate."""
    r = rates(reference_rate)
    which = np.where(r == 0, 0, np.where(r == 1, 5, np.ceil(np.nan_to_num(r) * 4).astype(int)))
    return np.where(np.isnan(r), -1, which)


def difficulty_table(correct: Any, tokens: Any, reference_rate: Any, base_tokens: Any = None) -> list[dict[str, Any]]:
    """One row per bin of the reference rate, {0}, (0,.25], (.25,.5], (.5,.75], (.75,1), {1}, in this order.

    Row: `bin`, `problems`, macro `accuracy` and `tokens`, `saving` = 1 - tokens / base tokens over the bin (nan without
    base_tokens, which may have another n). An empty bin stays, with 0 problems and nan.
    """
    c, t, r = verdicts(correct), counts(tokens), rates(reference_rate)
    same_shape(c, "correct", t, "tokens")
    same_problems(c, "correct", r, "reference_rate")
    b = np.full((len(c), 1), np.nan) if base_tokens is None else counts(base_tokens, "base_tokens")
    same_problems(c, "correct", b, "base_tokens")
    known = ~np.isnan(c) & ~np.isnan(t)
    use, which = known.any(axis=1), rate_bin(r)
    accuracy, spent, base = row_means(c, known), row_means(t, known), row_means(b, ~np.isnan(b))
    table = []
    for i, name in enumerate(BINS):
        rows = use & (which == i)
        tokens_mean, base_mean = mean(spent[rows]), mean(base[rows])
        saving = 1.0 - tokens_mean / base_mean if base_mean else NAN
        table.append(
            {
                "bin": name,
                "problems": int(rows.sum()),
                "accuracy": mean(accuracy[rows]),
                "tokens": tokens_mean,
                "saving": saving,
            }
        )
    return table
