"""Cross-run metrics: tokens above the shortest correct answer of any run, and Pareto hypervolume."""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.eval import metrics
from tersely.eval.run_arrays import RunRecords


def shortest_known(runs: list[RunRecords], benchmark: str) -> dict[str, float]:
    """Problem id -> fewest tokens of any correct sample of any run of the report."""
    best: dict[str, float] = {}
    for run in runs:
        b = run.benchmarks.get(benchmark)
        if b is None:
            continue
        for problem, tokens in zip(b.problem_ids, metrics.shortest_correct([(b.correct, b.tokens)]), strict=True):
            if not np.isnan(tokens):
                best[problem] = min(best.get(problem, np.inf), float(tokens))
    return best


def overthinking(run: RunRecords, benchmark: str, shortest: dict[str, float]) -> dict[str, Any]:
    """Mean tokens above the shortest known correct answer (O_g), and the spread within a problem (O_env).

    `waste` is O_g over correct samples only: short incorrect samples would give negative waste.
    """
    b = run.benchmarks[benchmark]
    known = np.array([shortest.get(problem, np.nan) for problem in b.problem_ids])
    return {
        "waste": metrics.overthinking_score(np.where(b.correct == 1, b.tokens, np.nan), known),
        "overthinking_score": metrics.overthinking_score(b.tokens, known),
        "overthinking_envelope": metrics.overthinking_envelope(b.tokens),
        "token_calibration": metrics.token_calibration(b.tokens, known),
    }


def volumes(entries: list[dict[str, Any]], free: list[str], benchmark: str) -> dict[str, Any]:
    """Hypervolume of all runs, and of the base's training-free frontier: accuracy times doublings of tokens.

    The reference is the largest budget of the grid, and the accuracy of the base's least accurate strategy (0 without any).
    """
    found = {e["name"]: e["benchmarks"][benchmark] for e in entries if benchmark in e["benchmarks"]}
    points = {name: (b["tokens_mean"], b["accuracy"]) for name, b in found.items() if b["tokens_mean"]}
    costless = [points[name][1] for name in free[1:] if name in points]  # the first is the base
    reference = (max(b["budget_curve"]["budgets"][-1] for b in found.values()), min(costless) if costless else 0.0)
    return {
        "reference": list(reference),
        "all": metrics.hypervolume(list(points.values()), reference),
        "free": metrics.hypervolume([points[name] for name in free if name in points], reference) if costless else None,
    }
