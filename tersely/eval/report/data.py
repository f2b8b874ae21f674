"""Computes report.json from runs as arrays. Values are fractions, never percents; nan becomes null.

Intervals are 95 % over problems (cluster bootstrap, seed 0). Comparisons pair the same problems.
tokens_change is mean tokens over the base's mean tokens minus 1 (the interval resamples problems);
tokens_log_ratio_change is exp(mean over problems of ln(tokens / base tokens)) minus 1, which no single long problem
dominates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tersely.eval import metrics
from tersely.eval.report.allocation import reference_curves
from tersely.eval.report.budget import adherence, forced_curves, grid_of
from tersely.eval.report.compare import AES_WEIGHTS, compare_all, counted
from tersely.eval.report.conclusion import MARGIN
from tersely.eval.report.difficulty import Difficulty, reference
from tersely.eval.report.frontier import free_runs, held_against
from tersely.eval.report.intervals import curve_band, mean_of
from tersely.eval.report.passes import passes
from tersely.eval.report.pool import overthinking, shortest_known, volumes
from tersely.eval.report.redundancy import redundancy
from tersely.eval.report.text import text_rates
from tersely.eval.run_arrays import VERDICTS, BenchmarkRecords, RunRecords, level_order
from tersely.eval.same_settings import check_same, unrecorded

SHARES = (0.25, 0.5, 0.75)
"""Shares of the easiest problems whose part of all tokens is reported."""
NAN = float("nan")


def report_data(
    runs: list[RunRecords], base: RunRecords | None, margin: float = MARGIN, anyway: bool = False
) -> dict[str, Any]:
    """The content of report.json: {"runs": [...], "comparisons": [...], "base", "notes", "settings"}.

    Raises `ConfigError` for a run with other settings than the base, unless `anyway`.
    """
    others = [run for run in runs if base is not None and run is not base]
    unlike = check_same(others, base, anyway) if base is not None else {}
    caps = {name: grid_of(runs, name) for name in {name for run in runs for name in run.benchmarks}}
    difficulty = {name: reference(base, name) for name in caps}
    entries: list[dict[str, Any]] = [
        {
            "name": run.name,
            "strategy": run.strategy,
            "dropped_lines": run.dropped,
            "duplicates": run.duplicates,
            "card": run.card,
            "notes": run.notes,
            "seeds": len(run.members) or 1,
            "benchmarks": {
                name: benchmark_entry(b, difficulty[name], caps[name]) for name, b in sorted(run.benchmarks.items())
            },
        }
        for run in runs
    ]
    for name in caps:
        shortest = shortest_known(runs, name)
        for run, entry in zip(runs, entries, strict=True):
            if name in run.benchmarks:
                entry["benchmarks"][name] |= overthinking(run, name, shortest) | text_rates(run, name)
    free = free_runs(runs, base)
    costless = [base.name, *(run.name for run in free)] if base and free else []
    by_name = {run.name: run for run in runs}
    comparisons = compare_all(others, base, margin) if base is not None else []
    for comparison in comparisons:
        name, benchmark = comparison["run"], comparison["benchmark"]
        comparison["different_settings"] = unlike.get((name, benchmark), [])
        comparison["settings_unrecorded"] = unrecorded(by_name[name], by_name[comparison["base"]], benchmark)
    for run in runs:
        for comparison in (c for c in comparisons if c["run"] == run.name and run not in free):
            comparison["free_frontier"] = held_against(run, free, comparison["benchmark"])
    return clean(
        {
            "runs": entries,
            "comparisons": comparisons,
            "base": base.name if base else None,
            "free": costless,
            "hypervolume": {name: volumes(entries, costless, name) for name in caps},
            "allocation": {name: reference_curves(base, name) for name in caps},
            "forced": {name: forced_curves(runs, entries, name) for name in caps},
            "difficulty": {name: d.text for name, d in difficulty.items()},
            "settings": {
                "level": 0.95,
                "seed": 0,
                "draws": 10_000,
                "resample": "problems",
                "aes_weights": AES_WEIGHTS,
                "margin": margin,
            },
        }
    )


def benchmark_entry(b: BenchmarkRecords, difficulty: Difficulty, grid: list[int]) -> dict[str, Any]:
    accuracy, tokens = mean_of(b, b.correct), mean_of(b, b.tokens)
    summary = metrics.token_summary(b.tokens, b.truncated)
    rate = difficulty.rates(b)
    curve = metrics.accuracy_at_budget(b.correct, b.tokens, grid)
    low, high = curve_band(b, grid)
    return {
        "accuracy": accuracy.estimate,
        "accuracy_ci": [accuracy.low, accuracy.high],
        "accuracy_ended": metrics.mean_at_n(b.correct_ended),
        "tokens_mean": tokens.estimate,
        "tokens_ci": [tokens.low, tokens.high],
        "truncated": summary["truncated"],
        "by_level": by_level(b),
        "problems": len(b.problem_ids),
        "samples": summary["samples"],
        "undecided": metrics.undecided_rate(b.correct[~np.isnan(b.tokens)]),
        "accuracy_bounds": bounds(b),
        "tokens": summary,
        "thinking_tokens_mean": metrics.token_summary(b.thinking_tokens)["mean"],
        "answer_tokens_mean": metrics.token_summary(np.maximum(b.tokens - b.thinking_tokens, 0))["mean"],
        "tokens_by_outcome": metrics.tokens_by_outcome(b.correct, b.tokens),
        "tokens_by_verdict": tokens_by_verdict(b),
        "tokens_per_solved": metrics.tokens_per_solved(b.correct, b.tokens),
        "accuracy_per_kilotoken": metrics.accuracy_per_kilotoken(b.correct, b.tokens),
        "auc_oaa": metrics.auc_oaa(b.correct, b.thinking_tokens),
        "f1_otb": optimal_thinking(b, rate),
        **passes(b),
        "first_correct": first_correct(b),
        "redundancy": redundancy(b, rate),
        "adaptation_ratio": metrics.adaptation_ratio(b.tokens, rate),
        "token_share_easiest_half": metrics.token_share_easiest_half(b.tokens, rate),
        "length_difficulty_spearman": metrics.length_difficulty_spearman(b.tokens, rate),
        "length_difficulty_spearman_right": metrics.length_difficulty_spearman(b.tokens, rate, b.correct),
        "length_difficulty_kendall": metrics.length_difficulty_kendall(b.tokens, rate),
        "allocation": {"shares": SHARES, "tokens": metrics.allocation_curve(b.tokens, rate, SHARES)},
        "by_difficulty": metrics.difficulty_table(b.correct, b.tokens, rate, difficulty.base_tokens(b)),
        "budget_curve": {"budgets": grid, "accuracy": curve, "low": low, "high": high},
        "budget_auc": metrics.budget_auc(grid, curve),
        "budget_to_reach": metrics.budget_to_reach(grid, curve),
        "adherence": adherence(b),
        "by_finish": by_finish(b),
    }


def bounds(b: BenchmarkRecords) -> tuple[float, float]:
    """accuracy_bounds over existing samples; a missing sample is not undecided."""
    return metrics.mean_at_n(counted(b, 0.0)), metrics.mean_at_n(counted(b, 1.0))


def by_level(b: BenchmarkRecords) -> dict[str, dict[str, Any]]:
    levels = np.array(["" if level is None else level for level in b.levels], dtype=object)
    known = sorted({level for level in levels if level}, key=level_order)
    return {
        level: {
            "accuracy": metrics.mean_at_n(b.correct[levels == level]),
            "tokens_mean": metrics.token_summary(b.tokens[levels == level])["mean"],
            "problems": int((levels == level).sum()),
        }
        for level in known
    }


def by_finish(b: BenchmarkRecords) -> dict[str, dict[str, float]]:
    """Pooled accuracy and tokens of the samples by `finish`: a strategy may stop some samples and not others."""
    return {
        name: {"samples": n, "accuracy": right / decided if decided else NAN, "tokens_mean": tokens / n}
        for name, (n, decided, right, tokens) in sorted(b.finishes.items())
    }


def tokens_by_verdict(b: BenchmarkRecords) -> dict[str, dict[str, float]]:
    rows = {}
    for i, verdict in enumerate(VERDICTS):
        t = b.tokens[b.verdict == i]
        rows[verdict] = {
            "samples": len(t),
            **{
                name: float(np.quantile(t, q)) if len(t) else NAN
                for name, q in (("p25", 0.25), ("median", 0.5), ("p75", 0.75), ("p95", 0.95))
            },
            "mean": float(t.mean()) if len(t) else NAN,
        }
    return rows


def first_correct(b: BenchmarkRecords) -> dict[str, Any]:
    """Position of the first correct answer as a share of the tokens; estimated if not recorded."""
    share = (b.first_correct / np.where(b.tokens > 0, b.tokens, np.nan))[(b.correct == 1) & ~np.isnan(b.first_correct)]
    share = share[~np.isnan(share)]
    histogram, _ = np.histogram(np.clip(share, 0, 1), bins=10, range=(0, 1))
    return {
        "token_level_outcome_efficiency": metrics.token_level_outcome_efficiency(b.correct, b.first_correct, b.tokens),
        "outcome_efficiency": metrics.outcome_efficiency(b.first_correct, b.tokens),
        "underthinking_score": metrics.underthinking_score(b.correct, b.first_correct, b.tokens),
        "histogram": histogram / max(1, len(share)),
        "samples": len(share),
        "estimated_samples": b.estimated,
    }


def optimal_thinking(b: BenchmarkRecords, rate: np.ndarray) -> float:
    """`f1_otb` within one benchmark: AUC-OAA on the problems above the median reference rate, accuracy on the others.

    rate: (Q,) reference solve rate. nan if one side has no problem.
    """
    known = rate[~np.isnan(rate)]
    easy = rate > (np.median(known) if len(known) else NAN)
    hard = ~np.isnan(rate) & ~easy
    return metrics.f1_otb(metrics.auc_oaa(b.correct[easy], b.thinking_tokens[easy]), metrics.mean_at_n(b.correct[hard]))


def clean(value: Any) -> Any:
    """Convert to plain JSON: numpy to Python, nan and infinity to null."""
    convert: dict[type, Callable[[Any], Any]] = {
        dict: lambda v: {str(k): clean(x) for k, x in v.items()},
        list: lambda v: [clean(x) for x in v],
        tuple: lambda v: [clean(x) for x in v],
    }
    if type(value) in convert:
        return convert[type(value)](value)
    if isinstance(value, (np.ndarray, np.generic)):
        return clean(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
