"""RLPR's prompting: requests the tags at which the reward splits the completion.

Paper: arXiv 2506.18254, released code. The reward is `rewards/rlpr.py`, the filter `filters/rlpr.py`.
Symbols: `opening`, `closing` the tags around the answer, `space` the text between a tag and the answer.
Against GRPO: every prompt requests the tags, and `well_formed` is True if the rollout has them.
Degenerate: an empty tag is an error. An empty answer is not well formed.
Pitfalls: a closing tag of one character may occur in the answer too; the last one closes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tersely.core.errors import ConfigError
from tersely.core.memory import PromptMemory
from tersely.core.parse_completion import ParsedCompletion
from tersely.core.protocols import Prompting
from tersely.core.types import RolloutPlan

INSTRUCTION = (
    "Think first, then answer. Write your reasoning between <think> and </think>, and only the final answer between "
    "<answer> and </answer>."
)


@dataclass(frozen=True)
class RLPRFormat(Prompting):
    """Requests the tags in every prompt, and checks them in every rollout.

    The reward splits at `opening`, `closing` and the `space` inside them. For a model that answers in boxes:
    `{name: rlpr, opening: '\\boxed{', closing: '}', space: '', instruction: ''}`.
    """

    instruction: str = INSTRUCTION
    opening: str = "<answer>"
    closing: str = "</answer>"
    space: str = " "

    def __post_init__(self) -> None:
        if not self.opening.strip() or not self.closing.strip():
            raise ConfigError(
                f"rlpr.opening, rlpr.closing: got {self.opening!r}, {self.closing!r}; expected texts that are not empty"
            )
        if self.space.strip():
            raise ConfigError(f"rlpr.space: got {self.space!r}; expected white space or empty")

    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        return [RolloutPlan(instruction=self.instruction or None)] * (len(prompt_ids) * group_size)

    def parse(self, turn: str) -> ParsedCompletion:
        return ParsedCompletion(well_formed=self.kept(turn))

    def kept(self, turn: str) -> bool:
        """`<think> z </think> <answer> y </answer>`, each tag once, in this order, and an answer that is not empty.

        A closing tag of one character may occur in the answer too.
        """
        tags = ("<think>", "</think>", self.opening)
        places = [turn.find(tag) for tag in tags]
        if any(turn.count(tag) != 1 for tag in tags) or places != sorted(places):
            return False
        answer, closed, _ = turn[places[2] + len(self.opening) :].rpartition(self.closing)
        once = len(self.closing) == 1 or turn.count(self.closing) == 1
        return bool(closed) and once and bool(answer.strip())
