"""SelfBudgeter's prompting: the completion announces its budget, or starts with a given one.

Paper: arXiv 2505.11274. The reward is `rewards/selfbudgeter.py`.
    turn = <budget>an integer</budget><solution>response</solution> ,   prefill = <budget>{budget}</budget> when imposed
Symbols: budget tokens.
Against GRPO: an output contract; the budget of a rollout is read from its text.
Degenerate: K = 1 is fine; nothing depends on memory or seed. No tag, several tags, no whole number: not well formed.
Pitfalls: a model that was not fine-tuned on the contract scores malformed everywhere. Ten digits or more do not count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tersely.core.errors import require_range
from tersely.core.memory import PromptMemory
from tersely.core.parse_completion import ParsedCompletion
from tersely.core.protocols import Prompting
from tersely.core.types import RolloutPlan

TAGS = ("<budget>", "</budget>", "<solution>", "</solution>")
_CONTRACT = re.compile(
    r"<budget>[ \t\n]{0,9}(\d{1,9})[ \t\n]{0,9}</budget>\s*<solution>(.*)</solution>\s*\Z", re.DOTALL
)
_NUMBER = re.compile(r"<budget>[ \t\n]{0,9}(\d{1,9})[ \t\n]{0,9}</budget>")


@dataclass(frozen=True)
class SelfBudgeterPrompting(Prompting):
    budget: int | None = None

    def __post_init__(self) -> None:
        require_range("selfbudgeter.budget", self.budget, above=0)

    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        prefill = None if self.budget is None else f"<budget>{self.budget}</budget>"
        return [RolloutPlan(prefill=prefill, budget=self.budget)] * (len(prompt_ids) * group_size)

    @staticmethod
    def parse(turn: str) -> ParsedCompletion:
        """Parse the assistant's whole turn; the budget is set if exactly one tag has one number."""
        once = all(turn.count(tag) == 1 for tag in TAGS)
        contract = _CONTRACT.search(turn) if once else None
        numbers = _NUMBER.findall(turn) if turn.count("<budget>") == 1 else []
        return ParsedCompletion(
            well_formed=contract is not None and bool(contract.group(2).strip()),
            budget=int(numbers[0]) if len(numbers) == 1 else None,
        )
