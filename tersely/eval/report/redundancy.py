"""Redundancy of a report: the tokens of correct samples after their first correct answer, in total and by difficulty."""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.eval import metrics
from tersely.eval.metrics.adaptivity import BINS, rate_bin
from tersely.eval.metrics.arrays import divide
from tersely.eval.report.intervals import DRAWS, mean_of
from tersely.eval.run_arrays import BenchmarkRecords, level_order


def redundancy(b: BenchmarkRecords, rate: np.ndarray) -> dict[str, Any]:
    """{"all", "by_level", "by_difficulty"} of cells; `rate`: (Q,) reference solve rate. Groups without problems are left out.

    by_level is by level, in order; by_difficulty by bin of the rate, easy to hard.
    """
    after = metrics.redundant_tokens(b.correct, b.first_correct, b.tokens)
    levels = np.array(["" if level is None else level for level in b.levels], dtype=object)
    bins = rate_bin(rate)
    return {
        "all": _cell(b, after, np.ones(len(levels), dtype=bool)),
        "by_level": {level: _cell(b, after, levels == level) for level in sorted({*levels} - {""}, key=level_order)},
        "by_difficulty": {BINS[i]: _cell(b, after, bins == i) for i in reversed(range(len(BINS))) if (bins == i).any()},
    }


def _cell(b: BenchmarkRecords, after: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
    """Mean tokens after the first correct answer, and their mean share of the sample's tokens, with intervals."""
    part, after = b.take(np.nonzero(rows)[0]), after[rows]
    tokens, share = (mean_of(part, values, DRAWS) for values in (after, divide(after, part.tokens)))
    return {
        "tokens": tokens.estimate,
        "tokens_ci": [tokens.low, tokens.high],
        "share": share.estimate,
        "share_ci": [share.low, share.high],
        "samples": int((~np.isnan(after)).sum()),
        "problems": int(rows.sum()),
    }
