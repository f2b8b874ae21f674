"""Training-free baselines: decoding strategies on the base model, which every trained run is compared with.

Forcing an answer, skipping the thinking or banning reflection words needs no training. Training has no benefit if such a
run dominates the trained model (no more tokens, no less accuracy, one of them strictly, with probability 0.95).
"""

from __future__ import annotations

from typing import Any

from tersely.eval import stats
from tersely.eval.run_arrays import RunRecords, pair

SURE = 0.95
DRAWS = 2000
BUDGETS = (512, 1024, 2048, 4096, 8192, 16384)


def free_strategies(cap: int, forced: str = "") -> list[str]:
    """The training-free strategies, in command-line form, for samples of up to `cap` tokens.

    `forced`: additional parameters of forced_answer. For short caps, the budgets are eighths and quarters of the cap.
    """
    budgets = [b for b in BUDGETS if b < cap] if cap > 4 * BUDGETS[0] else [max(1, cap // n) for n in (16, 8, 4, 2)]
    grid = ", ".join(map(str, sorted({0, *budgets})))
    return [f"forced_answer:budgets=[{grid}]" + (f",{forced}" if forced else ""), "no_thinking", "reflection_ban"]


def free_runs(runs: list[RunRecords], base: RunRecords | None) -> list[RunRecords]:
    """The base's decoding strategies among the runs: evaluated in the same folder, or on the same model."""
    if base is None:
        return []
    model = base.card.get("model")
    return [
        run
        for run in runs
        if run.strategy is not None
        and (
            (run.folder is not None and run.folder == base.folder)
            or (model is not None and run.card.get("model") == model)
        )
    ]


def held_against(run: RunRecords, free: list[RunRecords], benchmark: str) -> list[dict[str, Any]]:
    """For each training-free run on the same benchmark: probability that it dominates this run, and if that is significant."""
    found = []
    for other in free:
        if other is run or benchmark not in other.benchmarks:
            continue
        a, b = pair(other.benchmarks[benchmark], run.benchmarks[benchmark])
        p = stats.dominance_probability(a.correct, a.tokens, b.correct, b.tokens, draws=DRAWS)
        found.append({"run": other.name, "probability": p, "dominates": p >= SURE})
    return found
