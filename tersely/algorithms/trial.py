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
from tersely.core.findings import Finding
from tersely.core.memory import PromptMemory
from tersely.core.protocols import replaces
from tersely.core.types import Rollouts


def trial_score(objective: Objective, group_size: int, max_length: int, row: Mapping[str, Any] | None = None) -> None:
    """Raise `ConfigError` if prompting, reward or advantage do not support this group size or cap (tokens).

    A shipped component that needs more than synthetic groups have is not checked. `row`: known values of the columns that
    the objective needs, from one row of the data.
    """
    objective = copy.deepcopy(objective)
    trial_prompting(objective, group_size)
    try:
        plans = objective.prompting.plans(["one", "two"], group_size, PromptMemory(), 0)
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
    except Exception:  # a column of a hub dataset is not known yet, and external code can raise anything
        return


class _Watched(Rollouts):
    """Rollouts that record whether their budgets are read."""

    def __getattribute__(self, name: str) -> Any:
        if name == "budget":
            vars(self)["budget_read"] = True
        return super().__getattribute__(name)


def require_budgets(objective: Objective, group_size: int) -> None:
    """Raise `ConfigError` for a shipped reward that needs a budget if the prompting sets none."""
    plans = objective.prompting.plans(["one"], group_size, PromptMemory(), 0)
    if replaces(objective.prompting, "parse") or any(plan.budget is not None for plan in plans):
        return  # with `parse`, the completion may state it
    for name, term in zip(objective.reward.names, objective.reward.terms, strict=True):
        if is_own(term):
            continue
        watched = _Watched(**vars(made_up_group(MIXED)))
        vars(watched).pop("budget_read", None)
        with contextlib.suppress(Exception):  # it may need more than a synthetic group has
            copy.deepcopy(term)(watched)
        if "budget_read" in vars(watched):
            raise ConfigError(
                f"reward {name}: it compares lengths with a budget, but prompting {name_of('prompting', objective.prompting)} "
                "sets none, so length has no effect. Add the method's prompting (`tersely methods` shows it)"
            )


def unread_memory(objective: Objective, visits: float, remembers: bool) -> list[Finding]:
    """Warnings about components that use earlier visits of a prompt in a run without them.

    visits: mean number of visits per prompt. remembers: an earlier stage has stored records.
    """
    if remembers or visits >= 2:
        return []
    advantage = objective.advantage
    learning = [term for term in objective.reward.terms if term.memory_fields and replaces(term, "update")]
    names = [("reward", name_of("reward", term)) for term in learning]
    if advantage.memory_fields and (replaces(advantage, "update") or advantage.commits):
        names.append(("advantage", name_of("advantage", advantage)))
    text = f"compares a prompt with its earlier visits, but this run visits each prompt {visits:.1f} times; expected at least 2"
    fix = "raise max_steps or num_train_epochs, or use fewer prompts"
    return [Finding("warn", slot, f"{name} {text}", fix) for slot, name in names]
