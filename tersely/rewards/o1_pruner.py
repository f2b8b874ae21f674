"""O1-Pruner, as an online reward: shorter than the reference, and at least as accurate.

Paper: arXiv 2501.12570, from the released code. Adapted: published as an offline weighted fine-tuning whose weights are
also standardised over the dataset; here the same weight is a reward.
    r = L_ref / max(L, 1) - 1 + accuracy_weight (c - a_ref)         `form: released`: clipped to [clip_low, clip_high]
Symbols: c verdict; L sampled tokens; L_ref tokens, a_ref share: the prompt's records `reference_length` and
    `reference_accuracy` in memory, each, where it is missing, the group's mean length and solve rate.
Against GRPO: relative to a reference model, not only to the group.
Degenerate: without records all correct or all incorrect -> L_ref / L - 1. One correct, K = 1: the same formula (a lone row: 0).
    Equal lengths: only the accuracy term. All truncated: by c. Undecided -> nan.
Pitfalls: a very short answer earns L_ref / L without bound in paper form, more than being correct: outcome order breaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.core.errors import require_choice, require_range
from tersely.core.group_stats import as_reward, correct_rows, decided_rows, lengths, mean_of, remembered, solve_rate
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class O1Pruner(Reward):
    includes_outcome: ClassVar[bool] = True
    violates_outcome_order: ClassVar[str] = "the ratio L_ref / L of a short incorrect answer is not bounded"
    label: ClassVar[str] = "adapted: published as offline weighted fine-tuning, here an online reward"
    memory_fields: ClassVar[tuple[str, ...]] = ("reference_length", "reference_accuracy")

    accuracy_weight: float = 5.0
    form: Literal["paper", "released"] = "paper"
    clip_low: float = -2.0
    clip_high: float = 4.0

    def __post_init__(self) -> None:
        require_range("o1_pruner.accuracy_weight", self.accuracy_weight, at_least=0)
        require_choice("o1_pruner.form", self.form, ("paper", "released"))
        require_range("o1_pruner.clip_low", self.clip_low)
        require_range("o1_pruner.clip_high", self.clip_high, at_least=self.clip_low)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        length = lengths(rollouts)
        known_length = remembered(rollouts, "reference_length")
        known_accuracy = remembered(rollouts, "reference_accuracy")
        reference = torch.where(known_length.isnan(), mean_of(length, decided_rows(rollouts)), known_length)
        accuracy = torch.where(known_accuracy.isnan(), solve_rate(rollouts), known_accuracy)
        gain = reference / length.clamp(min=1) - 1
        value = gain + self.accuracy_weight * (correct_rows(rollouts).double() - accuracy)
        if self.form == "released":
            value = value.clamp(self.clip_low, self.clip_high)
        return as_reward(value, rollouts)
