"""Ideal budgets: accuracy of a uniform cap and of the best allocation, if a budget removed only waste.

From n completions per problem: accuracy p (mean verdict), mean length t, and the need s, the length of the shortest correct
completion. The model of thinking is ideal: with a budget b, problem i keeps its accuracy p_i if b >= s_i, scores 0 otherwise,
and costs min(b, t_i) tokens.

uniform_cap         the same budget for all problems
oracle_allocation   budget s_i for the problems with the highest p_i / s_i, 0 for the others

The need is the smallest of n lengths, so it falls with n: compare curves of equal n only. A problem without a correct
completion has no need and scores 0 at every budget; the oracle spends nothing on it.
Shapes: lengths (Q, n) of positive token counts, correct (Q, n) of 1, 0 and nan (counted incorrect).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.eval.metrics.arrays import counts, same_shape, verdicts


def needs(lengths: Any, correct: Any) -> np.ndarray:
    """(Q,) length of the shortest correct completion, tokens; inf without one."""
    length, c = counts(lengths, "lengths"), verdicts(correct)
    same_shape(length, "lengths", c, "correct")
    if not np.all(length > 0):
        raise ValueError("lengths: got a length of 0 or nan; expected a positive number of tokens for every completion")
    return np.asarray(np.where(c == 1, length, np.inf).min(1))


def uniform_cap(lengths: Any, correct: Any) -> tuple[np.ndarray, np.ndarray]:
    """(mean cost in tokens, mean accuracy) for every cap at which one of them changes, in order of cost."""
    need, usual, accuracy = needs(lengths, correct), _means(lengths), _means(np.nan_to_num(verdicts(correct)))
    caps = np.unique(np.concatenate([[0.0], need[np.isfinite(need)], usual]))
    costs = [np.minimum(usual, cap).mean() for cap in caps]
    return np.array(costs), np.array([(accuracy * (need <= cap)).mean() for cap in caps])


def oracle_allocation(lengths: Any, correct: Any) -> tuple[np.ndarray, np.ndarray]:
    """(mean cost in tokens, mean accuracy) after each problem that gets its need, the cheapest accuracy first."""
    need, accuracy = needs(lengths, correct), _means(np.nan_to_num(verdicts(correct)))
    cost = np.minimum(need, _means(lengths))
    order = np.argsort(-accuracy / cost, kind="stable")
    order = order[np.isfinite(need[order])]
    totals = [np.concatenate([[0.0], np.cumsum(values[order])]) / len(need) for values in (cost, accuracy)]
    return totals[0], totals[1]


def accuracy_at(curve: tuple[np.ndarray, np.ndarray], cost: float) -> float:
    """Best accuracy of a curve at a mean cost of at most `cost`, without interpolation."""
    return float(curve[1][: np.searchsorted(curve[0], cost, side="right")].max(initial=0.0))


def _means(values: Any) -> np.ndarray:
    return np.asarray(np.asarray(values, dtype=float).mean(1))
