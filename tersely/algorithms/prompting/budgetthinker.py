"""BudgetThinker's prompting: a token budget in the prompt, with reminders of the remaining budget.

Paper: arXiv 2508.17196, and its released code. The reward is `rewards/budgetthinker.py`.
    instruction = "Please answer within {B} tokens"      (`form: released`: the longer sentence of the code)
    reminder k = 7 .. 1: "\\n<remaining>k/8</remaining>\\n" is written at (8 - k) B / 8 sampled thinking tokens, while the
    rollout still thinks; it is not trained on
Symbols: B tokens. Published: 6000, then 4000, 3000, 2000, then mixed.
Against GRPO: the prompt of a problem states its budget; one of several `budgets` is sampled per prompt, the same at every
    visit.
Degenerate: K = 1 is fine; a single budget is the same for all prompts.
Pitfalls: thinking is not ended at B; add the recipe's thinking_budget for that. In plain TRL, and where a trained model is
evaluated without decoding in phases, only the sentence states the budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tersely.core.errors import ConfigError, require_choice, require_range
from tersely.core.memory import PromptMemory
from tersely.core.protocols import Prompting
from tersely.core.seeds import sample_seed
from tersely.core.types import RolloutPlan

PARTS = 8
SENTENCES = {
    "paper": "Please answer within {B} tokens",
    "released": (
        "(Complete thinking within {B} tokens or fewer, 7 special tokens ({tokens}) will split the thinking process "
        "into 8 parts.)"
    ),
}


@dataclass(frozen=True)
class BudgetThinkerPrompting(Prompting):
    budgets: tuple[int, ...] = (6000,)
    form: Literal["paper", "released"] = "paper"

    def __post_init__(self) -> None:
        if not self.budgets:
            raise ConfigError("budgetthinker.budgets: got an empty list; expected token counts above 0")
        for budget in self.budgets:
            require_range("budgetthinker.budgets", budget, above=0)
        require_choice("budgetthinker.form", self.form, ("paper", "released"))

    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        return [plan for prompt_id in prompt_ids for plan in [self._plan(prompt_id, seed)] * group_size]

    def _plan(self, prompt_id: str, seed: int) -> RolloutPlan:
        drawn = sample_seed(seed, 0, prompt_id, 0, salt="budgetthinker budget") % len(self.budgets)
        budget = self.budgets[drawn]
        tokens = " ".join(text.strip() for _, text in reminders(budget))
        sentence = SENTENCES[self.form].replace("{B}", str(budget)).replace("{tokens}", tokens)
        return RolloutPlan(instruction=sentence, budget=budget, reminders=tuple(reminders(budget)))


def reminders(budget: int) -> list[tuple[int, str]]:
    """(position in sampled thinking tokens, text) of each reminder, in order."""
    return [
        (round(budget * (PARTS - k) / PARTS), f"\n<remaining>{k}/{PARTS}</remaining>\n")
        for k in range(PARTS - 1, 0, -1)
    ]
