"""Time of every reward term and advantage: 8,192 rollouts in groups of 16, one call, milliseconds.

python benchmarks/rewards.py            prints the table, records it in benchmarks/results/rewards.json
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tersely.algorithms import ADVANTAGES
from tersely.core.build import build
from tersely.core.memory import PromptMemory
from tersely.core.types import Rollouts
from tersely.rewards import REWARDS

ROWS, GROUP, CAP, LIMIT_MS = 8192, 16, 4096, 20.0
MODES = {"thinkless": ("short", "think")}


def rollouts(name: str, seed: int = 0) -> Rollouts:
    """Random groups of every solve rate, with undecided and truncated rows, budgets, modes and a full memory."""
    draw = torch.Generator().manual_seed(seed)
    prompts = ROWS // GROUP
    rate = torch.rand(prompts, generator=draw).repeat_interleave(GROUP)
    correct = (torch.rand(ROWS, generator=draw) < rate).float()
    correct[torch.rand(ROWS, generator=draw) < 0.02] = torch.nan
    length = torch.randint(1, CAP + 1, (ROWS,), generator=draw)
    modes = MODES.get(name, ("think", "no_think"))
    choice = torch.randint(0, len(modes), (ROWS,), generator=draw).tolist()
    record = {"target": 900.0, "shortest": 700.0, "budget_max": 2000.0, "reference_accuracy": 0.5}
    return Rollouts(
        group_size=GROUP,
        prompt_id=[f"q{i // GROUP}" for i in range(ROWS)],
        correct=correct,
        length=length,
        truncated=length == CAP,
        max_length=CAP,
        progress=0.3,
        well_formed=torch.rand(ROWS, generator=draw) < 0.9,
        budget=torch.randint(100, CAP, (ROWS,), generator=draw).float(),
        mode=[modes[i] for i in choice],
        token_ids=torch.randint(0, 1000, (ROWS, 32), generator=draw),
        entropy=torch.rand(ROWS, 32, generator=draw),
        memory=PromptMemory({f"q{i}": record for i in range(prompts)}),
    )


def milliseconds(call: Callable[[], object], repeats: int = 15) -> float:
    """The median of `repeats` calls after two to warm up."""
    times = []
    for _ in range(repeats + 2):
        began = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - began))
    return sorted(times[2:])[repeats // 2]


def measure() -> dict[str, dict[str, float]]:
    """{"reward": {name: ms}, "update": {name: ms}, "advantage": {name: ms}}."""
    table: dict[str, dict[str, float]] = {"reward": {}, "update": {}, "advantage": {}}
    for name in sorted(REWARDS):
        data, term = rollouts(name), build("reward", name)
        table["reward"][name] = milliseconds(lambda term=term, data=data: term(data))
        if hasattr(term, "update"):
            table["update"][name] = milliseconds(lambda term=term, data=data: term.update(data))
    data = rollouts("hbpo")
    rewards = build("reward", "hbpo")(data)
    for name in sorted(set(ADVANTAGES)):
        advantage = build("advantage", name)
        if getattr(advantage, "needs", ()) or getattr(advantage, "per_term", False):
            continue
        table["advantage"][name] = milliseconds(lambda advantage=advantage: advantage(rewards, data))
    return table


def main() -> None:
    torch.set_num_threads(1)
    table = measure()
    for kind, times in table.items():
        for name, ms in times.items():
            print(f"{kind:10s}{name:24s}{ms:8.2f} ms{'   above the limit' if ms > LIMIT_MS else ''}")
    record = {
        "command": "python benchmarks/rewards.py",
        "rows": ROWS,
        "group_size": GROUP,
        "threads": 1,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "milliseconds": {kind: {name: round(ms, 3) for name, ms in times.items()} for kind, times in table.items()},
    }
    path = Path(__file__).parent / "results" / "rewards.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(f"recorded in {path.relative_to(Path(__file__).parents[1])}")


if __name__ == "__main__":
    main()
