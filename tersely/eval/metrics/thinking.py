"""Over- and underthinking: tokens after the first correct answer, and tokens relative to the shortest correct one.

Shapes: `tokens`, `thinking_tokens`, `first_correct`, `distinct_tokens` (Q, n) in tokens; `shortest` (Q,) tokens, nan where
no sample was correct. first_correct counts up to and including the first correct solution, nan = there is none.
Sources: outcome and process efficiency 2412.21187; O_g and O_env (ThoughtTerminator) 2504.13367; underthinking
2501.18585; AUC-OAA and F1 (OptimalThinkingBench) 2508.13141; token-level form and calibration are our own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tersely.eval.metrics.arrays import (
    NAN,
    counts,
    divide,
    macro,
    mean,
    not_negative,
    row_means,
    same_problems,
    same_shape,
    vector,
    verdicts,
)


def outcome_efficiency(first_correct: Any, tokens: Any) -> float:
    """Macro mean of T_hat / T, 0 for a response without a correct solution (2412.21187). T = 0 -> term 0."""
    f, t = counts(first_correct, "first_correct"), counts(tokens)
    same_shape(t, "tokens", f, "first_correct")
    return macro(divide(np.nan_to_num(f), t), ~np.isnan(t))


def process_efficiency(distinct_tokens: Any, tokens: Any) -> float:
    """Macro mean of D / T, D = tokens of solutions that open a new line of reasoning. T = 0 -> term 0."""
    d, t = counts(distinct_tokens, "distinct_tokens"), counts(tokens)
    same_shape(t, "tokens", d, "distinct_tokens")
    return macro(divide(d, t), ~np.isnan(t) & ~np.isnan(d))


def token_level_outcome_efficiency(correct: Any, first_correct: Any, tokens: Any) -> float:
    """Over correct samples only: macro mean of T_hat / T; a correct sample without T_hat counts 1. None correct -> nan."""
    c, f, t = verdicts(correct), counts(first_correct, "first_correct"), counts(tokens)
    same_shape(c, "correct", f, "first_correct")
    same_shape(c, "correct", t, "tokens")
    return macro(np.where(np.isnan(f), 1.0, divide(f, t)), (c == 1) & ~np.isnan(t))


def redundant_tokens(correct: Any, first_correct: Any, tokens: Any) -> np.ndarray:
    """(Q, n) tokens after the first correct answer of each correct sample; nan for others, and where it is unknown."""
    c, f, t = verdicts(correct), counts(first_correct, "first_correct"), counts(tokens)
    same_shape(c, "correct", f, "first_correct")
    same_shape(c, "correct", t, "tokens")
    return np.where(c == 1, np.maximum(t - f, 0.0), np.nan)


def shortest_correct(pool: Iterable[tuple[Any, Any]]) -> np.ndarray:
    """(Q,) fewest tokens of any correct sample of any model; pool: (correct, tokens) per model, same problems, any n."""
    best = None
    for i, (correct, tokens) in enumerate(pool):
        c, t = verdicts(correct, f"pool[{i}] correct"), counts(tokens, f"pool[{i}] tokens")
        same_shape(c, f"pool[{i}] correct", t, f"pool[{i}] tokens")
        least = np.where((c == 1) & ~np.isnan(t), t, np.inf).min(axis=1, initial=np.inf)
        if best is not None:
            same_problems(best, "pool[0]", least, f"pool[{i}]")
        best = least if best is None else np.minimum(best, least)
    if best is None:
        raise ValueError("pool: got an empty list; expected at least one (correct, tokens) pair")
    return np.where(np.isinf(best), np.nan, best)


def _against(tokens: Any, shortest: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean tokens and shortest, both (Q,)."""
    t, s = counts(tokens), not_negative(vector(shortest, "shortest"), "shortest")
    same_problems(t, "tokens", s, "shortest")
    return row_means(t, ~np.isnan(t)), s


def overthinking_score(tokens: Any, shortest: Any) -> float:
    """O_g: mean over problems with a known shortest of mean tokens minus shortest; lower is better. None known -> nan."""
    t, s = _against(tokens, shortest)
    return mean(t - s)


def overthinking_envelope(tokens: Any) -> float:
    """O_env: mean over problems of longest minus shortest sample; one sample each -> 0."""
    t = counts(tokens)
    t = t[~np.isnan(t).all(axis=1)]
    return mean(np.nanmax(t, axis=1) - np.nanmin(t, axis=1)) if t.size else NAN


def underthinking_score(correct: Any, first_correct: Any, tokens: Any) -> float:
    """Pooled over incorrect samples: mean of 1 - T_hat / T, 0 without a correct thought (2501.18585). None incorrect -> nan."""
    c, f, t = verdicts(correct), counts(first_correct, "first_correct"), counts(tokens)
    same_shape(c, "correct", f, "first_correct")
    same_shape(c, "correct", t, "tokens")
    lost = np.where(np.isnan(f), 0.0, 1.0 - divide(f, t, otherwise=1.0))
    return mean(lost[(c == 0) & ~np.isnan(t)])


def auc_oaa(correct: Any, thinking_tokens: Any, t_max: float = 1000, how: str = "exact") -> float:
    """Overthinking-adjusted accuracy under its curve from 0 to t_max thinking tokens (2508.13141).

    exact: macro mean of c * max(0, 1 - T / t_max). means: mean over problems of p_q * max(0, t_max - mean T) / t_max, the
    closed form of the released code, which differs unless correct and incorrect samples are equally long.
    """
    c, t = verdicts(correct), counts(thinking_tokens, "thinking_tokens")
    same_shape(c, "correct", t, "thinking_tokens")
    if not t_max > 0:
        raise ValueError(f"t_max: got {t_max}; expected above 0")
    known = ~np.isnan(c) & ~np.isnan(t)
    if how == "exact":
        return macro(c * np.maximum(0.0, 1.0 - t / t_max), known)
    if how == "means":
        return mean(row_means(c, known) * np.maximum(0.0, t_max - row_means(t, known)) / t_max)
    raise ValueError(f"how: got {how!r}; expected 'exact' or 'means'")


def f1_otb(auc: float, accuracy: float) -> float:
    """Harmonic mean of AUC-OAA on the easy side and accuracy on the hard side. Both 0 -> 0; nan in -> nan."""
    auc, accuracy = float(auc), float(accuracy)
    return 2.0 * auc * accuracy / (auc + accuracy) if auc + accuracy != 0 else 0.0


def token_calibration(tokens: Any, shortest: Any) -> dict[str, float]:
    """Least squares of ln(mean tokens) on ln(shortest): `slope`, `intercept`, `r2`, over known, positive problems.

    Fewer than 2 problems, or constant shortest -> nan. Constant tokens -> r2 nan.
    """
    t, s = _against(tokens, shortest)
    use = (np.nan_to_num(t) > 0) & (np.nan_to_num(s) > 0)
    x, y = np.log(s[use]), np.log(t[use])
    if len(x) < 2 or x.max() == x.min():
        return {"slope": NAN, "intercept": NAN, "r2": NAN}
    dx, dy = x - x.mean(), y - y.mean()
    slope = float(dx @ dy / (dx @ dx))
    r2 = NAN if y.max() == y.min() else float(1.0 - ((dy - slope * dx) ** 2).sum() / (dy @ dy))
    return {"slope": slope, "intercept": float(y.mean() - slope * x.mean()), "r2": r2}
