"""One made-up group before the first real one: what a component refuses of this run's size or cap is said at once."""

from __future__ import annotations

import copy
from typing import Any

from tersely.checks import SpecError
from tersely.components import registry
from tersely.rl.memory import PromptMemory
from tersely.rl.objective import Objective
from tersely.rl.validate import MIXED, made_up_group


def rehearse(objective: Objective, group_size: int, max_length: int) -> None:
    """Raise `SpecError` for what plan, reward or advantage cannot do with groups of this size under this cap (tokens).

    A component that needs more than a made-up group has is taken for fit.
    """
    objective = copy.deepcopy(objective)
    try:
        objective.plan(["rehearsal"], group_size, PromptMemory(), 0)
    except ValueError as error:
        raise SpecError(str(error)) from error
    verdicts = tuple(MIXED[i % len(MIXED)] for i in range(group_size))
    try:
        objective.score(made_up_group(verdicts, max_length))
    except SpecError:
        raise
    except (ValueError, IndexError, KeyError, RuntimeError, TypeError):
        return


def unread_memory(objective: Objective, visits: float, remembers: bool) -> list[str]:
    """What to say of components that learn from a prompt's earlier visits, where there are none.

    visits: how often the run comes to a prompt, on average. remembers: an earlier stage left records.
    """
    if remembers or visits >= 2:
        return []
    named: list[tuple[str, Any]] = [("reward", term) for term in objective.reward.terms]
    learning = [(slot, part) for slot, part in [*named, ("advantage", objective.advantage)] if _revisits(part)]
    names = [_name(slot, part) for slot, part in learning]
    return [
        f"{name} compares a prompt with its earlier visits, and this run comes to each prompt {visits:.1f} times; it takes at "
        "least 2: raise max_steps or num_train_epochs, or use fewer prompts"
        for name in names
    ]


def _revisits(part: Any) -> bool:
    return bool(getattr(part, "memory_fields", ())) and (hasattr(part, "update") or getattr(part, "commits", False))


def _name(slot: str, part: Any) -> str:
    found = (name for name, cls in registry(slot).items() if cls is type(part))
    return f"{slot} {next(found, type(part).__name__)}"
