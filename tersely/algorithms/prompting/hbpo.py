"""HBPO, Hierarchical Budget Policy Optimization, the prompting: the rows of a group get different token budgets.

Paper: arXiv 2507.15844, and its released code. The advantage is `advantages/hbpo.py`, the reward `rewards/hbpo.py`.
    row j of a group of K gets budgets[j B // K], of B budgets, stated in its prefill
Symbols: budgets in tokens; K rows of a group.
Against GRPO: the prompts of a group differ by their prefills. Group by prompt id.
Degenerate: K not a multiple of B is an error. `prompting: natural` (no prefill) and `efficient` are for evaluation.
Pitfalls: the released code trains on the prefill (`train_prefill`); the paper does not specify it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tersely.core.errors import ConfigError, require_choice, require_range
from tersely.core.memory import PromptMemory
from tersely.core.protocols import Prompting
from tersely.core.types import RolloutPlan

EFFICIENT = "<think> I will answer the question with minimal tokens"
"""The paper's "efficiency prompting" at evaluation."""


@dataclass(frozen=True)
class HBPOPrompting(Prompting):
    budgets: tuple[int, ...] = (512, 1024, 2048, 2560)
    text: str = "<think> I will answer the question with {budget} tokens"
    train_prefill: bool = False
    """The released code trains on the prefill."""
    prompting: Literal["budgets", "natural", "efficient"] = "budgets"
    """`natural` (no prefill) and `efficient` are for evaluation."""

    def __post_init__(self) -> None:
        if not self.budgets:
            raise ConfigError("hbpo.budgets: got an empty list; expected token counts above 0")
        for budget in self.budgets:
            require_range("hbpo.budgets", budget, above=0)
        if "{budget}" not in self.text:
            raise ConfigError(f"hbpo.text: got {self.text!r}; expected a text with {{budget}}")
        require_choice("hbpo.prompting", self.prompting, ("budgets", "natural", "efficient"))

    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        if self.prompting != "budgets":
            prefill = EFFICIENT if self.prompting == "efficient" else None
            return [RolloutPlan(prefill=prefill)] * (len(prompt_ids) * group_size)
        count = len(self.budgets)
        if group_size % count:
            raise ValueError(
                f"prompting hbpo: group_size: got {group_size}; expected a multiple of its {count} budgets"
            )
        return [self._row(self.budgets[j * count // group_size]) for j in range(group_size)] * len(prompt_ids)

    def _row(self, budget: int) -> RolloutPlan:
        prefill = self.text.replace("{budget}", str(budget))
        return RolloutPlan(prefill=prefill, budget=budget, train_prefill=self.train_prefill)
