"""Intervals of one benchmark's values: over problems; for several seeds over seeds, then problems."""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.eval import stats
from tersely.eval.run_arrays import BenchmarkRecords

DRAWS = 2000
NAN = float("nan")


def mean_of(b: BenchmarkRecords, values: np.ndarray, draws: int | None = None) -> stats.Interval:
    """Macro mean with its interval over problems; for several seeds, over seeds, then problems. draws: None for the default."""
    how: dict[str, Any] = {} if draws is None else {"draws": draws}
    if b.seed_count < 2:
        return stats.bootstrap_mean(values, **how)
    return stats.seeds_bootstrap(lambda x: x, stats.seed_means(values, b.seed_of), **how)


def curve_band(b: BenchmarkRecords, grid: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """95 % band of accuracy_at_budget; all budgets use the same resampled problems."""
    known = ~np.isnan(b.correct) & ~np.isnan(b.tokens)
    n = known.sum(axis=1)
    use = n > 0
    if not use.any():
        return np.full(len(grid), NAN), np.full(len(grid), NAN)
    per = np.stack([((b.correct == 1) & (b.tokens <= g)).sum(axis=1)[use] / n[use] for g in grid], axis=1)  # (Q, B)
    weights = np.random.default_rng(0).multinomial(len(per), np.full(len(per), 1 / len(per)), size=DRAWS)
    low, high = np.quantile(weights @ per / len(per), [0.025, 0.975], axis=0)
    return low, high
