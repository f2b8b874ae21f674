"""Training-free baselines: decoding strategies on the base model, which every trained run is compared with.

Forcing an answer, skipping the thinking, banning reflection words or stopping early needs no training. Training has no benefit
if such a run dominates the trained model (no more tokens, no less accuracy, one of them strictly, with probability 0.95).
"""

from __future__ import annotations

from typing import Any

from tersely.engines.registry import ADDRESSED, ENGINES, evaluation_engines
from tersely.eval import stats
from tersely.eval.decoding.registry import STRATEGIES
from tersely.eval.run_arrays import RunRecords, pair

SURE = 0.95
DRAWS = 2000
CHUNK = 256
BUDGETS = (512, 1024, 2048, 4096, 8192, 16384)


def free_strategies(cap: int, engine: str, forced: str = "") -> list[str]:
    """The training-free strategies that need no fitted file, in command-line form, for samples of up to `cap` tokens.

    engine: of `tersely eval`, a name or an address; what it cannot run is left out. forced: additional parameters of
    forced_answer. For short caps, budgets, deadline and chunk are parts of the cap. The slow ones, which decode token by token,
    come last.
    """
    budgets = [b for b in BUDGETS if b < cap] if cap > 4 * BUDGETS[0] else [max(1, cap // n) for n in (16, 8, 4, 2)]
    grid = ", ".join(map(str, sorted({0, *budgets})))
    texts = [
        f"forced_answer:budgets=[{grid}]" + (f",{forced}" if forced else ""),
        "no_thinking",
        "reflection_ban",
        "think_less",
        f"thought_terminator:deadline={max(1, cap // 4)}",
        f"answer_convergence:chunk={max(1, min(CHUNK, cap // 8))}",
        "moi",
        "soft_thinking",
        "cntp",
    ]
    name = engine if engine in ENGINES else ADDRESSED
    return [text for text in texts if name in evaluation_engines(STRATEGIES[text.partition(":")[0]].needs)]


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
