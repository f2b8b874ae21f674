"""LAPO's second-stage prompting: prefills the planned length of the answer.

Paper: arXiv 2507.15758. The rewards are `rewards/lapo.py`.
    prefill = text with {n} ,   n = floor(target + 0.5), target from the prompt's memory, else unsolved_target
Symbols: n, target, unsolved_target tokens.
Against GRPO: the prompt of a problem changes with its target.
Degenerate: no record (never solved) -> unsolved_target. K = 1 is fine. Memory None reads as empty.
Pitfalls: a chat template may open `<think>` itself; the rollout code does not double it. Evaluate with the plain prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tersely.core.errors import ConfigError, require_range
from tersely.core.memory import PromptMemory
from tersely.core.protocols import Prompting
from tersely.core.types import RolloutPlan
from tersely.rewards.lapo import TARGET


@dataclass(frozen=True)
class LAPOTarget(Prompting):
    memory_fields: ClassVar[tuple[str, ...]] = (TARGET,)

    unsolved_target: int = 4096
    text: str = "<think> I will answer the question with {n} tokens."

    def __post_init__(self) -> None:
        require_range("lapo_target.unsolved_target", self.unsolved_target, above=0)
        if "{n}" not in self.text:
            raise ConfigError(f"lapo_target.text: got {self.text!r}; expected a text with {{n}}")

    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        return [plan for prompt_id in prompt_ids for plan in [self._plan(prompt_id, memory)] * group_size]

    def _plan(self, prompt_id: str, memory: PromptMemory | None) -> RolloutPlan:
        target = None if memory is None else memory.get(prompt_id, TARGET)
        n = self.unsolved_target if target is None else math.floor(target + 0.5)
        return RolloutPlan(prefill=self.text.replace("{n}", str(n)), budget=n)
