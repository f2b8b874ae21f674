"""The `evaluation:` section of a recipe: held-out problems during training.

evaluation: {every: 50, dataset: {name: math500}, samples: 4, budget: 4096, floor: 0.6}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tersely.configs.dataset import SourceSpec, parse_sources
from tersely.core.errors import ConfigError, check_fields, require_mapping, require_range


@dataclass(frozen=True)
class EvaluationSpec:
    """The `evaluation:` section of a recipe."""

    every: int
    """Optimizer steps between evaluations; there is also one before the first step and one after the last."""
    dataset: tuple[SourceSpec, ...]
    """Problems, as in the recipe's `dataset`; they should not be in the training data."""
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
    """Stop the run when accuracy at the budget is below this value in `patience` consecutive evaluations."""
    patience: int = 1
    """Consecutive evaluations below `floor` after which the run stops."""

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
    def of(cls, section: Any) -> EvaluationSpec | None:
        """Parse and check the section; None for an empty one."""
        if section is None or section == {} or isinstance(section, EvaluationSpec):
            return section or None
        require_mapping("evaluation", section, "{every: 50, dataset: math500}")
        values = dict(section)
        if "dataset" in values:
            try:
                values["dataset"] = parse_sources(values["dataset"])
            except ConfigError as error:
                raise ConfigError(f"evaluation: {error}") from error
        return cls(**check_fields(cls, values, "evaluation"))
