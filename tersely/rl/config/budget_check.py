"""Checks thinking budgets before the model is loaded: room for an answer, and a model that marks the end of its thinking."""

from __future__ import annotations

from typing import Any

from tersely.configs.recipe import Recipe
from tersely.configs.thinking_budget import KEY
from tersely.core.errors import ConfigError
from tersely.core.findings import Finding
from tersely.core.memory import PromptMemory
from tersely.core.parse_completion import END_OF_THINKING
from tersely.core.types import RolloutPlan
from tersely.engines.phases import has_marker
from tersely.rl.rollouts.phased import with_budget, written_tokens

PROBES = 32
"""Number of prompts whose plans are checked."""


def planned(run: Recipe, objective: Any) -> list[RolloutPlan]:
    """The different plans of some prompts, with the budgets of the first and the last step."""
    ids = [f"probe-{n}" for n in range(PROBES)]
    plans = dict.fromkeys(objective.prompting(ids, run.group_size, PromptMemory(), 0))
    budget = run.thinking_budget
    return list(dict.fromkeys(with_budget(plan, budget, progress) for plan in plans for progress in (0.0, 1.0)))


def check_budgets(run: Recipe, objective: Any, cap: int) -> list[Finding]:
    """Raise `ConfigError` for a budget that leaves no token of the cap (tokens) for the answer, or a text without marker.

    Returns a warning for a budget of the prompting that no rollout reaches.
    """
    budget, plans = run.thinking_budget, planned(run, objective)
    caps = [min(plan.max_new_tokens or cap, cap) for plan in plans]
    if budget is not None and budget.largest >= min(caps):
        raise ConfigError(
            f"{KEY}.tokens: got {budget.largest}; expected below the cap of {min(caps)} tokens, because the answer needs the "
            "rest. Lower it, or raise max_completion_length"
        )
    for plan, room in zip(plans, caps, strict=True):
        if plan.exit is not None and plan.exit.position is not None and plan.exit.position >= room:
            raise ConfigError(
                f"prompting: got an exit at {plan.exit.position} tokens; expected below the cap of {room}, because the answer "
                "needs the rest. Lower it, or raise max_completion_length"
            )
        if plan.thinking_budget is None:
            continue
        if END_OF_THINKING not in (plan.forced_end or ""):
            raise ConfigError(f"prompting: forced_end: got {plan.forced_end!r}; expected a text with {END_OF_THINKING}")
        if plan.thinking_budget >= room:
            text = f"its thinking budget of {plan.thinking_budget} tokens has no effect under the cap of {room}"
            return [Finding("warn", "prompting", text, "raise max_completion_length, or lower the budget")]
    return []


def check_marker(run: Recipe, objective: Any, tokenizer: Any) -> None:
    """Raise `ConfigError` if a plan ends or interrupts the thinking of a model that does not mark its end."""
    if has_marker(tokenizer):
        return
    for plan in planned(run, objective):
        if plan.thinking_budget is not None or plan.reminders or plan.exit is not None:
            raise ConfigError(
                f"{KEY}: {run.model_name_or_path} has no {END_OF_THINKING}, in neither its vocabulary nor its chat "
                "template. Remove the budget, or use a model that marks the end of its thinking"
            )


def largest_written(run: Recipe, objective: Any, tokenizer: Any) -> int:
    """Tokens of the text that a row can get in addition to its cap."""

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    return max(written_tokens(plan, encode) for plan in planned(run, objective))
