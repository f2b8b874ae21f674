"""Runs the objective once on two synthetic groups, so that shape and config errors surface before training."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from tersely.algorithms.checks import MIXED, made_up_group
from tersely.algorithms.objective import Objective
from tersely.algorithms.trial_own import is_own, trial_components, trial_prompting
from tersely.core.build import name_of
from tersely.core.errors import ConfigError
from tersely.core.memory import PromptMemory
from tersely.core.protocols import replaces
from tersely.core.types import Rollouts


def trial_score(objective: Objective, group_size: int, max_length: int, row: Mapping[str, Any] | None = None) -> None:
    """Raise `ConfigError` for what prompting, reward or advantage cannot do with groups of this size under this cap (tokens).

    A shipped component that needs more than made-up groups have is taken for fit. `row`: values of the columns that the
    objective asks for, of one row of the data, as far as they are known.
    """
    objective = copy.deepcopy(objective)
    trial_prompting(objective, group_size)
    try:
        plans = objective.prompting(["one", "two"], group_size, PromptMemory(), 0)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    known = row or {}
    rows = 2 * group_size
    budgets = [math.nan if plan.budget is None else float(plan.budget) for plan in plans]
    rollouts = replace(
        made_up_group(tuple(MIXED[i % len(MIXED)] for i in range(rows)), max_length),
        group_size=group_size,
        prompt_id=["one"] * group_size + ["two"] * group_size,
        budget=torch.tensor(budgets),
        mode=[plan.mode or "think" for plan in plans],
        memory=PromptMemory(),
        columns={name: [known.get(name, "1")] * rows for name in objective.columns},
    )
    if set(objective.columns) <= set(known):
        trial_components(objective, rollouts)
    try:
        objective.score(rollouts)
    except ConfigError:
        raise
    except Exception:  # a column of the hub is not known yet, and a user's code can raise anything
        return


class _Watched(Rollouts):
    """Rollouts that note whether their budgets are read."""

    def __getattribute__(self, name: str) -> Any:
        if name == "budget":
            vars(self)["budget_read"] = True
        return super().__getattribute__(name)


def require_budgets(objective: Objective, group_size: int) -> None:
    """`ConfigError` for a shipped reward that compares lengths with a budget where the prompting states none."""
    plans = objective.prompting(["one"], group_size, PromptMemory(), 0)
    if replaces(objective.prompting, "parse") or any(plan.budget is not None for plan in plans):
        return  # with `parse` the completion may state it
    for name, term in zip(objective.reward.names, objective.reward.terms, strict=True):
        if is_own(term):
            continue
        watched = _Watched(**vars(made_up_group(MIXED)))
        vars(watched).pop("budget_read", None)
        with contextlib.suppress(Exception):  # it may need more than a made-up group has
            copy.deepcopy(term)(watched)
        if "budget_read" in vars(watched):
            raise ConfigError(
                f"reward {name}: it compares lengths with a budget, and prompting {name_of('prompting', objective.prompting)} "
                "states none, so every length is worth the same. Add the method's prompting (`tersely methods` shows it)"
            )


def unread_memory(objective: Objective, visits: float, remembers: bool) -> list[str]:
    """What to say of components that learn from a prompt's earlier visits, where there are none.

    visits: how often the run comes to a prompt, on average. remembers: an earlier stage left records.
    """
    if remembers or visits >= 2:
        return []
    advantage = objective.advantage
    learning = [term for term in objective.reward.terms if term.memory_fields and replaces(term, "update")]
    names = [f"reward {name_of('reward', term)}" for term in learning]
    if advantage.memory_fields and (replaces(advantage, "update") or advantage.commits):
        names.append(f"advantage {name_of('advantage', advantage)}")
    return [
        f"{name} compares a prompt with its earlier visits, and this run comes to each prompt {visits:.1f} times; it takes at "
        "least 2: raise max_steps or num_train_epochs, or use fewer prompts"
        for name in names
    ]
