"""Difficulty of the problems of a report, measured on the base run and used for all runs.

With 16 or more samples per problem in the base run, a problem's reference rate is the base's solve rate on it; with fewer,
the mean base rate of its level, which is less noisy. Without levels: unknown.
Pitfall: under per-problem rates the base's own length correlates with its rate, because incorrect answers are long.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tersely.eval.metrics.arrays import mean, row_means
from tersely.eval.run_arrays import BenchmarkRecords, RunRecords

ENOUGH = 16


@dataclass(frozen=True)
class Difficulty:
    """Reference solve rate and base tokens by problem id; `by`: problem, level or None; `text` describes it."""

    by: str | None
    text: str
    rate: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)

    def rates(self, b: BenchmarkRecords) -> np.ndarray:
        """(Q,) reference rate; nan for a problem that the base does not have."""
        return np.array([self.rate.get(p, np.nan) for p in b.problem_ids], dtype=np.float64)

    def base_tokens(self, b: BenchmarkRecords) -> np.ndarray:
        return np.array([self.tokens.get(p, np.nan) for p in b.problem_ids], dtype=np.float64)


def reference(base: RunRecords | None, benchmark: str) -> Difficulty:
    if base is None or benchmark not in base.benchmarks:
        return Difficulty(None, "unknown: no base run on this benchmark")
    b = base.benchmarks[benchmark]
    known = ~np.isnan(b.correct)
    rate, n = row_means(b.correct, known), known.sum(axis=1)
    tokens = dict(zip(b.problem_ids, row_means(b.tokens, ~np.isnan(b.tokens)).tolist(), strict=False))
    if len(n) and np.median(n) >= ENOUGH:
        rates = np.where(n >= ENOUGH, rate, np.nan)
        return Difficulty(
            "problem",
            f"solve rate of {base.name} on each problem ({int(np.median(n))} samples)",
            dict(zip(b.problem_ids, rates.tolist(), strict=False)),
            tokens,
        )
    levels = {level for level in b.levels if level is not None}
    if len(levels) < 2:
        return Difficulty(
            None,
            f"unknown: {base.name} has fewer than {ENOUGH} samples per problem, and there are no levels",
            tokens=tokens,
        )
    of = np.array(b.levels, dtype=object)
    means: dict[str | None, float] = {level: mean(rate[of == level]) for level in levels}
    return Difficulty(
        "level",
        f"mean solve rate of {base.name} on the problem's level ({len(levels)} levels)",
        {p: means.get(level, np.nan) for p, level in zip(b.problem_ids, b.levels, strict=False)},
        tokens,
    )
