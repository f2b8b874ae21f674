"""maj@k, exact: expected score of a majority vote among k of the n samples, without enumerating subsets.

For each top vote count m, a pass over the classes fills two tables over (votes used t, classes at the top w): the weight
W of the ways to get there and, per class size, the wins S. A class of size s adds j < m votes in C(s, j) ways, and j = m
votes in C(s, m) ways, which moves w to w+1 and adds W to S of its size. Samples without an answer are sampled too, but
never win; nor do classes with fewer than m samples, so both enter once, as a convolution.
wins = sum_m sum_{w>=1} S_m[k, w] / w / C(n, k)
Classes of one size win equally often, so a problem's value is the sum over the sizes of wins times mean score. The wins
depend only on the sizes: problems with equal sizes share them.
Each way is weighted p^j (1-p)^(s-j) with p = k/n instead of 1: every subset of size k then has the same weight, the
ratio does not change, and C(1000, 500) is never computed.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import gammaln, xlog1py, xlogy

from tersely.eval.metrics.arrays import NAN, verdicts


def majority_at_k(answers: Any, correct: Any, k: int) -> float:
    """Expected score of the majority vote over all subsets of k decided samples; ties share (1 correct, 1 incorrect: 0.5).

    answers: (Q, n) hashable labels, None = nothing extracted (no vote). correct: (Q, n). The score of a class is the
    mean of `correct` over its samples; a subset without any vote scores 0. Problems with fewer than k decided
    samples are left out; none left -> nan. ValueError for k < 1 and for shapes that do not match.
    """
    c = verdicts(correct)
    if k != int(k) or k < 1:
        raise ValueError(f"k: got {k}; expected a whole number, 1 or more")
    rows = _rows(answers, c, np.ndim(correct))
    values = []
    for labels, row in zip(rows, c, strict=False):
        decided = [(label, score) for label, score in zip(labels, row, strict=False) if not np.isnan(score)]
        if len(decided) >= k:
            values.append(_expected_vote(decided, int(k)))
    return float(np.mean(values)) if values else NAN


def _rows(answers: Any, correct: np.ndarray, rank: int) -> list[Sequence[Hashable | None]]:
    """Read the labels as rows like `correct`; numpy cannot infer rows, because labels may be tuples."""
    outer = list(answers)
    rows: list[Sequence[Hashable | None]]
    if rank == 1:
        rows = [list(x) if isinstance(x, (list, np.ndarray)) else [x] for x in outer]
    else:
        rows = [[row] if isinstance(row, str) or not hasattr(row, "__iter__") else list(row) for row in outer]
    if len(rows) != len(correct) or any(len(row) != correct.shape[1] for row in rows):
        raise ValueError(f"answers: expected shape {correct.shape}, as correct")
    if not all(isinstance(label, Hashable) for row in rows for label in row):
        raise ValueError("answers: got a label that is not hashable; expected texts or tuples")
    return rows


def _expected_vote(decided: list[tuple[Hashable | None, float]], k: int) -> float:
    classes: dict[Hashable, list[float]] = {}
    for label, score in decided:
        if not (label is None or (isinstance(label, float) and np.isnan(label))):  # a data frame turns None into nan
            classes.setdefault(label, []).append(score)
    by_size: dict[int, list[float]] = {}  # size -> the scores of the classes of that size
    for scores in classes.values():
        by_size.setdefault(len(scores), []).append(sum(scores) / len(scores))
    sizes = tuple(sorted(len(scores) for scores in classes.values()))
    wins = _wins(sizes, len(decided), k)
    total = sum(wins[size] * sum(values) / len(values) for size, values in by_size.items())
    return min(max(total, 0.0), 1.0)


@lru_cache(maxsize=1 << 16)
def _wins(sizes: tuple[int, ...], samples: int, k: int) -> dict[int, float]:
    """Total share of wins of the classes of each size; cached, because problems often have the same sizes."""
    p = k / samples
    ranked = list(sizes)
    distinct = sorted(set(sizes))
    beaten = _ways(samples - sum(sizes), p)[: k + 1]  # samples that cannot win: no answer, and classes below the top
    total = np.zeros(len(distinct))
    for top in range(1, min(k, max(sizes, default=0)) + 1):
        while ranked[0] < top:
            beaten = np.convolve(beaten, _ways(ranked.pop(0), p))[: k + 1]
        total += _won_with(top, k, beaten, [_ways(size, p) for size in ranked], [distinct.index(s) for s in ranked])
    return dict(zip(distinct, (total / _ways(samples, p)[k]).tolist(), strict=True))


@lru_cache(maxsize=4096)
def _ways(size: int, p: float) -> np.ndarray:
    """(size + 1,) weighted number of ways to choose 0, 1, ... of `size` samples."""
    if size > 300:
        j = np.arange(size + 1)
        ways = gammaln(size + 1) - gammaln(j + 1) - gammaln(size - j + 1)
        return np.exp(ways + xlogy(j, p) + xlog1py(size - j, -p))
    return np.array([math.comb(size, j) * p**j * (1 - p) ** (size - j) for j in range(size + 1)])


def _won_with(top: int, k: int, beaten: np.ndarray, weights: list[np.ndarray], rows: list[int]) -> np.ndarray:
    """Wins per row, over the subsets whose largest class has exactly `top` of the k samples; every class here can win."""
    width = min(k // top, len(weights)) + 1  # at most this many classes can reach the top
    tables = np.zeros((2 + max(rows), k + 1, width))  # ways, and the wins of each row
    tables[0, : len(beaten), 0] = beaten
    for weight, row in zip(weights, rows, strict=True):
        new = np.zeros_like(tables)
        for j, share in enumerate(weight[:top]):
            new[:, j:] += share * tables[:, : k + 1 - j]
        new[:, top:, 1:] += weight[top] * tables[:, : k + 1 - top, :-1]
        new[1 + row, top:, 1:] += weight[top] * tables[0, : k + 1 - top, :-1]
        tables = new
    return (tables[1:, k, 1:] / np.arange(1, width)).sum(axis=-1)
