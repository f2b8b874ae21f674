"""Repetition penalty: share of repeated n-grams among the sampled tokens of a completion.

Paper: arXiv 2502.03373 (Demystifying Long CoT), appendix C.2; this form is that of TRL, open-r1 and ms-swift.
    r_i = -weight (1 - unique n-grams / all n-grams)        fewer than n tokens: 0
Symbols: n-grams of sampled token ids; `ngram` tokens; weight (no unit). The paper: n = 40, -0.05 per repeated token.
Against GRPO: an additive term for loops, on correct and incorrect rows alike. `{ngram: 3}` is TRL's
    `get_repetition_penalty_reward()`.
Degenerate: undecided -> nan. No group statistic: all correct, all incorrect, K = 1, equal lengths, truncated: the same formula.
Pitfalls: with n = 3 longer text repeats more n-grams, so it is a length penalty: measure it on the base model. n of 20 to 40
    finds loops. Use it with terms that reward long incorrect answers (`cosine`, `laser_de`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.group_stats import as_reward
from tersely.core.present_tokens import sampled_tokens
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class Repetition(Reward):
    includes_outcome: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("token_ids",)

    weight: float = 1.0
    ngram: int = 40

    def __post_init__(self) -> None:
        require_range("repetition.weight", self.weight, at_least=0)
        require_range("repetition.ngram", self.ngram, at_least=1)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        ids = rollouts.require("token_ids", "repetition")
        sampled = sampled_tokens(rollouts, ids.shape[1])
        shares = [repeated_share(row[kept].numpy(), self.ngram) for row, kept in zip(ids, sampled, strict=True)]
        return as_reward(self.weight * (0.0 - torch.tensor(shares, dtype=torch.float64)), rollouts)


def repeated_share(ids: np.ndarray, ngram: int) -> float:
    """1 - unique n-grams / all n-grams; 0 for fewer than `ngram` ids."""
    count = len(ids) - ngram + 1
    if count <= 0:
        return 0.0
    raw, size = ids.tobytes(), ids.itemsize  # slices of the bytes are faster to hash than tuples
    unique = {raw[size * i : size * (i + ngram)] for i in range(count)}
    return 1 - len(unique) / count
