"""Elastic Reasoning (E1): separate token budgets for thinking and for the solution.

Paper: arXiv 2505.05315, from the released code. The reward is `correctness`.
    at most think_tokens thinking tokens; where thinking has not ended then, "</think>" is written;
    then at most solution_tokens
Symbols: think_tokens, solution_tokens tokens.
Against GRPO: truncated thinking still gets a solution, so truncation alone does not make an answer incorrect.
`form: paper` does not train on the written "</think>"; `released` does. The released code also appends one after an EOS inside
the thinking, which is not done here.
Degenerate: K = 1 is fine; nothing depends on memory or seed.
Pitfalls: max_completion_length must leave room for the solution after think_tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tersely.core.errors import require_choice, require_range
from tersely.core.memory import PromptMemory
from tersely.core.protocols import Prompting
from tersely.core.types import RolloutPlan


@dataclass(frozen=True)
class Elastic(Prompting):
    think_tokens: int = 1024
    solution_tokens: int = 1024
    form: Literal["paper", "released"] = "paper"

    def __post_init__(self) -> None:
        require_range("elastic.think_tokens", self.think_tokens, above=0)
        require_range("elastic.solution_tokens", self.solution_tokens, above=0)
        require_choice("elastic.form", self.form, ("paper", "released"))

    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        total = self.think_tokens + self.solution_tokens
        plan = RolloutPlan(
            budget=total,
            max_new_tokens=total,
            thinking_budget=self.think_tokens,
            forced_end="</think>",
            answer_tokens=self.solution_tokens,
            train_forced=self.form == "released",
        )
        return [plan] * (len(prompt_ids) * group_size)
