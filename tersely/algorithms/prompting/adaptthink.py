"""AdaptThink's prompting: half of a group skips thinking, half thinks.

Paper: arXiv 2505.13417, from the released code. Adapted: published with the behaviour log-prob of the forced first token
set to log 0.5; here the forced token is a trained prefill at its own log-prob. The reward is `rewards/adaptthink.py`.
    first half of a group: begins "</think>", mode no_think, at most no_think_tokens
    second half:           begins `think_start`, mode think
Symbols: no_think_tokens tokens.
Against GRPO: exploration of both modes is forced, so that neither disappears.
Degenerate: an odd K is an error. Nothing depends on memory or seed.
Pitfalls: use plain prompting for evaluation. The chat template must open `<think>`, so that "</think>" closes it.
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
class AdaptThinkPrompting(Prompting):
    label: ClassVar[str] = "adapted: the forced first token is trained at its own log-prob, not at log 0.5"

    no_think_tokens: int = 4096
    think_start: str = "Alright"

    def __post_init__(self) -> None:
        require_range("adaptthink.no_think_tokens", self.no_think_tokens, above=0)

    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        if group_size % 2:
            raise ValueError(
                f"prompting adaptthink: group_size: got {group_size}; expected an even number, half for each mode"
            )
        skip = RolloutPlan(prefill="</think>", max_new_tokens=self.no_think_tokens, mode="no_think", train_prefill=True)
        think = RolloutPlan(prefill=self.think_start, mode="think", train_prefill=True)
        return ([skip] * (group_size // 2) + [think] * (group_size // 2)) * len(prompt_ids)
