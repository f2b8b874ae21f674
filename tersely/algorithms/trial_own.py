"""Runs components from outside the package once on synthetic input, so that their errors surface before training."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tersely.algorithms.objective import Objective
from tersely.core.errors import ConfigError
from tersely.core.memory import PromptMemory
from tersely.core.protocols import loss_chain
from tersely.core.reward_sum import checked
from tersely.core.types import RolloutPlan, Rollouts, TokenBatch

TOKENS = 8
"""Tokens per row of the synthetic micro-batch."""


def is_own(component: Any) -> bool:
    """True if the component comes from outside the package."""
    return not type(component).__module__.startswith("tersely.")


def trial_prompting(objective: Objective, group_size: int) -> None:
    """Raise `ConfigError` if a prompting from outside the package raises, or does not return one `RolloutPlan` per rollout."""
    prompting = objective.prompting
    if not is_own(prompting):
        return
    rows, where = 2 * group_size, f"prompting {type(prompting).__name__}"
    with _of_user(f"{where} fails for 2 prompts in groups of {group_size}"):
        more = {"step": 0} if prompting.needs_step else {}
        plans = copy.deepcopy(prompting)(["one", "two"], group_size, PromptMemory(), 0, **more)
        if not isinstance(plans, list | tuple) or not all(isinstance(plan, RolloutPlan) for plan in plans):
            raise ConfigError(f"{where} returned {_kind(plans)}; expected a list of RolloutPlan")
        if len(plans) != rows:
            raise ConfigError(f"{where} returned {len(plans)} plans for {rows} rollouts; expected one per rollout")


def trial_components(objective: Objective, rollouts: Rollouts) -> None:
    """The same for reward, advantage, filter and loss, on these rollouts."""
    objective = copy.deepcopy(objective)
    rows, groups = len(rollouts.correct), len(rollouts.correct) // rollouts.group_size
    on = f"fails on {rows} synthetic rollouts in groups of {rollouts.group_size}"
    for name, term in zip(objective.reward.names, objective.reward.terms, strict=True):
        if is_own(term):
            with _of_user(f"reward {name} {on}"):
                before = rollouts.correct.clone()
                checked(name, term(rollouts), rollouts)
                if not torch.equal(rollouts.correct, before):
                    raise ConfigError(
                        f"reward {name} changes rollouts.correct in place; rollouts are read-only. Change a copy"
                    )
    if is_own(objective.advantage) and not objective.advantage.per_term:
        where = f"advantage {type(objective.advantage).__name__}"
        with _of_user(f"{where} {on}"):
            found = objective.advantage(rollouts.correct.clone(), rollouts)
            fits = (
                isinstance(found, Tensor)
                and found.is_floating_point()
                and found.shape[:1] == (rows,)
                and found.dim() < 3
            )
            if not fits or not bool(found.isfinite().all()):
                raise ConfigError(
                    f"{where} returned {_kind(found)}; expected a finite float tensor of shape ({rows},) or ({rows}, T)"
                )
    if is_own(objective.filter):
        where = f"filter {type(objective.filter).__name__}"
        with _of_user(f"{where} {on}"):
            found = objective.filter(rollouts)
            if not isinstance(found, Tensor) or found.dtype != torch.bool or found.shape != (groups,):
                raise ConfigError(
                    f"{where} returned {_kind(found)}; expected a bool tensor of shape ({groups},), one value per group"
                )
    for part in loss_chain(objective.loss):
        if is_own(part):
            _trial_loss(part)


def _trial_loss(loss_fn: Any) -> None:
    where, shape = f"loss {type(loss_fn).__name__}", (2, TOKENS)
    draw = torch.Generator().manual_seed(0)
    old, entropy = -torch.rand(shape, generator=draw), torch.rand(shape, generator=draw)
    batch = TokenBatch(
        old.clone().requires_grad_(),
        old,
        entropy,
        torch.ones(shape, dtype=torch.int64),
        torch.tensor([[1.0], [-1.0]]).expand(shape),
        ref_logp=old - 0.5,
        sampler_logp=old,
        live_entropy=entropy.clone().requires_grad_(),
    )
    with _of_user(f"{where} fails on a synthetic micro-batch of shape {shape}"):
        found = loss_fn(batch)
        if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], Mapping):
            raise ConfigError(
                f"{where} returned {_kind(found)}; expected (loss, metrics): a tensor of shape {shape} and a mapping"
            )
        if not isinstance(found[0], Tensor) or found[0].shape != shape or not found[0].requires_grad:
            raise ConfigError(
                f"{where} returned {_kind(found[0])} as loss; expected a tensor of shape {shape} with a gradient"
            )


@contextmanager
def _of_user(what: str) -> Iterator[None]:
    """Convert an exception of user code to a `ConfigError` in one line, with file and line number."""
    try:
        yield
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(str(error).split())
        raise ConfigError(
            f"{what}: {type(error).__name__}: {text} ({last.filename}, line {last.lineno}). docs/reference.md lists the fields "
            "and their shapes"
        ) from error


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        gradient = "" if value.requires_grad else " without gradient"
        return f"a {value.dtype} tensor of shape {tuple(value.shape)}{gradient}"
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, list | tuple | dict) else "")
