"""Plain prompting: the dataset's prompt for every rollout.

Paper: arXiv 2402.03300 (GRPO).
    plan_j = nothing added, for every j of the K rollouts of a prompt
Against GRPO: this is GRPO.
Degenerate: none; K = 1 is fine.
Pitfalls: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tersely.core.memory import PromptMemory
from tersely.core.protocols import Prompting
from tersely.core.types import RolloutPlan


@dataclass(frozen=True)
class Plain(Prompting):
    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        return [RolloutPlan()] * (len(prompt_ids) * group_size)
