"""DCPO's smooth standardisation: combines the current group's z-score with one over all visits of the prompt.

Paper: arXiv 2509.02333, from the released code. Its bounds are the loss `dcpo`.
    new = group z-score of this visit ;   tot = (R - mean_all) / (std_all + eps), over all visits, this one included
    i-th visit: sn = (i-1)/i new + tot/i ;   st = (i-1)/i tot + new/i ;   A = the one of smaller |.|, st on ties
Symbols: R reward (no unit); std unbiased; the prompt's record holds `visits`, `reward_count`, `reward_mean`, `reward_m2`.
Against GRPO: a group without spread still learns from earlier visits of the prompt.
Degenerate: first visit: the group z-score. All correct, all incorrect, K = 1: new = 0, and only tot has a signal from the 2nd
    visit on. std_all below 1e-8: tot = 0. No finite reward: no visit, 0. Undecided -> 0.
Pitfalls: the call writes to `rollouts.memory`, so it runs once per generation batch and never on a replay. Prompts
    must repeat: one epoch is plain GRPO.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.algorithms.advantages.common import flat, group_zscores
from tersely.core.errors import require_range
from tersely.core.group_stats import group_ids, grouped
from tersely.core.memory import PromptMemory
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class DCPOSmooth(Advantage):
    memory_fields: ClassVar[tuple[str, ...]] = ("visits", "reward_count", "reward_mean", "reward_m2")
    commits: ClassVar[bool] = True
    """Writes to the prompt memory on every call."""

    eps: float = 1e-4

    def __post_init__(self) -> None:
        require_range("dcpo_smooth.eps", self.eps, at_least=0)

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        memory: PromptMemory = rollouts.require("memory", "dcpo_smooth")
        r = grouped(rewards, rollouts.group_size)
        new = group_zscores(rewards, rollouts.group_size, self.eps)
        rows = [self._group(prompt, r[i], new[i], memory) for i, prompt in enumerate(group_ids(rollouts))]
        return flat(torch.stack(rows))

    def _group(self, prompt: str, r: Tensor, new: Tensor, memory: PromptMemory) -> Tensor:
        """(K,) advantages of one group; updates the prompt's record."""
        known = ~r.isnan()
        if not known.any():
            return torch.zeros_like(r)
        count, mean, m2 = (memory.get(prompt, f"reward_{name}", 0.0) or 0.0 for name in ("count", "mean", "m2"))
        count, mean, m2 = _merged(r[known], count, mean, m2)
        visits = (memory.get(prompt, "visits", 0.0) or 0.0) + 1
        record = {"visits": visits, "reward_count": count, "reward_mean": mean, "reward_m2": m2}
        for field, value in record.items():
            memory.set(prompt, field, value)
        std = (m2 / (count - 1)) ** 0.5 if count > 1 else 0.0
        total = (r - mean) / (std + self.eps) if std >= 1e-8 else torch.zeros_like(r)
        by_new = (visits - 1) / visits * new + total / visits
        by_total = (visits - 1) / visits * total + new / visits
        return torch.where(known, torch.where(by_new.abs() < by_total.abs(), by_new, by_total), 0.0)


def _merged(values: Tensor, count: float, mean: float, m2: float) -> tuple[float, float, float]:
    """Count, mean and sum of squared deviations after adding values (Chan's update)."""
    added = len(values)
    own = values.mean().item()
    own_m2 = (values - own).square().sum().item()
    total = count + added
    gap = own - mean
    return total, mean + gap * added / total, m2 + own_m2 + gap * gap * count * added / total
