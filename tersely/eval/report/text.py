"""Rates of loops and reflection markers in a run's texts, from evenly spread samples.

To keep reports fast, at most 100 samples per benchmark, evenly spread over its problems, are read from the file, and
loops are searched in the last 3000 words of a text. The number of samples is reported.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.eval.metrics import has_loop, marker_rate
from tersely.eval.run_arrays import RunRecords

SAMPLES = 100
WORDS = 3000
MARKERS = (
    "wait",
    "hmm",
    "alternatively",
    "however",
    "double-check",
    "let me check",
    "let me verify",
    "actually",
    "again",
)


def text_rates(run: RunRecords, benchmark: str) -> dict[str, Any]:
    """`loop_rate` (share of texts), `markers_per_1000_tokens` (pooled), `text_samples` (number of texts read)."""
    b = run.benchmarks[benchmark]
    rows, columns = np.nonzero((b.offset >= 0) & (np.nan_to_num(b.tokens) > 0))
    if run.path is None or not len(rows):
        return {"loop_rate": None, "markers_per_1000_tokens": None, "text_samples": 0}
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(SAMPLES, len(rows))).astype(int))
    loops, marks, tokens = 0, 0.0, 0
    for i in chosen:
        record = run.record(benchmark, int(rows[i]), int(columns[i]))
        text, count = str(record.get("text") or ""), int(record["tokens"])
        loops += has_loop(" ".join(text.split()[-WORDS:]))
        marks += marker_rate(text, count, MARKERS) * count
        tokens += count
    return {
        "loop_rate": loops / len(chosen),
        "markers_per_1000_tokens": marks / tokens,
        "text_samples": len(chosen),
    }
