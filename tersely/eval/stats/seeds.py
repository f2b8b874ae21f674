"""Statistics over seeds: intervals and tests for several training runs of one method that differ only in the seed.

All seeds have the same problems, so the design is crossed: (S, Q) means of one run, seeds by problems.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import stdtr

from tersely.eval.metrics.arrays import NAN, row_means
from tersely.eval.stats.bootstrap import Interval, interval

DRAWS = 4000


def seed_means(x: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """(Q, n) values whose columns belong to `seeds` (n,) -> (S, Q) means per seed and problem; nan without samples."""
    return np.stack([row_means(x[:, seeds == s], ~np.isnan(x[:, seeds == s])) for s in np.unique(seeds)])


def seeds_bootstrap(
    statistic: Callable[..., np.ndarray], *runs: np.ndarray, draws: int = DRAWS, level: float = 0.95, seed: int = 0
) -> Interval:
    """Interval of a function of the means of runs, each (S, Q).

    Resamples seeds within each run, then problems, the same ones for all runs. A problem that a seed lacks has the mean of
    the run's other seeds; one that a run lacks is left out. `statistic` takes one array of means per run. Nothing left -> nan.
    """
    known = np.all([~np.isnan(x).all(axis=0) for x in runs], axis=0)
    if not known.any():
        return Interval(NAN, NAN, NAN, level, draws)
    tables = [_filled(x[:, known]) for x in runs]
    rng = np.random.default_rng(seed)
    problems = int(known.sum())
    problem_weights = rng.multinomial(problems, np.full(problems, 1 / problems), size=draws) / problems
    means = []
    for x in tables:
        weights = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=draws) / len(x)
        means.append(np.einsum("dq,dq->d", weights @ x, problem_weights))
    estimate = statistic(*(np.array([x.mean()]) for x in tables))[0]
    return interval(float(estimate), statistic(*means), level, draws)


def _filled(x: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(x), np.nanmean(x, axis=0), x)


def _errors(a: np.ndarray, b: np.ndarray) -> tuple[float, list[tuple[float, float]]]:
    """Mean difference of two runs (S_a, Q) and (S_b, Q), with its (standard error, degrees of freedom) pairs.

    One pair is over seeds and problems, one over seeds alone. Empty for fewer than 2 problems.

    Over both: variance over problems of the differences / Q, and for each run with several seeds the variance of its
    seeds' means / S, with Satterthwaite's degrees of freedom. These are too many if the few seeds agree by chance, so the
    seeds alone, with S - 1 degrees of freedom, must give the same conclusion.
    """
    known = ~np.isnan(a).all(axis=0) & ~np.isnan(b).all(axis=0)
    if known.sum() < 2:
        return NAN, []
    x, y = _filled(a[:, known]), _filled(b[:, known])
    d = x.mean(axis=0) - y.mean(axis=0)
    seeds = [(float(z.mean(axis=1).var(ddof=1)) / len(z), len(z) - 1) for z in (x, y) if len(z) > 1]
    parts = [(float(d.var(ddof=1)) / len(d), len(d) - 1), *seeds]
    whole = sum(v for v, _ in parts)
    freedom = whole**2 / sum(v * v / f for v, f in parts) if whole else math.inf
    errors = [(math.sqrt(whole), freedom)]
    if seeds:
        errors.append((math.sqrt(sum(v for v, _ in seeds)), min(f for _, f in seeds)))
    return float(d.mean()), errors


def seeds_p(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p of no difference between two runs (S, Q) over seeds and problems. Fewer than 2 problems -> nan."""
    mean, errors = _errors(a, b)
    found = [2 * stdtr(freedom, -abs(mean) / error) if error else float(mean == 0) for error, freedom in errors]
    return float(max(found, default=NAN))


def seeds_margin_p(a: np.ndarray, b: np.ndarray, margin: float) -> float:
    """One-sided p of "a's accuracy is lower by the margin or more" over seeds and problems. Fewer than 2 problems -> 1."""
    mean, errors = _errors(a, b)
    found = [stdtr(freedom, -(mean + margin) / error) if error else float(mean <= -margin) for error, freedom in errors]
    return float(max(found, default=1.0))
