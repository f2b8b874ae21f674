"""Budget part of a report: the grid of its curves, adherence to requested budgets, and the forced-answer curve.

Three curves are never mixed: *truncation* (stored samples cut at B, nothing forced), *forced answer* (thinking cut at B,
the answer forced), *prompted* (B tokens requested in the prompt).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tersely.eval import metrics
from tersely.eval.run_arrays import BenchmarkRecords, RunRecords

BUDGETS = (512, 1024, 2048, 4096, 8192, 16384, 32768)
FORCED = "forced_answer"


def budget_grid(runs: list[BenchmarkRecords]) -> list[int]:
    """Default budget grid up to the longest sample; powers of two for short answers."""
    longest = max((float(np.nanmax(b.tokens)) for b in runs if not np.isnan(b.tokens).all()), default=1.0)
    grid = [b for b in BUDGETS if b < 2 * longest]
    return grid if len(grid) >= 4 else [2**i for i in range(3, max(4, math.ceil(math.log2(max(2.0, longest)))) + 1)]


def grid_of(runs: list[RunRecords], benchmark: str) -> list[int]:
    """The first grid that a run set with `--budgets`; else the default grid."""
    for run in runs:
        settings = run.card.get("settings")
        recorded = settings.get(benchmark) if isinstance(settings, dict) else None
        if isinstance(recorded, dict) and recorded.get("budgets"):
            return [int(budget) for budget in recorded["budgets"]]
    return budget_grid([run.benchmarks[benchmark] for run in runs if benchmark in run.benchmarks])


def adherence(b: BenchmarkRecords) -> dict[str, Any] | None:
    """Deviation from the requested tokens, violations, excess; None without a request."""
    asked = b.budget > 0
    if not asked.any():
        return None
    budgets = np.where(asked, b.budget, np.nan)
    return {
        "samples": int((asked & ~np.isnan(b.tokens)).sum()),
        "requested_mean": float(np.nanmean(budgets)),
        "deviation": metrics.length_deviation(b.tokens, budgets),
        "violation_rate": metrics.violation_rate(b.tokens, budgets),
        **metrics.budget_excess(b.tokens, budgets),
    }


def forced_curves(runs: list[RunRecords], entries: list[dict[str, Any]], benchmark: str) -> list[dict[str, Any]]:
    """One curve per (run, form of the forced answer) with two or more budgets; `of`: the run that was forced.

    s1_control: share of the budgets above 0 that the mean thinking tokens do not exceed.
    """
    found: dict[tuple[str, str], list[tuple[int, dict[str, Any]]]] = {}
    for run, entry in zip(runs, entries, strict=True):
        budget = run.given.get("budget")
        if run.given.get("name") != FORCED or benchmark not in run.benchmarks or not isinstance(budget, int):
            continue
        form = ", ".join(f"{k}={v}" for k, v in run.given.items() if k not in ("name", "budget"))
        found.setdefault((run.name.partition(" + ")[0], form), []).append((budget, entry["benchmarks"][benchmark]))
    curves = []
    for (name, form), points in found.items():
        points.sort(key=lambda point: point[0])
        positive = [(budget, e["accuracy"]) for budget, e in points if budget > 0]
        spent = [e["thinking_tokens_mean"] / budget for budget, e in points if budget > 0]
        if len(points) > 1:
            curves.append(
                {
                    "of": name,
                    "form": form,
                    "budgets": [budget for budget, _ in points],
                    "accuracy": [e["accuracy"] for _, e in points],
                    "accuracy_ci": [e["accuracy_ci"] for _, e in points],
                    "tokens_mean": [e["tokens_mean"] for _, e in points],
                    "s1_scaling": metrics.s1_scaling(
                        [e["tokens_mean"] for _, e in points], [e["accuracy"] for _, e in points]
                    ),
                    "s1_control": metrics.s1_control(spent, 0.0, 1.0),
                    "auc": metrics.budget_auc(*zip(*positive, strict=True)) if positive else None,
                }
            )
    return curves
