"""Compares two runs on their common problems: changes, intervals, tests."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tersely.eval import metrics, stats
from tersely.eval.report.conclusion import MARGIN, conclude
from tersely.eval.run_arrays import BenchmarkRecords, RunRecords, pair
from tersely.eval.stats.bootstrap import interval, problem_draws

AES_WEIGHTS = {"alpha": 1.0, "beta": 3.0, "gamma": 5.0}
NAN = float("nan")


def compare_all(runs: list[RunRecords], base: RunRecords, margin: float = MARGIN) -> list[dict[str, Any]]:
    """One comparison per run and common benchmark; p-values are Holm-corrected over all of them."""
    found = [
        compare_benchmark(run, base, name, margin)
        for run in runs
        for name in sorted(run.benchmarks)
        if name in base.benchmarks
    ]
    conclude(found, margin)
    return found


def compare_benchmark(run: RunRecords, base: RunRecords, name: str, margin: float = MARGIN) -> dict[str, Any]:
    a, b = pair(run.benchmarks[name], base.benchmarks[name])
    right_a, spent_a, right_b, spent_b = (per_problem(x) for x in (a.correct, a.tokens, b.correct, b.tokens))
    both = ~np.isnan(spent_a) & ~np.isnan(spent_b)
    ratio = stats.paired_bootstrap(a.tokens, b.tokens, statistic="log_ratio")
    solved = both & ~np.isnan(right_a) & ~np.isnan(right_b)
    aes = stats.bootstrap_statistic(aes_of, right_a[solved], spent_a[solved], right_b[solved], spent_b[solved])
    return {
        "base": base.name,
        "run": run.name,
        "benchmark": name,
        **changes(a, b, margin),
        "problems": int(both.sum()),
        "problems_run": len(run.benchmarks[name].problem_ids),
        "problems_base": len(base.benchmarks[name].problem_ids),
        "tokens_log_ratio_change": math.expm1(ratio.estimate),
        "tokens_log_ratio_change_ci": [math.expm1(ratio.low), math.expm1(ratio.high)],
        "matched_tokens": metrics.matched_tokens(a.correct, a.tokens, b.correct, b.tokens),
        "aes": {"score": aes.estimate, "ci": [aes.low, aes.high], **AES_WEIGHTS},
        "free_frontier": [],
        "dominance_probability": stats.dominance_probability(a.correct, a.tokens, b.correct, b.tokens),
        **exact_tests(a, b),
    }


def exact_tests(a: BenchmarkRecords, b: BenchmarkRecords) -> dict[str, float | None]:
    """Tests that other evaluations report for two runs. No conclusion uses them, and Holm's correction excludes them.

    accuracy_change_se: the paired standard error. tokens_sign_p: which run is shorter on more problems, whatever by how much.
    accuracy_mcnemar_p: only for one sample per problem, else None.
    """
    one_each = a.correct.shape[1] == b.correct.shape[1] == 1
    return {
        "accuracy_change_se": stats.paired_standard_error(a.correct, b.correct),
        "tokens_sign_p": stats.sign_test(per_problem(a.tokens) - per_problem(b.tokens)),
        "accuracy_mcnemar_p": stats.mcnemar_exact(a.correct[:, 0], b.correct[:, 0]) if one_each else None,
    }


def changes(a: BenchmarkRecords, b: BenchmarkRecords, margin: float) -> dict[str, Any]:
    """Changes of tokens and accuracy with intervals and p-values; over seeds too if a run has several."""
    spent_a, spent_b = per_problem(a.tokens), per_problem(b.tokens)
    both = ~np.isnan(spent_a) & ~np.isnan(spent_b)
    saved = ratio_change(spent_a[both], spent_b[both])
    gained = stats.paired_bootstrap(a.correct, b.correct)
    against = per_problem(counted(a, 0.0)) - per_problem(counted(b, 1.0))
    favour = per_problem(counted(a, 1.0)) - per_problem(counted(b, 0.0))
    p = {
        "accuracy_p": stats.paired_permutation(a.correct, b.correct),
        "tokens_p": stats.paired_permutation(a.tokens, b.tokens),
        "not_worse_p": stats.non_inferiority_p(against, margin),
    }
    if a.seed_count > 1 or b.seed_count > 1:
        right = [stats.seed_means(x.correct, x.seed_of) for x in (a, b)]
        spent = [stats.seed_means(x.tokens, x.seed_of) for x in (a, b)]
        doubted = [stats.seed_means(counted(x, fill), x.seed_of) for x, fill in ((a, 0.0), (b, 1.0))]
        saved = stats.seeds_bootstrap(lambda x, y: x / np.where(y > 0, y, np.nan) - 1.0, *spent)
        gained = stats.seeds_bootstrap(lambda x, y: x - y, *right)
        p = {
            "accuracy_p": max(p["accuracy_p"], stats.seeds_p(*right)),
            "tokens_p": max(p["tokens_p"], stats.seeds_p(*spent)),
            "not_worse_p": max(p["not_worse_p"], stats.seeds_margin_p(doubted[0], doubted[1], margin)),
        }
    return {
        "tokens_change": saved.estimate,
        "tokens_change_ci": [saved.low, saved.high],
        "compression_ratio": metrics.compression_ratio(a.tokens, b.tokens),
        "accuracy_change": gained.estimate,
        "accuracy_change_ci": [gained.low, gained.high],
        "accuracy_change_bounds": [_mean(against), _mean(favour)],
        "tokens_differing": int((np.abs(spent_a - spent_b)[both] > 1e-9).sum()),
        "accuracy_ended_change": _mean(per_problem(a.correct_ended) - per_problem(b.correct_ended)),
        "not_ended": [_not_ended(a), _not_ended(b)],
        "seeds_run": a.seed_count,
        "seeds_base": b.seed_count,
        **p,
        "gaps": against,
    }


def counted(b: BenchmarkRecords, fill: float) -> np.ndarray:
    """`correct` with every undecided sample set to `fill`; samples that do not exist stay nan."""
    return np.where(np.isnan(b.tokens), np.nan, np.nan_to_num(b.correct, nan=fill))


def _not_ended(b: BenchmarkRecords) -> float:
    """Share of samples with a correct answer in a truncated completion."""
    return float((b.correct != b.correct_ended)[~np.isnan(b.correct)].mean()) if (~np.isnan(b.correct)).any() else NAN


def _mean(x: np.ndarray) -> float:
    return float(np.nanmean(x)) if (~np.isnan(x)).any() else NAN


def ratio_change(a: np.ndarray, b: np.ndarray, draws: int = 10_000) -> stats.Interval:
    """Mean of a / mean of b - 1, for (Q,) values on the same problems; the interval resamples problems."""
    if not len(a) or not b.sum():
        return stats.Interval(NAN, NAN, NAN, 0.95, draws)
    chunks = problem_draws(np.random.default_rng(0), len(a), draws)
    sums = np.concatenate([np.stack([a[index].sum(axis=1), b[index].sum(axis=1)]) for index in chunks], axis=1)
    ratios = np.where(sums[1] > 0, sums[0] / np.where(sums[1] > 0, sums[1], 1.0) - 1.0, NAN)
    return interval(float(a.sum() / b.sum() - 1.0), ratios, 0.95, draws)


def per_problem(x: np.ndarray) -> np.ndarray:
    known = ~np.isnan(x)
    return np.where(known.any(axis=1), np.where(known, x, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1), np.nan)


def aes_of(acc: np.ndarray, tokens: np.ndarray, base_acc: np.ndarray, base_tokens: np.ndarray) -> float:
    if base_tokens.mean() <= 0:
        return NAN
    return metrics.accuracy_efficiency_score(
        acc.mean(), tokens.mean(), base_acc.mean(), base_tokens.mean(), **AES_WEIGHTS
    )
