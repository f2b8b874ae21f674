"""The parts of a step that see the whole generation batch, at 8,192 rows: their time grows with the rows, not with the square.

Order, scoring, metrics, update windows and micro-batches of the ranks, without a model. CPU time, so load does not count.
"""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

from tersely.algorithms.objective import Objective
from tersely.core.memory import PromptMemory
from tersely.rl.rollouts.prompt_sampler import PromptStream
from tersely.rl.rollouts.record import RolloutRecord, group_metrics, rollouts_from_records
from tersely.rl.update.micro_batches import cut, windows_of

GROUP, CAP, UPDATES = 16, 8192, 4


def step(rows: int, ranks: int) -> list[list[int]]:
    """Everything but generation and the model; returns the micro-batches of all ranks and windows."""
    draw = np.random.default_rng(0)
    prompts = PromptStream(40315, rows // GROUP, GROUP, 1, 1, seed=0, shuffle=True).batch(0)
    lengths = np.minimum(CAP, draw.lognormal(8.0, 0.7, rows)).astype(int)
    facts = [
        RolloutRecord(
            f"p{prompts[i // GROUP]}", float(i % 3 == 0), "ok", "1", int(n), int(n), bool(n == CAP), True, np.nan, None
        )
        for i, n in enumerate(lengths)
    ]
    rollouts = rollouts_from_records(facts, GROUP, CAP, 0.0, PromptMemory())
    objective = Objective.from_specs({"reward": {"name": "alp", "normalizer": "max_length"}, "advantage": "group_mean"})
    scores = objective.score(rollouts)
    objective.update(rollouts, rollouts)
    group_metrics(rollouts, facts, scores.keep)
    windows = np.array(windows_of((scores.advantage != 0).tolist(), UPDATES, seed=1))
    share = rows // ranks
    found = []
    for rank in range(ranks):
        mine = np.arange(rank * share, (rank + 1) * share)
        for window in range(UPDATES):
            chosen = mine[windows[mine] == window]
            parts = cut(lengths[chosen].tolist(), [200] * len(chosen), budget=8 * (CAP + 200), at_most=len(chosen))
            found += [chosen[part].tolist() for part in parts]
    return found


def seconds(rows: int, ranks: int) -> float:
    def once() -> float:
        began = time.process_time()
        step(rows, ranks)
        return time.process_time() - began

    return min(once() for _ in range(2))


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [8, pytest.param(64, marks=pytest.mark.exhaustive)])
def test_a_step_of_8192_rows_is_linear_and_loses_no_row(ranks):
    tracemalloc.start()
    micro_batches = step(8192, ranks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(row for part in micro_batches for row in part) == list(range(8192))
    assert peak < 200 << 20, f"{peak >> 20} MiB"
    # rows per rank stay the same: four times the rows are four times the work, and sixteen would be quadratic
    small, large = seconds(2048, ranks // 4), seconds(8192, ranks)
    assert large < 8 * small and large < 20, (small, large)
