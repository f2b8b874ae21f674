"""Determines the prompting that is saved with a trained model, and the budget of its evaluation during training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from tersely.configs.recipe import Recipe
from tersely.configs.thinking_budget import ThinkingBudget
from tersely.core.types import RolloutPlan
from tersely.engines.chat import Prompting
from tersely.rl.rollouts.phased import with_budget

T = TypeVar("T")


def trained_prompting(run: Recipe, args: Any, component: Any = None) -> Prompting:
    """The prompting to use with a run's trained model."""
    from tersely.data.load import own_instruction

    instruction = run.instruction
    if instruction is None:
        sentences = {own_instruction(source) for source in run.dataset}
        instruction = sentences.pop() if len(sentences) == 1 else None
    sentence, prefill = settled_prompting(component, run.group_size) if component is not None else (None, None)
    kwargs = dict(getattr(args, "chat_template_kwargs", None) or {})
    return Prompting(run.system_prompt or None, instruction, kwargs, sentence, prefill)


def settled_prompting(component: Any, group_size: int) -> tuple[str | None, str | None]:
    """(instruction, prefill) of a component with the same prompt for every rollout; (None, None) for any other.

    After training with prompt memory, several budgets or a trained prefill, the model needs no instruction or prefill.
    """
    return _settled(
        component, group_size, lambda one: (one.instruction, None if one.train_prefill else one.prefill)
    ) or (
        None,
        None,
    )


def settled_plan(component: Any, group_size: int, prompting: Prompting, budget: ThinkingBudget | None) -> RolloutPlan:
    """The plan of a sample of the trained model: reminders and thinking budget as in training, the recipe's at its last value.

    The component's are left out where its rollouts differ in them.
    """

    def written(one: RolloutPlan) -> RolloutPlan:
        return RolloutPlan(
            thinking_budget=one.thinking_budget,
            forced_end=one.forced_end,
            answer_tokens=one.answer_tokens,
            reminders=one.reminders,
        )

    plan = _settled(component, group_size, written) or RolloutPlan()
    return with_budget(replace(plan, prefill=prompting.prefill), budget, 1.0)


def _settled(component: Any, group_size: int, read: Callable[[RolloutPlan], T]) -> T | None:
    """The value of `read` for the plans of some prompts; None if the values differ, or depend on the prompt memory."""
    if component.memory_fields:
        return None
    found = {
        read(one)
        for seed in (0, 1)
        for one in component.plans([f"probe-{n}" for n in range(8)], group_size, None, seed)
    }
    return found.pop() if len(found) == 1 else None
