"""Segments, loops and reflection markers in a run's texts, from evenly spread samples.

To keep reports fast, at most 100 samples per benchmark, evenly spread over its problems, are read from the file; the number
of samples is reported. `tersely analyze` reads all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.eval.analysis.text_facts import text_facts
from tersely.eval.run_arrays import RunRecords

SAMPLES = 100


def text_rates(run: RunRecords, benchmark: str) -> dict[str, Any]:
    """`segments_mean`, `loop_rate` (share of texts), `markers_per_1000_tokens` (pooled), `text_samples` (texts read)."""
    b = run.benchmarks[benchmark]
    rows, columns = np.nonzero((b.offset >= 0) & (np.nan_to_num(b.tokens) > 0))
    if run.path is None or not len(rows):
        return {"segments_mean": None, "loop_rate": None, "markers_per_1000_tokens": None, "text_samples": 0}
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(SAMPLES, len(rows))).astype(int))
    records = [run.record(benchmark, int(rows[i]), int(columns[i])) for i in chosen]
    facts = [text_facts(str(record.get("text") or "")) for record in records]
    tokens = sum(int(record["tokens"]) for record in records)
    return {
        "segments_mean": sum(f.segments for f in facts) / len(facts),
        "loop_rate": sum(f.loop for f in facts) / len(facts),
        "markers_per_1000_tokens": 1000 * sum(f.markers for f in facts) / tokens,
        "text_samples": len(facts),
    }
