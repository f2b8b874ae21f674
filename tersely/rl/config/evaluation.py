"""The recipe's `evaluation:` section: held-out problems during training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tersely.core.errors import ConfigError, check_fields, require_range


@dataclass(frozen=True)
class EvaluationSpec:
    """The recipe's `evaluation:` section."""

    every: int
    """Optimiser steps between two evaluations; there is one before the first step and one after the last."""
    dataset: Any
    """A dataset spec, as for training; its problems should not be among those that are trained on."""
    samples: int = 4
    """A problem."""
    temperature: float | None = None
    """None is the training temperature; 0 decodes greedily."""
    max_new_tokens: int | None = None
    """None is max_completion_length."""
    budget: int | None = None
    """Tokens within which an answer counts for the best model and the floor; None is max_new_tokens. Under
    `verifier: {ended: true}` an answer in a truncated completion does not count there."""
    keep_best: bool = True
    """Keep the weights of the best evaluation in run_dir/best."""
    floor: float | None = None
    """Stop the run when accuracy at the budget has been below this ..."""
    patience: int = 1
    """... so many evaluations in a row."""

    def __post_init__(self) -> None:
        for name in ("every", "samples", "max_new_tokens", "budget", "patience"):
            require_range(f"evaluation.{name}", getattr(self, name), at_least=1, at_most=2**30)
        require_range("evaluation.temperature", self.temperature, at_least=0, at_most=100)
        require_range("evaluation.floor", self.floor, at_least=0, at_most=1)
        if self.budget is not None and self.max_new_tokens is not None and self.budget > self.max_new_tokens:
            raise ConfigError(
                f"evaluation.budget is {self.budget}; it must be at most max_new_tokens = {self.max_new_tokens}, which cuts "
                "every sample"
            )

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> EvaluationSpec | None:
        """The checked section of a recipe; None for an empty one."""
        return cls(**check_fields(cls, section, "evaluation")) if section else None
