"""OPO, optimal baseline: a rollout's reward minus the group's mean weighted by length.

Paper: arXiv 2505.23585, from the ports of verl and prime-rl.
    A_i = r_i - sum L r / sum L        over the known rows of the group
Symbols: r_i reward (no unit); L sampled tokens.
Against GRPO: no division by the spread; sum L A = 0. The baseline has the least variance if a row's squared gradient norm grows
    with its length. The same as `token_level_group_average {normalize_std: false, fallback_threshold: null}`.
Degenerate: equal rewards among rows with tokens, all correct, all incorrect, fewer than two such rows, K = 1 -> 0 (verl: r).
    Length-0 and undecided rows: 0 and no weight.
Pitfalls: published with one update per batch, without KL or entropy bonus. Long rows set the baseline: if long answers are
    incorrect, correct ones get more credit than under `group_mean`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tersely.algorithms.advantages.common import flat, token_centred
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class OPO(Advantage):
    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        gap, _, rows = token_centred(rewards, rollouts)
        return flat(torch.where(rows, gap, 0.0))
