r"""AutoThink's prompting: a prefill after which the model can think or not.

Paper: arXiv 2505.10832; texts from the paper. The reward is `rewards/autothink.py`.
    ellipsis  "<think>\n...\n"       (the model closes at once, or continues thinking)
    standard  "<think>\n"            no_think  "<think>\nOkay, I think I have finished thinking.\n</think>\n\n"
Symbols: none. Mode of a completion: `no_think` if the thinking part is empty or only the prefill.
Against GRPO: the assistant's turn begins with the prefill, in training and at inference.
Degenerate: K = 1 is fine; nothing depends on memory or seed.
Pitfalls: thinking that never closes is mode `think`, and not well formed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tersely.core.errors import require_choice
from tersely.core.memory import PromptMemory
from tersely.core.parse_completion import ParsedCompletion, parse_completion, thinking_part
from tersely.core.protocols import Prompting
from tersely.core.types import RolloutPlan

FINISHED = "Okay, I think I have finished thinking."
PREFILLS = {
    "ellipsis": "<think>\n...\n",
    "standard": "<think>\n",
    "no_think": f"<think>\n{FINISHED}\n</think>\n\n",
}


@dataclass(frozen=True)
class AutoThinkPrompting(Prompting):
    variant: Literal["ellipsis", "standard", "no_think"] = "ellipsis"
    instruction: str | None = "Let's think step by step and output the final answer within \\boxed{}."
    """Instruction at the end of the user's message; null if the dataset already has it."""

    def __post_init__(self) -> None:
        require_choice("autothink.variant", self.variant, tuple(PREFILLS))

    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        mode = "no_think" if self.variant == "no_think" else None
        plan = RolloutPlan(instruction=self.instruction, prefill=PREFILLS[self.variant], mode=mode)
        return [plan] * (len(prompt_ids) * group_size)

    @staticmethod
    def parse(turn: str) -> ParsedCompletion:
        """Parse the assistant's whole turn; mode `think` or `no_think`."""
        thinking = thinking_part(turn)
        skipped = thinking is not None and thinking.strip() in ("", "...", FINISHED)
        return ParsedCompletion(well_formed=parse_completion(turn).well_formed, mode="no_think" if skipped else "think")
