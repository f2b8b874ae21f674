"""Token metrics: mean counts, by outcome, per solved problem, and relative to a base.

Shapes: `correct` and `tokens` (Q, n), token counts in the evaluated model's tokens, nan = no such sample. A sample with
nan in either array is dropped from every metric that takes that array. Source of AES: O1-Pruner, 2501.12570.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.eval.metrics.arrays import (
    NAN,
    counts,
    grid,
    macro,
    mean,
    row_means,
    same_problems,
    same_shape,
    vector,
    verdicts,
)

QUANTILES = {"median": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def _pair(correct: Any, tokens: Any, suffix: str = "") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """correct, tokens and the samples known in both, all (Q, n)."""
    c, t = verdicts(correct, f"correct{suffix}"), counts(tokens, f"tokens{suffix}")
    same_shape(c, f"correct{suffix}", t, f"tokens{suffix}")
    return c, t, ~np.isnan(c) & ~np.isnan(t)


def token_summary(tokens: Any, truncated: Any = None) -> dict[str, float]:
    """`mean` (macro), pooled `median`, `p90`, `p95`, `p99`, pooled share `truncated` (nan when not given), `samples`."""
    t = counts(tokens)
    known = ~np.isnan(t)
    cut = np.full(t.shape, np.nan) if truncated is None else verdicts(truncated, "truncated")
    same_shape(t, "tokens", cut, "truncated")
    pool = t[known]
    quantiles = {name: float(np.quantile(pool, q)) if pool.size else NAN for name, q in QUANTILES.items()}
    return {"mean": macro(t, known), **quantiles, "truncated": mean(cut[known]), "samples": int(pool.size)}


def tokens_by_outcome(correct: Any, tokens: Any) -> dict[str, float]:
    """Pooled mean tokens of the `right` and of the `wrong` samples; an empty side -> nan. Do not compare two runs by it."""
    c, t, known = _pair(correct, tokens)
    return {"right": mean(t[known & (c == 1)]), "wrong": mean(t[known & (c == 0)])}


def matched_tokens(correct_a: Any, tokens_a: Any, correct_b: Any, tokens_b: Any) -> dict[str, float]:
    """Tokens of correct answers of two runs, over the problems that both have solved at least once.

    Per problem the mean of its correct samples, then the mean over those problems: `a`, `b`, and the number of `problems`.
    The runs may differ in n, not in their problems. None shared -> nan, nan, 0.
    """
    means = []
    for correct, tokens, suffix in ((correct_a, tokens_a, "_a"), (correct_b, tokens_b, "_b")):
        c, t, known = _pair(correct, tokens, suffix)
        means.append(row_means(t, known & (c == 1)))
    same_problems(means[0], "correct_a", means[1], "correct_b")
    both = ~np.isnan(means[0]) & ~np.isnan(means[1])
    return {"a": mean(means[0][both]), "b": mean(means[1][both]), "problems": int(both.sum())}


def tokens_per_solved(correct: Any, tokens: Any) -> float:
    """Pooled sum of tokens / number of correct samples, failures included. None correct -> inf; no sample -> nan."""
    c, t, known = _pair(correct, tokens)
    if not known.any():
        return NAN
    right = c[known].sum()
    return float(t[known].sum() / right) if right else float("inf")


def accuracy_per_kilotoken(correct: Any, tokens: Any) -> float:
    """1000 * macro accuracy / macro mean tokens. Secondary: it favours trivially short output. Mean 0 -> nan."""
    c, t, known = _pair(correct, tokens)
    spent = macro(t, known)
    return 1000.0 * macro(c, known) / spent if spent else NAN


def compression_ratio(tokens: Any, base_tokens: Any) -> float:
    """Macro mean tokens over the base's; the saving is 1 minus it. n may differ. Base mean 0 -> nan."""
    t, b = counts(tokens), counts(base_tokens, "base_tokens")
    same_problems(t, "tokens", b, "base_tokens")
    base = macro(b, ~np.isnan(b))
    return macro(t, ~np.isnan(t)) / base if base else NAN


def accuracy_efficiency_score(
    acc: float,
    tokens: float,
    base_acc: float,
    base_tokens: float,
    alpha: float = 1.0,
    beta: float = 3.0,
    gamma: float = 5.0,
) -> float:
    """AES (2501.12570): alpha * dL + beta * dA when dA >= 0, else alpha * dL - gamma * |dA|; the base scores 0.

    dL = (base_tokens - tokens) / base_tokens, dA = (acc - base_acc) / base_acc, both relative. Print the three weights
    with it. base_acc = 0: dA is 0 if acc is 0, else the score is nan. ValueError: base_tokens <= 0, base_acc < 0.
    """
    acc, tokens, base_acc, base_tokens = float(acc), float(tokens), float(base_acc), float(base_tokens)
    if base_tokens <= 0:
        raise ValueError(f"base_tokens: got {base_tokens}; expected above 0")
    if base_acc < 0:
        raise ValueError(f"base_acc: got {base_acc}; expected 0 or more")
    if tokens < 0:
        raise ValueError(f"tokens: got {tokens}; expected 0 or more")
    saved = (base_tokens - tokens) / base_tokens
    if base_acc == 0:
        return alpha * saved if acc == 0 else NAN
    gained = (acc - base_acc) / base_acc
    return alpha * saved + (beta * gained if gained >= 0 else -gamma * abs(gained))


def budget_to_reach(budgets: Any, accuracy: Any, fraction: float = 0.95) -> float:
    """The smallest grid budget with accuracy >= fraction * best accuracy; no interpolation. All 0 or empty -> nan."""
    b, a = grid(budgets), vector(accuracy, "accuracy")
    same_shape(b, "budgets", a, "accuracy")
    known = ~np.isnan(a)
    if not known.any() or not a[known].max() > 0:
        return NAN
    return float(b[known][np.argmax(a[known] >= fraction * a[known].max() - 1e-12)])
