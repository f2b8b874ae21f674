"""The reward of a run: a weighted sum of terms.

    r_i = sum over terms of weight_term * term(rollouts)_i

Symbols: weights have no unit. nan (undecided) in any term is nan in the sum. A sum in which two terms contain the
outcome counts it twice; that is allowed, and warned about.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tersely.rl.types import Rollouts


@dataclass(frozen=True)
class RewardSum:
    names: tuple[str, ...]
    terms: tuple[Callable[[Rollouts], Tensor], ...]
    weights: tuple[float, ...]

    def __post_init__(self):
        whole = [name for name, term in zip(self.names, self.terms, strict=True) if _includes_outcome(term)]
        if len(whole) > 1:
            warnings.warn(
                f"reward terms {', '.join(whole)} each contain the outcome, so the sum counts it {len(whole)} times; "
                "drop all but one, or keep the additive terms only",
                stacklevel=3,
            )

    @property
    def includes_outcome(self) -> bool:
        return any(_includes_outcome(term) for term in self.terms)

    @property
    def scope(self) -> str:
        return "batch" if any(getattr(term, "scope", "group") == "batch" for term in self.terms) else "group"

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(need for term in self.terms for need in getattr(term, "needs", ())))

    def unweighted(self, rollouts: Rollouts) -> Tensor:
        """(N, R), one column a term."""
        return torch.stack([term(rollouts) for term in self.terms], dim=1)

    def columns(self, rollouts: Rollouts) -> Tensor:
        """(N, R), one column a term, weighted."""
        return self.unweighted(rollouts) * torch.tensor(self.weights)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return self.columns(rollouts).sum(1)

    def update(self, rollouts: Rollouts) -> None:
        for term in self.terms:
            if hasattr(term, "update"):
                term.update(rollouts)

    def state_dict(self) -> dict[str, Any]:
        return {str(i): term.state_dict() for i, term in enumerate(self.terms) if hasattr(term, "state_dict")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for i, term in enumerate(self.terms):
            if hasattr(term, "load_state_dict"):
                term.load_state_dict(state[str(i)])


def _includes_outcome(term: Any) -> bool:
    return bool(getattr(term, "includes_outcome", False))
