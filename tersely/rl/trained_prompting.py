"""Determines the prompting that is saved with a trained model."""

from __future__ import annotations

from typing import Any

from tersely.configs.recipe import Recipe
from tersely.engines.chat import Prompting


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
    if component.memory_fields:
        return None, None
    asked = set()
    for seed in (0, 1):
        for one in component.plans([f"probe-{n}" for n in range(8)], group_size, None, seed):
            asked.add((one.instruction, None if one.train_prefill else one.prefill))
    return asked.pop() if len(asked) == 1 else (None, None)
