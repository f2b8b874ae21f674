"""Properties that make a base model suitable for shortening, measured on its own samples, without any trained method.

room              accuracy between 80 and 93 % in all, above 97 % on the easiest level of each family, below 75 % on the
                  hardest
waste             mean tokens at least 2.2 times the shortest correct completion, in each family
thinking pays     forced answers at half of the mean thinking lose 15 points, answers without thinking 30
need varies       over problems solved at least half of the time, the shortest correct completion spreads by p90 / p10 >= 5,
                  and within a level of the search family by >= 3
allocation pays   at half of the mean tokens the best uniform cap loses 8 points, and the best allocation less than 2
                  (`eval.metrics.allocation`)

Intervals are 95 %, by resampling of problems. A property of 16 samples is not comparable to one of 8: the shortest of more
samples is shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tersely.eval.metrics.allocation import accuracy_at, needs, oracle_allocation, uniform_cap
from tersely.eval.stats.bootstrap import Interval, bootstrap_statistic
from tersely.testbed.families import CAP, FAMILIES, LEVELS

if TYPE_CHECKING:
    from tersely.eval.run_arrays import BenchmarkRecords

DRAWS = 500
OTHER_SAMPLES = 4
"""Samples of each problem with forced answers, and without thinking."""


@dataclass(frozen=True)
class Property:
    """A measured property: its value with interval, and the range that is wanted."""

    name: str
    value: Interval
    low: float = -np.inf
    high: float = np.inf

    @property
    def verdict(self) -> str:
        """`yes` or `no` by the estimate; with `?` where the interval reaches to the other side."""
        inside = [self.low <= value <= self.high for value in (self.value.estimate, self.value.low, self.value.high)]
        return ("yes" if inside[0] else "no") + ("" if all(inside) or not any(inside) else " ?")


@dataclass(frozen=True)
class Samples:
    """Samples of one family: correct and tokens (Q, n), levels (Q,), and the correctness of two other decodings (Q, m)."""

    correct: np.ndarray
    tokens: np.ndarray
    levels: np.ndarray
    forced: np.ndarray
    no_thinking: np.ndarray

    def at(self, level: int) -> np.ndarray:
        return np.asarray(self.correct[self.levels == level])


def properties(families: Mapping[str, Samples]) -> list[Property]:
    """All properties, from the samples of each family."""
    together = [
        np.concatenate([getattr(part, name) for part in families.values()])
        for name in ("correct", "tokens", "forced", "no_thinking")
    ]
    correct, tokens, forced, no_thinking = together
    found = [Property("accuracy", _interval(np.mean, correct), 0.80, 0.93)]
    for name, part in families.items():
        easy, hard = part.at(LEVELS[0]), part.at(LEVELS[-1])
        found.append(Property(f"accuracy, {name}, easiest level", _interval(np.mean, easy), low=0.97))
        found.append(Property(f"accuracy, {name}, hardest level", _interval(np.mean, hard), high=0.75))
    for name, part in families.items():
        found.append(Property(f"waste, {name}", _interval(waste, part.tokens, part.correct), low=2.2))
    found.append(
        Property("loss of forced answers at half of the thinking", _interval(_loss, correct, forced), low=0.15)
    )
    found.append(Property("loss without thinking", _interval(_loss, correct, no_thinking), low=0.30))
    found.append(Property("spread of the need", _interval(spread, tokens, correct), low=5.0))
    level = widest_level(families["search"])
    chosen = families["search"].levels == level
    level_spread = _interval(spread, families["search"].tokens[chosen], families["search"].correct[chosen])
    found.append(Property(f"spread of the need, search, level {level}", level_spread, low=3.0))
    uniform, oracle = (
        _interval(partial(loss_at_half, curve), tokens, correct) for curve in (uniform_cap, oracle_allocation)
    )
    found.append(Property("loss of a uniform cap at half of the tokens", uniform, low=0.08))
    found.append(Property("loss of the best allocation at half", oracle, high=0.02))
    return found


def _interval(statistic: Callable[..., float], *arrays: np.ndarray) -> Interval:
    return bootstrap_statistic(statistic, *arrays, draws=DRAWS)


def waste(tokens: np.ndarray, correct: np.ndarray) -> float:
    """Mean tokens over the mean shortest correct completion, of the problems with a correct completion."""
    need = needs(tokens, correct)
    solved = np.isfinite(need)
    return float(tokens[solved].mean() / need[solved].mean()) if solved.any() else np.nan


def spread(tokens: np.ndarray, correct: np.ndarray) -> float:
    """p90 / p10 of the shortest correct completion, of the problems solved at least half of the time."""
    need = needs(tokens, correct)[np.nan_to_num(correct).mean(1) >= 0.5]
    return float(np.quantile(need, 0.9) / np.quantile(need, 0.1)) if len(need) else np.nan


def loss_at_half(curve: Callable[..., tuple[np.ndarray, np.ndarray]], tokens: np.ndarray, correct: np.ndarray) -> float:
    """Accuracy that a curve of `eval.metrics.allocation` loses at half of the mean tokens."""
    return float(np.nan_to_num(correct).mean() - accuracy_at(curve(tokens, correct), tokens.mean() / 2))


def _loss(correct: np.ndarray, other: np.ndarray) -> float:
    return float(correct.mean() - other.mean())


def widest_level(search: Samples) -> int:
    """The level of the search family whose need spreads most."""
    spreads = {
        level: spread(search.tokens[search.levels == level], search.correct[search.levels == level]) for level in LEVELS
    }
    return max(spreads, key=lambda level: np.nan_to_num(spreads[level]))


def sample_model(model: str, out: str | Path, problems: int, samples: int, seed: int = 0) -> dict[str, Samples]:
    """Evaluate a model on held-out problems of each family, freely, with forced answers and without thinking.

    problems: per family. The records go to `out`, and those that are there already are used.
    """
    from tersely.eval.engines import transformers_evaluator
    from tersely.eval.run_arrays import load_runs

    evaluator = transformers_evaluator(model, None)

    def run(family: str, strategy: str, count: int) -> BenchmarkRecords:
        bench = {
            "name": family,
            "path": "testbed",
            "split": "test",
            "seed": seed,
            "parameters": {"families": [family]},
            "temperature": 1.0,
            "top_p": 1.0,
            "max_new_tokens": CAP,
        }
        folder = Path(out) / family / strategy.partition(":")[0]
        evaluator.run(bench, folder, limit=problems, seed=seed, strategy=strategy, samples=count)
        return next(iter(load_runs(folder)[0].benchmarks.values()))

    found = {}
    try:
        for family in FAMILIES:
            free = run(family, "vanilla", samples)
            half = max(round(float(np.nanmean(free.thinking_tokens)) / 2), 1)
            forced = f"forced_answer:budget={half},answer_prefix=boxed,answer_tokens=16,answer_greedy=false"
            others = [run(family, strategy, OTHER_SAMPLES) for strategy in (forced, "no_thinking")]
            found[family] = Samples(
                free.correct_ended,
                free.tokens,
                np.array([int(str(level)) for level in free.levels]),
                *(other.take(other.rows(free.problem_ids)).correct_ended for other in others),
            )
    finally:
        evaluator.engine.close()
        evaluator.verifier.close()
    return found
