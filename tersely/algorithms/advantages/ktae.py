"""KTAE, key-token advantage estimation: more credit for tokens that occur in correct but not in incorrect rollouts.

Paper: arXiv 2505.16826, from the released code (the Fisher step from secondary sources).
    A_it = z_i + K[token_it] ,      z the group z-score, K by `key_token_values` from the group's correct and incorrect rollouts
Symbols: z, K (no unit), K in (-top, top).
Against GRPO: credit differs inside a rollout, by token identity, from counts alone: no model, no gradient.
Degenerate: all correct, all incorrect, equal rewards, K = 1 -> K = 0 (z as in the z-score). Undecided rows are left out
    of the tables and have K = 0; nan reward and positions past `length`: 0. Ids in `exclude_ids` have K = 0.
Pitfalls: K is neither centred nor scaled, and one-sided frequent tokens saturate at +-top. The released code ignores its
    weights and uses 1, as the defaults do; its scripts set 2 for `gain_weight`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.algorithms.advantages.common import carries_signal, group_zscores
from tersely.algorithms.advantages.ktae_tables import key_token_values
from tersely.core.errors import ConfigError, require_range
from tersely.core.present_tokens import sampled_tokens
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class KTAE(Advantage):
    needs: ClassVar[tuple[str, ...]] = ("token_ids",)

    fisher_weight: float = 1.0
    gain_weight: float = 1.0
    use_frequency: bool = True
    top: float = 1.0
    k1: float = 2.0
    b: float = 0.5
    eps: float = 1e-6
    frequency_eps: float = 1e-5
    exclude_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("fisher_weight", "gain_weight", "k1", "eps"):
            require_range(f"ktae.{name}", getattr(self, name), at_least=0)
        require_range("ktae.top", self.top, above=0)
        require_range("ktae.b", self.b, at_least=0, at_most=1)
        require_range("ktae.frequency_eps", self.frequency_eps, above=0)
        if self.fisher_weight + self.gain_weight == 0:
            raise ConfigError("ktae.fisher_weight, ktae.gain_weight: got 0 for both; expected at least one above 0")

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        ids, size = rollouts.require("token_ids", "ktae"), rollouts.group_size
        present = sampled_tokens(rollouts, ids.shape[1])
        known = ~rewards.isnan()
        z = group_zscores(rewards, size, self.eps).flatten().float()
        advantage = torch.where(present & known.unsqueeze(1), z.unsqueeze(1), 0.0)
        signal = carries_signal(rewards, size).flatten().tolist()
        right, wrong = (rollouts.correct == 1) & known, (rollouts.correct == 0) & known
        for group, speaks in enumerate(signal):
            rows = slice(group * size, (group + 1) * size)
            if not (speaks and right[rows].any() and wrong[rows].any()):
                continue
            decided = right[rows] | wrong[rows]
            chosen = present[rows] & decided.unsqueeze(1)
            if chosen.any():
                advantage[rows][chosen] += self._values(ids[rows][chosen], right[rows], chosen, int(decided.sum()))
        return advantage

    def _values(self, tokens: Tensor, right: Tensor, chosen: Tensor, decided: int) -> Tensor:
        """(M,) K of each of the group's M decided tokens, in row-major order."""
        row = torch.arange(len(right), device=tokens.device).unsqueeze(1).expand_as(chosen)[chosen]
        n_right = int(right.sum())
        unique, index, values = key_token_values(tokens, row, right, n_right, decided - n_right, self)
        if self.exclude_ids:
            excluded = torch.isin(unique, torch.tensor(self.exclude_ids, device=unique.device))
            values = values.masked_fill(excluded, 0.0)
        return values[index].float()
