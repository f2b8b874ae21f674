"""pass@k, mG-Pass@k and majority@k of a report: every k on the same problems, undecided samples count as incorrect."""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.eval import metrics
from tersely.eval.run_arrays import BenchmarkRecords

PASS = (1, 4, 16)
MAJORITY = (4, 16)
NAN = float("nan")


def passes(b: BenchmarkRecords) -> dict[str, Any]:
    """pass_at, mg_pass_at and majority_at per k, with bounds (undecided counted incorrect, and counted correct).

    Uses the problems with as many samples as the largest k that at least half of the problems have; larger k are nan.
    With several seeds, each k is computed within a seed, then averaged, because the seeds are different models.
    """
    parts = b.by_seed()
    found = [_passes(part) for part in parts]
    merged: dict[str, Any] = {}
    for key in ("pass_at", "mg_pass_at", "majority_at"):
        merged[key] = {k: float(np.mean([f[key][k] for f in found])) for k in found[0][key]}
        bounds = f"{key}_bounds"
        merged[bounds] = {k: [float(np.mean([f[bounds][k][i] for f in found])) for i in (0, 1)] for k in found[0][key]}
    return {**merged, "pass_at_problems": min(f["pass_at_problems"] for f in found)}


def _passes(b: BenchmarkRecords) -> dict[str, Any]:
    exists = ~np.isnan(b.tokens)
    counts = exists.sum(axis=1)
    largest = max((k for k in PASS if 2 * (counts >= k).sum() >= len(counts) and (counts >= k).any()), default=1)
    use = counts >= largest
    exists, correct, answers = exists[use], b.correct[use], b.answers[use]
    low, high = (np.where(exists, np.nan_to_num(correct, nan=fill), np.nan) for fill in (0.0, 1.0))
    votes = [(low, answers), (high, _voting_correct(answers, correct, exists))]
    found: dict[str, Any] = {"pass_at_problems": int(use.sum())}
    for key, ks, measure in (
        ("pass_at", PASS, lambda vote, k: metrics.pass_at_k_mean(vote[0], k)),
        ("mg_pass_at", MAJORITY, lambda vote, k: _mg_pass_at(vote[0], k)),
        ("majority_at", MAJORITY, lambda vote, k: metrics.majority_at_k(vote[1], vote[0], k)),
    ):
        ends = {str(k): [measure(vote, k) if k <= largest else NAN for vote in votes] for k in ks}
        found[key] = {k: pair[0] for k, pair in ends.items()}
        found[f"{key}_bounds"] = {k: list(pair) for k, pair in ends.items()}
    return found


def _mg_pass_at(correct: np.ndarray, k: int) -> float:
    """Mean of mG-Pass@k over (Q, n) verdicts, nan where a sample does not exist."""
    n, c = (~np.isnan(correct)).sum(axis=1), np.nansum(correct, axis=1)
    return (
        float(np.mean([metrics.mg_pass_at_k(int(a), int(b), k) for a, b in zip(n, c, strict=True)])) if len(n) else NAN
    )


def _voting_correct(answers: np.ndarray, correct: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """The answers with the correct answer for every undecided sample, for the upper bound."""
    votes = answers.copy()
    for row, (known, there) in enumerate(zip(correct, exists, strict=True)):
        undecided = there & np.isnan(known)
        if undecided.any():
            found = [answer for answer in answers[row][known == 1] if answer is not None]
            votes[row, undecided] = max(found, key=found.count) if found else "undecided"
    return votes
