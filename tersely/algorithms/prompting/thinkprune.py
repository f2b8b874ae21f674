"""ThinkPrune's prompting: states a token limit in the prompt, which is also the cap.

Paper: arXiv 2504.01296, from the released code. The reward is `truncation` with the same limit.
    instruction = "The output of the assistant should be within {limit} tokens." ,   at most `limit` new tokens
Symbols: limit tokens; published stages 4k, 3k, 2k.
Against GRPO: a tighter cap, stated in the prompt.
Degenerate: K = 1 is fine; nothing depends on memory or seed.
Pitfalls: use the same limit in prompting and reward. Each stage starts from a selected checkpoint of the previous one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tersely.core.errors import require_range
from tersely.core.memory import PromptMemory
from tersely.core.protocols import Prompting
from tersely.core.types import RolloutPlan


@dataclass(frozen=True)
class ThinkPrune(Prompting):
    limit: int = 4000

    def __post_init__(self) -> None:
        require_range("thinkprune.limit", self.limit, above=0)

    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        sentence = f"The output of the assistant should be within {self.limit} tokens."
        plan = RolloutPlan(instruction=sentence, budget=self.limit, max_new_tokens=self.limit)
        return [plan] * (len(prompt_ids) * group_size)
