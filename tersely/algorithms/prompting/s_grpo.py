"""S-GRPO's prompting: one trace per prompt, and answers at random early exits of it.

Paper: arXiv 2505.07686, from secondary sources. The reward is `rewards/s_grpo.py`.
    positions = `exits` uniform draws from [1, thinking tokens of the trace], ascending
    row j = the trace's first positions[j] tokens, `text`, an answer of at most answer_tokens;   last row = the trace
Symbols: exits m, so group_size is m + 1; answer_tokens tokens.
Against GRPO: the rows of a group share one trace. Each trains the tokens that it shares; `text` is not trained on.
Degenerate: a trace that does not think: all exits at 0. Equal positions are kept. A truncated trace: its exits may be correct.
Pitfalls: an answer also ends at the run's cap, so an exit near the end of a truncated trace has few tokens left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tersely.core.errors import ConfigError, require_range
from tersely.core.memory import PromptMemory
from tersely.core.protocols import Prompting
from tersely.core.types import Exit, RolloutPlan


@dataclass(frozen=True)
class SGRPOPrompting(Prompting):
    exits: int = 8
    answer_tokens: int = 1024
    text: str = "Time is limited, stop thinking and start answering.\n</think>\n\n"

    def __post_init__(self) -> None:
        require_range("s_grpo.exits", self.exits, at_least=1)
        require_range("s_grpo.answer_tokens", self.answer_tokens, at_least=1)
        if "</think>" not in self.text:
            raise ConfigError(f"s_grpo.text: got {self.text!r}; expected a text with </think>")

    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        if group_size != self.exits + 1:
            raise ConfigError(
                f"s_grpo.exits: got {self.exits}; expected group_size - 1 = {group_size - 1}: the exits and the trace itself. "
                f"Set exits: {group_size - 1}, or group_size: {self.exits + 1}"
            )
        early = [
            Exit(order=j, exits=self.exits, text=self.text, answer_tokens=self.answer_tokens) for j in range(self.exits)
        ]
        trace = Exit(order=self.exits, whole=True, text=self.text)
        return [RolloutPlan(exit=exit) for exit in (*early, trace)] * len(prompt_ids)
