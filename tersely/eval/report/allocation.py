"""Reference curves of a report: the accuracy that budgets would keep if they removed only waste from the base's samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.eval.metrics.allocation import oracle_allocation, uniform_cap
from tersely.eval.run_arrays import RunRecords

POINTS = 60
"""Most points of a curve in report.json."""


def reference_curves(base: RunRecords | None, benchmark: str) -> dict[str, Any] | None:
    """`uniform_cap` and `oracle_allocation` as {tokens, accuracy}, and the `samples` per problem on which they depend.

    None without a base, or with fewer than 2 samples per problem. Problems with a missing sample are left out.
    """
    if base is None or benchmark not in base.benchmarks:
        return None
    records = base.benchmarks[benchmark]
    whole = np.isfinite(records.tokens).all(1) & (records.tokens > 0).all(1)
    tokens, correct = records.tokens[whole], records.correct_ended[whole]
    if tokens.shape[0] == 0 or tokens.shape[1] < 2:
        return None
    curves = {
        "uniform_cap": _thinned(*uniform_cap(tokens, correct)),
        "oracle_allocation": _thinned(*oracle_allocation(tokens, correct)),
    }
    return {"of": base.name, "samples": tokens.shape[1], **curves}


def _thinned(tokens: np.ndarray, accuracy: np.ndarray) -> dict[str, list[float]]:
    places = np.unique(np.linspace(0, len(tokens) - 1, POINTS).round().astype(int))
    return {"tokens": tokens[places].tolist(), "accuracy": accuracy[places].tolist()}
