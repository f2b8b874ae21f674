"""Rows decoded in phases and along shared traces, for tests that compare engines."""

from __future__ import annotations

from typing import Any

from tersely.configs.thinking_budget import ThinkingBudget
from tersely.core.build import build
from tersely.core.types import RolloutPlan
from tersely.engines.base import Engine, Generation
from tersely.rl.rollouts.exits import generate_exits
from tersely.rl.rollouts.phased import generate_rows, with_budget
from tersely.rl.rollouts.rollout import RolloutRound, Template

TEXT = "\n</think>\n"
S_GRPO = {"name": "s_grpo", "exits": 3, "answer_tokens": 5, "text": TEXT}
BRPO = {
    "name": "brpo",
    "traces": 2,
    "budgets": [4, 8],
    "answers": 1,
    "answer_tokens": 5,
    "text": TEXT,
    "closed_text": "!",
}
PLANS = {
    "budget": [with_budget(RolloutPlan(), ThinkingBudget(5, answer_tokens=6, text=TEXT), 0.0)] * 4,
    "reminders": [RolloutPlan(reminders=((2, "\na\n"), (4, "\nb\n")), thinking_budget=7, forced_end=TEXT)] * 4,
    "s_grpo": build("prompting", S_GRPO)(["p"], 4),
    "brpo": build("prompting", BRPO)(["p"], 4),
}


def decoded(tokenizer: Any, plans: list[RolloutPlan], engine: Engine, groups: int = 3, **how: Any) -> list[Generation]:
    """Generations of `groups` prompts with these plans each, of at most 16 sampled tokens; `how`: sampling arguments."""
    rows = [
        {"prompt": [{"role": "user", "content": f"{g}+1="}], "prompt_id": f"p{g}", "problem": "x", "answer": "2"}
        for g in range(groups)
        for _ in plans
    ]
    batch = RolloutRound(rows, plans * groups, tokenizer, Template.of(tokenizer))
    batch.tokenize()
    requests = batch.requests(seed=0, step=3, first_row=0, group_size=len(plans), cap=16)
    decode = generate_exits if plans[0].exit is not None else generate_rows
    return decode(batch, requests, lambda asked: engine.generate(asked, **how))
