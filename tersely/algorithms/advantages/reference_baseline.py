"""Reference baseline: a rollout's reward minus a recorded value of its prompt.

Paper: arXiv 2505.13417 (AdaptThink), whose value is the mean of 16 samples from before training.
    A_i = r_i - memory[prompt][field]
Symbols: r_i reward (no unit); the record `field` of the prompt, on the reward's scale.
Against GRPO: the baseline does not change with the policy and does not depend on the group.
Degenerate: all correct, all incorrect, K = 1, zero spread: the difference to the reference. No record: the mean of the group's
    decided rows (`missing: group_mean`), or an error (`missing: error`). No decided row -> 0. Undecided -> 0.
Pitfalls: as the policy improves nearly every advantage is positive; records must cover the prompts of the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tersely.algorithms.advantages.common import centred, flat
from tersely.core.errors import ConfigError, require_choice
from tersely.core.group_stats import group_ids, grouped, remembered
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class ReferenceBaseline(Advantage):
    field: str = "reference_accuracy"
    missing: Literal["group_mean", "error"] = "group_mean"

    def __post_init__(self) -> None:
        if not self.field:
            raise ConfigError("reference_baseline.field: got an empty name; expected a record of the prompt memory")
        require_choice("reference_baseline.missing", self.missing, ("group_mean", "error"))

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        gap, known = centred(rewards, rollouts.group_size)
        reference = remembered(rollouts, self.field)
        lost = (reference.isnan() & known.any(1, keepdim=True)).flatten()
        if self.missing == "error" and lost.any():
            prompt = group_ids(rollouts)[int(lost.nonzero()[0])]
            raise ValueError(
                f"reference_baseline: {int(lost.sum())} prompts of the batch have no {self.field!r} in memory, for example "
                f"{prompt}. Load the records before training, or set missing: group_mean"
            )
        r = grouped(rewards, rollouts.group_size)
        return flat(torch.where(known, torch.where(reference.isnan(), gap, r - reference), 0.0))
