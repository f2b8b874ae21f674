"""Elastic Reasoning (E1): separate token budgets for thinking and for the solution.

Paper: arXiv 2505.05315, from the released code. The reward is `correctness`. Adapted: published as two generation calls
with `</think>` forced between them (and trained on); the rollout engines make one call, which is capped at the sum.
    at most think_tokens before "</think>", then at most solution_tokens
Symbols: think_tokens, solution_tokens tokens.
Against GRPO: truncated thinking still gets a solution, so truncation alone does not make an answer incorrect.
Degenerate: K = 1 is fine; nothing depends on memory or seed.
Pitfalls: the forced "</think>" was not sampled: a second call must mask it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tersely.core.errors import require_range
from tersely.core.memory import PromptMemory
from tersely.core.protocols import Prompting
from tersely.core.types import RolloutPlan


@dataclass(frozen=True)
class Elastic(Prompting):
    label: ClassVar[str] = "adapted: one generation call capped at the sum of both budgets, no forced end of thinking"

    think_tokens: int = 1024
    solution_tokens: int = 1024

    def __post_init__(self) -> None:
        require_range("elastic.think_tokens", self.think_tokens, above=0)
        require_range("elastic.solution_tokens", self.solution_tokens, above=0)

    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        total = self.think_tokens + self.solution_tokens
        return [RolloutPlan(budget=total, max_new_tokens=total)] * (len(prompt_ids) * group_size)
