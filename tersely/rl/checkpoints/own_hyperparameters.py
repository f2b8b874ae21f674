"""Replaces a checkpoint's learning rate, schedule and optimizer parameters by the recipe's.

A checkpoint stores them with the moments. With the old values a changed learning rate would have no effect, and the first
step after an extension would have the rate at the end of the old schedule, 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def own_hyperparameters(optimizer: Any, lr_scheduler: Any, args: Any, asked: Mapping[str, Any]) -> None:
    """Update the optimizer in place. `asked`: optimizer arguments from the recipe (`args`)."""
    groups = optimizer.param_groups
    for number, group in enumerate(groups):
        group.update({key: value for key, value in asked.items() if key in group and key not in ("lr", "params")})
        if len(groups) == 2 and "weight_decay" in group:  # the trainer's two groups: with and without weight decay
            group["weight_decay"] = 0.0 if number else args.weight_decay
    schedule = getattr(lr_scheduler, "scheduler", lr_scheduler)
    if not hasattr(schedule, "lr_lambdas"):
        return
    schedule.base_lrs = [args.learning_rate] * len(groups)
    rates = [args.learning_rate * factor(schedule.last_epoch) for factor in schedule.lr_lambdas]
    for group, rate in zip(groups, rates, strict=True):
        group["initial_lr"], group["lr"] = args.learning_rate, rate
    schedule._last_lr = rates
