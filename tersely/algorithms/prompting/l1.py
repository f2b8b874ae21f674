"""L1's prompting: states a random thinking length in the prompt.

Paper: arXiv 2503.04697, from the released code. The rewards are `rewards/l1.py`.
    instruction = "Think for {n} tokens."  or  "Think for maximum {n} tokens."
    n uniform on the whole numbers of [min_tokens, max_tokens], the same at every visit of a prompt
Symbols: n tokens.
Against GRPO: the prompt of a problem states its budget; all rollouts of a group have the same.
Degenerate: K = 1 is fine; min_tokens = max_tokens gives all prompts the same budget.
Pitfalls: `mixed` samples the kind for each prompt (probability 1/2) and sets it as `mode`; a reward for one kind only
    treats both kinds the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tersely.core.errors import require_choice, require_range
from tersely.core.memory import PromptMemory
from tersely.core.protocols import Prompting
from tersely.core.seeds import sample_seed
from tersely.core.types import RolloutPlan

TEXTS = {"exact": "Think for {n} tokens.", "max": "Think for maximum {n} tokens."}


@dataclass(frozen=True)
class L1(Prompting):
    kind: Literal["exact", "max", "mixed"] = "exact"
    min_tokens: int = 100
    max_tokens: int = 4000

    def __post_init__(self) -> None:
        require_choice("l1.kind", self.kind, ("exact", "max", "mixed"))
        require_range("l1.min_tokens", self.min_tokens, above=0)
        require_range("l1.max_tokens", self.max_tokens, at_least=self.min_tokens)

    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        return [plan for prompt_id in prompt_ids for plan in [self._plan(prompt_id, seed)] * group_size]

    def _plan(self, prompt_id: str, seed: int) -> RolloutPlan:
        span = self.max_tokens - self.min_tokens + 1
        n = self.min_tokens + sample_seed(seed, 0, prompt_id, 0, salt="l1 budget") % span
        mixed = self.kind == "mixed"
        kind = ("exact", "max")[sample_seed(seed, 0, prompt_id, 0, salt="l1 kind") % 2] if mixed else self.kind
        instruction = TEXTS[kind].replace("{n}", str(n))
        return RolloutPlan(instruction=instruction, budget=n, mode=kind if mixed else None)
