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
    """Optimiser steps between evaluations; there is also one before the first step and one after the last."""
    dataset: Any
    """Dataset spec, as for training; its problems should not be in the training data."""
    samples: int = 4
    """Samples per problem."""
    temperature: float | None = None
    """None: the training temperature; 0: greedy decoding."""
    max_new_tokens: int | None = None
    """None: max_completion_length."""
    budget: int | None = None
    """Token budget of the accuracy for the best model and the floor; None: max_new_tokens. With `verifier: {ended: true}`, an
    answer in a truncated completion does not count."""
    keep_best: bool = True
    """Keep the weights with the best evaluation in run_dir/best."""
    floor: float | None = None
    """Stop the run when accuracy at the budget is below this value ..."""
    patience: int = 1
    """... in this many consecutive evaluations."""

    def __post_init__(self) -> None:
        for name in ("every", "samples", "max_new_tokens", "budget", "patience"):
            require_range(f"evaluation.{name}", getattr(self, name), at_least=1, at_most=2**30)
        require_range("evaluation.temperature", self.temperature, at_least=0, at_most=100)
        require_range("evaluation.floor", self.floor, at_least=0, at_most=1)
        if self.budget is not None and self.max_new_tokens is not None and self.budget > self.max_new_tokens:
            raise ConfigError(
                f"evaluation.budget: got {self.budget}; expected at most max_new_tokens = {self.max_new_tokens}, the cap "
                "of a sample"
            )

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> EvaluationSpec | None:
        """Parse and check the section; None for an empty one."""
        return cls(**check_fields(cls, section, "evaluation")) if section else None
