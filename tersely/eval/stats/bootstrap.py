"""Bootstrap intervals over problems; resamples whole problems, because samples of one problem are not independent.

Percentile intervals. The spread of the per-problem means already includes the noise of their samples, so resampling
problems is calibrated; resampling samples too ("both") counts that noise twice and is wider than needed.
Random numbers: numpy.random.default_rng(seed). Problem draws depend only on the seed and the number of problems, and
sample draws depend on a run's content, not on the order of runs: swapping two runs negates the interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tersely.eval.metrics.arrays import NAN, counts, matrix, mean, row_means, same_problems, same_shape, verdicts

RESAMPLE = ("problems", "samples", "both")
CHUNK = 2_000_000  # numbers in memory at once


@dataclass(frozen=True)
class Interval:
    """A statistic with its percentile interval: estimate, low, high, level (0.95), number of draws."""

    estimate: float
    low: float
    high: float
    level: float
    draws: int


def interval(estimate: float, resampled: np.ndarray, level: float, draws: int) -> Interval:
    """Percentile interval of the resampled values that are not nan (linear interpolation)."""
    resampled = resampled[~np.isnan(resampled)]
    if not resampled.size:
        return Interval(float(estimate), NAN, NAN, level, draws)
    tail = (1 - level) / 2
    low, high = np.quantile(resampled, tail), -np.quantile(-resampled, tail)  # mirrored, so that negation is exact
    return Interval(float(estimate), float(low), float(high), level, draws)


def check(draws: int, level: float = 0.95, resample: str = "problems") -> None:
    if draws < 1 or draws != int(draws):
        raise ValueError(f"draws: got {draws}; expected a whole number, 1 or more")
    if not 0 < level < 1:
        raise ValueError(f"level: got {level}; expected between 0 and 1")
    if resample not in RESAMPLE:
        raise ValueError(f"resample: got {resample!r}; expected one of {', '.join(RESAMPLE)}")


def problem_draws(rng: np.random.Generator, problems: int, draws: int, cells: int = 1) -> Iterator[np.ndarray]:
    """Chunks (B, problems) of problem indices, `draws` rows in total; `cells` does not change the numbers."""
    left = draws
    step = max(1, CHUNK // max(1, problems * cells))
    while left > 0:
        yield rng.integers(0, problems, size=(min(step, left), problems), dtype=np.int64)
        left -= step


class Samples:
    """The known values of each problem, packed to the left, for resampling within the problem."""

    def __init__(self, x: np.ndarray):
        self.n = (~np.isnan(x)).sum(axis=1)
        order = np.argsort(np.isnan(x), axis=1, kind="stable")[:, : max(1, self.n.max(initial=0))]
        self.x = np.take_along_axis(x, order, axis=1)

    def redraw(self, rng: np.random.Generator, problems: np.ndarray) -> np.ndarray:
        """(B, P) problem indices -> (B, P) means of as many samples as each problem has, with replacement."""
        n = self.n[problems][..., None]
        slot = (rng.random((*problems.shape, self.x.shape[1])) * n).astype(np.int64)
        resampled = self.x[problems[..., None], slot]
        used = np.arange(self.x.shape[1]) < n
        return np.where(used, resampled, 0.0).sum(axis=-1) / n[..., 0]


def _problems(rng: np.random.Generator, count: int, draws: int, cells: int, resample: str) -> Iterator[np.ndarray]:
    """Problem indices of each draw; with "samples", every problem once."""
    for index in problem_draws(rng, count, draws, cells):
        yield np.broadcast_to(np.arange(count), index.shape) if resample == "samples" else index


def _mean_draws(x: np.ndarray, draws: int, seed: int) -> tuple[float, np.ndarray]:
    """Mean of (Q,) and its cluster bootstrap; computed relative to x[0], so that equal values stay exactly equal."""
    rng = np.random.default_rng(seed)
    gap = x - x[0]
    resampled = [gap[index].mean(axis=1) for index in problem_draws(rng, len(x), draws)]
    return float(x[0] + gap.mean()), x[0] + np.concatenate(resampled)


def bootstrap_mean(
    values: Any, *, resample: str = "problems", draws: int = 10_000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Macro mean of (Q, n) values, nan dropped, with its interval.

    resample: "problems" resamples whole problems; "samples" resamples within each problem (the benchmark is the
    population); "both" does both. Nothing left -> nan. One problem under "problems" -> low = high = estimate.
    """
    x = matrix(values, "values")
    check(draws, level, resample)
    x = x[~np.isnan(x).all(axis=1)]
    if not x.size:
        return Interval(NAN, NAN, NAN, level, draws)
    estimate, resampled = _mean_draws(row_means(x, ~np.isnan(x)), draws, seed)
    if resample != "problems":
        rng = np.random.default_rng(seed)
        stream = rng.spawn(1)[0]
        samples = Samples(x)
        resampled = np.concatenate(
            [
                samples.redraw(stream, index).mean(axis=1)
                for index in _problems(rng, len(x), draws, x.shape[1], resample)
            ]
        )
    return interval(estimate, resampled, level, draws)


def bootstrap_statistic(
    statistic: Callable[..., float], *arrays: Any, draws: int = 2_000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Cluster bootstrap of a function of arrays that share axis 0 (AES, AUC, hypervolume, a correlation).

    Draws whose value is nan are left out; none left -> nan. ValueError: no array, or different lengths.
    """
    check(draws, level)
    data = [np.asarray(a) for a in arrays]
    if not data or any(a.ndim == 0 for a in data):
        raise ValueError("arrays: got none or a scalar; expected arrays that share their first axis")
    for i, a in enumerate(data[1:], start=1):
        same_problems(data[0], "arrays[0]", a, f"arrays[{i}]")
    if not len(data[0]):
        return Interval(NAN, NAN, NAN, level, draws)
    rng = np.random.default_rng(seed)
    resampled = [
        float(statistic(*(a[row] for a in data))) for index in problem_draws(rng, len(data[0]), draws) for row in index
    ]
    return interval(float(statistic(*data)), np.array(resampled, dtype=np.float64), level, draws)


def paired(a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    """Two runs as (Q', n_a) and (Q', n_b), restricted to their common problems."""
    x, y = matrix(a, "a"), matrix(b, "b")
    same_problems(x, "a", y, "b")
    both = ~np.isnan(x).all(axis=1) & ~np.isnan(y).all(axis=1)
    return x[both], y[both]


def differences(a: Any, b: Any) -> np.ndarray:
    """(Q',) mean of a minus mean of b, per problem that both have."""
    x, y = paired(a, b)
    return row_means(x, ~np.isnan(x)) - row_means(y, ~np.isnan(y))


def _effect(a: np.ndarray, b: np.ndarray, statistic: str) -> np.ndarray:
    """Per-problem effect of two means of equal shape; nan where a ratio has a zero side."""
    if statistic == "difference":
        return a - b
    use = (a > 0) & (b > 0)
    return np.where(use, np.log(np.where(use, a, 1.0)) - np.log(np.where(use, b, 1.0)), np.nan)


def paired_bootstrap(
    a: Any,
    b: Any,
    *,
    statistic: str = "difference",
    resample: str = "problems",
    draws: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of a comparison of two runs, (Q, n_a) and (Q, n_b), on the same problems, row by row.

    "difference": macro mean a - macro mean b. "log_ratio": mean of ln(mean a_q / mean b_q), problems with a zero mean
    dropped; the saving is 1 - exp(estimate). The same problem draw serves both runs; samples are drawn independently.
    """
    check(draws, level, resample)
    if statistic not in ("difference", "log_ratio"):
        raise ValueError(f"statistic: got {statistic!r}; expected 'difference' or 'log_ratio'")
    x, y = paired(a, b)
    if statistic == "log_ratio" and (np.any(x < 0) or np.any(y < 0)):
        raise ValueError("a, b: got negative values; expected 0 or more for log_ratio")
    effect = _effect(row_means(x, ~np.isnan(x)), row_means(y, ~np.isnan(y)), statistic)
    known = ~np.isnan(effect)
    x, y, effect = x[known], y[known], effect[known]
    if not effect.size:
        return Interval(NAN, NAN, NAN, level, draws)
    estimate, resampled = _mean_draws(effect, draws, seed)
    if resample != "problems":
        resampled = _redrawn_effect(x, y, statistic, resample, draws, seed)
    return interval(estimate, resampled, level, draws)


def _redrawn_effect(x: np.ndarray, y: np.ndarray, statistic: str, resample: str, draws: int, seed: int) -> np.ndarray:
    """Mean effect per draw with resampled samples; a run's random stream depends only on its values."""
    rng = np.random.default_rng(seed)
    first, second = rng.spawn(2)
    if (x.shape, x.tobytes()) > (y.shape, y.tobytes()):
        first, second = second, first
    a, b = Samples(x), Samples(y)
    resampled = []
    for index in _problems(rng, len(x), draws, x.shape[1] + y.shape[1], resample):
        effect = _effect(a.redraw(first, index), b.redraw(second, index), statistic)
        known = ~np.isnan(effect)
        resampled.append(row_means(effect, known))
    return np.concatenate(resampled)


def dominance_probability(
    correct_a: Any, tokens_a: Any, correct_b: Any, tokens_b: Any, *, draws: int = 10_000, seed: int = 0
) -> float:
    """Share of joint problem draws in which a needs no more mean tokens and is no less accurate than b, one strictly.

    Differences below 1e-12 of their scale count as equal. Identical runs -> 0. No shared problem -> nan.
    """
    check(draws)
    gaps = []
    for correct, tokens, suffix in ((correct_a, tokens_a, "_a"), (correct_b, tokens_b, "_b")):
        c, t = verdicts(correct, f"correct{suffix}"), counts(tokens, f"tokens{suffix}")
        same_shape(c, f"correct{suffix}", t, f"tokens{suffix}")
        known = ~np.isnan(c) & ~np.isnan(t)
        gaps.append((row_means(c, known), row_means(t, known)))
    (right_a, spent_a), (right_b, spent_b) = gaps
    same_problems(right_a, "correct_a", right_b, "correct_b")
    both = ~np.isnan(right_a) & ~np.isnan(right_b)
    if not both.any():
        return NAN
    gain, cost = (right_a - right_b)[both], (spent_a - spent_b)[both]
    wins = []
    for index in problem_draws(np.random.default_rng(seed), len(gain), draws):
        more = _sign(gain[index].mean(axis=1), gain)
        less = -_sign(cost[index].mean(axis=1), cost)
        wins.append((more >= 0) & (less >= 0) & (more + less > 0))
    return mean(np.concatenate(wins).astype(np.float64))


def _sign(means: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(np.abs(means) <= 1e-12 * max(1e-300, float(np.abs(values).max())), 0.0, np.sign(means))
