"""Checks component combinations: incompatible ones raise, ineffective ones warn.

Runs each component on a few synthetic tokens, so that external components are checked by the same rules.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tersely.algorithms.advantages.identity import Identity
from tersely.algorithms.loss_dependence import made_up_comparison
from tersely.algorithms.losses.clip import Clip
from tersely.algorithms.objective import Objective
from tersely.core.build import name_of
from tersely.core.errors import ConfigError
from tersely.core.findings import Finding
from tersely.core.protocols import Advantage, Controller, Loss, loss_chain
from tersely.core.types import Rollouts, TokenBatch

MIXED = (1.0, 0.0, 1.0, 0.0)


def warnings_of(
    objective: Objective,
    *,
    ratio_is_one: bool = False,
    sampler_logprobs: bool = False,
    top_p: float = 1.0,
    group_size: int = 8,
) -> list[Finding]:
    """Warnings about this combination. Raises `ConfigError` if it cannot run.

    `ratio_is_one`: the recipe does one optimizer step per generation batch by default. `group_size`: rollouts per prompt.
    `sampler_logprobs`: the rollout engine reports log-probs of the tokens that it sampled.
    """
    check_sampler_correction(objective, sampler_logprobs)
    return [
        *_schedule(objective.loss, ratio_is_one),
        *_credit(objective.advantage, objective.loss),
        *_wrappers(objective.loss),
        *_filter(objective, group_size),
        *_sampling(objective, top_p),
        *_floor(objective),
        *_normalised_twice(objective, group_size),
        *_controllers(objective),
        *_unread_reward(objective),
    ]


def check_sampler_correction(objective: Objective, sampler_logprobs: bool) -> None:
    """sampler_correction needs an engine that reports log-probs."""
    readers = [part for part in loss_chain(objective.loss) if part.needs_sampler_logp]
    if not sampler_logprobs and readers:
        raise ConfigError(
            f"loss {name_of('loss', readers[-1])} needs the log-probs of the rollout engine; this engine reports none "
            "(engine: transformers samples from the trained model itself). Remove it, or use engine: vllm"
        )


def _floor(objective: Objective) -> list[Finding]:
    """Warn about a weight on the length term that the advantage cancels."""
    if not any(_moves_reward(controller, objective) for controller in objective.controllers):
        return []
    if objective.advantage.scope == "batch" or not _forgets_scale(objective.advantage):
        return []
    text = (
        f"{type(objective.advantage).__name__} divides by the spread of a group, so it cancels the weight of the length term "
        "in groups that are all correct or all incorrect, and a controller of that weight only affects mixed groups"
    )
    return [Finding("warn", "advantage", text, "use advantage group_mean, rloo or batch_whitened")]


def _forgets_scale(advantage: Advantage) -> bool:
    """True if the advantages of a group do not change when its rewards are doubled."""
    group = made_up_group(MIXED)
    rewards = torch.tensor([0.9, 0.2, 0.4, 0.1])
    try:
        small, large = (copy.deepcopy(advantage)(factor * rewards, group) for factor in (1, 2))
    except Exception:  # external code can raise anything
        return False
    return bool(small.any()) and torch.allclose(small, large, rtol=0.02, atol=1e-4)


def _normalised_twice(objective: Objective, group_size: int) -> list[Finding]:
    """Warn about a reward that standardises lengths together with an advantage that standardises rewards."""
    if objective.advantage.scope == "batch":
        return []
    near = dataclasses.replace(made_up_group((1.0,) * group_size, 1_000_000), progress=1.0)
    far = dataclasses.replace(near, length=1000 + 50 * near.length)
    turned = dataclasses.replace(near, length=near.length.flip(0))
    try:
        reward, stretched, other = (copy.deepcopy(objective.reward)(group) for group in (near, far, turned))
        small, large = (copy.deepcopy(objective.advantage)(factor * reward, near) for factor in (1, 2))
    except Exception:  # external code can raise anything
        return []
    reads_lengths = not torch.allclose(reward, other, atol=1e-6) and bool(small.any())
    forgets = torch.allclose(reward, stretched, atol=1e-4) and torch.allclose(small, large, rtol=0.02, atol=1e-4)
    if not (reads_lengths and forgets):
        return []
    text = (
        f"{'+'.join(objective.reward.names)} divides lengths by their spread, and advantage "
        f"{type(objective.advantage).__name__} divides rewards by theirs: among correct answers a difference of one token "
        "counts as much as one of a thousand"
    )
    return [Finding("warn", "reward", text, "use advantage group_mean, rloo or batch_whitened")]


def _controllers(objective: Objective) -> list[Finding]:
    """Warn about controllers that do not affect this loss."""
    found = []
    for controller in objective.controllers:
        if not _moves_loss(controller, objective) and not _moves_reward(controller, objective):
            text = (
                f"{type(controller).__name__} has no effect on loss {type(objective.loss).__name__}: entropy_clip changes the "
                "bounds of clip and clip_cov, ares_kl the beta of window_kl"
            )
            found.append(Finding("warn", "controllers", text))
    return found


def _unread_reward(objective: Objective) -> list[Finding]:
    """Warn about a reward or an advantage that the loss does not read."""
    stated = [f"reward {'+'.join(objective.reward.names)}"] if objective.reward.names != ("correctness",) else []
    if not isinstance(objective.advantage, Identity):
        stated.append(f"advantage {name_of('advantage', objective.advantage)}")
    if not stated or not ignores_advantage(objective.loss):
        return []
    text = (
        f"{name_of('loss', objective.loss)} reads no advantage, so {' and '.join(stated)} have no effect on the weights"
    )
    return [Finding("warn", "loss", text, "use reward correctness and advantage identity, or another loss")]


def ignores_advantage(loss_fn: Loss) -> bool:
    """True if the gradient does not depend on the advantage."""
    one, other = (_gradients(loss_fn, torch.full((2, 8), value), moved=0.1)[0] for value in (1.0, -2.0))
    return torch.equal(one, other)


def _moved(controller: Controller) -> Controller:
    """Copy with another value."""
    moved = copy.deepcopy(controller)
    moved.value = controller.value + 0.5
    return moved


def _moves_loss(controller: Controller, objective: Objective) -> bool:
    return _moved(controller).apply(objective.loss) != objective.loss


def _moves_reward(controller: Controller, objective: Objective) -> bool:
    return _moved(controller).apply_reward(objective.reward) != objective.reward


def _schedule(loss_fn: Loss, ratio_is_one: bool) -> list[Finding]:
    if not ratio_is_one or not bounds_the_ratio(loss_fn):
        return []
    same = (
        " (it is then the same as clip)" if not isinstance(loss_fn, Clip) and equals_clip_at_ratio_one(loss_fn) else ""
    )
    text = (
        "1 by default: old and current policy are the same at the only optimizer step of a batch, every ratio is 1, and the "
        f"bounds of the loss have no effect{same}"
    )
    fix = "set updates_per_batch or num_iterations above 1 to use them, or write updates_per_batch: 1 to confirm it"
    return [Finding("warn", "updates_per_batch", text, fix)]


def bounds_the_ratio(loss_fn: Loss) -> bool:
    """True if the loss limits the ratio: its gradient is neither the plain one nor that times the ratio.

    Tests the innermost loss, because a wrapper adds terms.
    """
    inner = list(loss_chain(loss_fn))[-1]
    if inner.teachers:  # it moves the whole distribution, and has no ratio
        return False
    for sign in (1.0, -1.0):
        advantage = torch.full((4, 64), sign)
        plain = _gradients(inner, advantage, moved=0.0)[0]
        for moved in (3.0, -3.0):
            found = _gradients(inner, advantage, moved=moved)[0]
            free = (plain, plain * math.exp(moved))
            if not any(torch.allclose(found, expected, rtol=1e-3, atol=1e-5) for expected in free):
                return True
    return False


def ignored_warmup(values: Mapping[str, Any]) -> list[Finding]:
    """Warn about warmup_steps with a schedule without warmup, or a warmup that never ends. `values`: TRL's recipe keys."""
    import inspect

    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

    name, steps = str(values.get("lr_scheduler_type", "linear")), values.get("warmup_steps") or 0
    if steps > 1 and steps >= (total := values.get("max_steps") or math.inf) > 0:
        text = f"got {steps} with max_steps {total}; the learning rate never reaches its value"
        return [Finding("warn", "warmup_steps", text, "lower warmup_steps")]
    makers = {kind.value: make for kind, make in TYPE_TO_SCHEDULER_FUNCTION.items()}
    if not steps or name not in makers or "num_warmup_steps" in inspect.signature(makers[name]).parameters:
        return []
    text = f"got {steps}; lr_scheduler_type {name} has no warmup, so the learning rate starts at its full value"
    return [
        Finding("warn", "warmup_steps", text, "use lr_scheduler_type: constant_with_warmup, or remove warmup_steps")
    ]


def _credit(advantage: Advantage, loss_fn: Loss) -> list[Finding]:
    part = next((part for part in loss_chain(loss_fn) if averages_credit(part)), None)
    if part is None or not is_token_level(advantage):
        return []
    text = (
        f"{type(part).__name__} has one ratio per sequence, which averages the credit that advantage "
        f"{type(advantage).__name__} gives to every token"
    )
    return [Finding("warn", "loss", text, "use {name: gspo, form: token}, or a loss with token ratios")]


def _wrappers(loss_fn: Loss) -> list[Finding]:
    """Warn about a duplicate wrapper, and a KL inside a mask."""
    parts = list(loss_chain(loss_fn))
    names = [type(part).__name__ for part in parts]
    twice = sorted({name for name in names if names.count(name) > 1})
    found = [
        Finding("warn", "loss", f"{name} occurs twice in the chain of wrappers, so it applies twice", "remove one")
        for name in twice
    ]
    mask = next((i for i, part in enumerate(parts) if part.masks_tokens), len(parts))
    found += [
        Finding(
            "warn",
            "loss",
            f"{type(part).__name__} inside {names[mask]} only applies to the kept tokens",
            "put it around the mask to apply to all",
        )
        for part in parts[mask + 1 :]
        if part.holds_every_token
    ]
    return found


def _filter(objective: Objective, group_size: int) -> list[Finding]:
    """Warn about a filter that keeps no group, or only groups with advantage 0."""
    name = type(objective.filter).__name__
    verdicts = ((1.0,) * right + (0.0,) * (group_size - right) for right in range(group_size + 1))
    kept = [group for group in map(made_up_group, verdicts) if bool(objective.filter(group).any())]
    if not kept:
        text = f"{name} keeps no group of {group_size} rollouts at any share of correct ones: nothing would train"
        return [Finding("warn", "filter", text)]
    if any(_carries_signal(objective, group) for group in kept):
        return []
    text = (
        f"{name} keeps only groups in which advantage {type(objective.advantage).__name__} is 0 for every rollout: nothing "
        "would train"
    )
    fix = "use filter mixed_groups, or a reward that differs between the rollouts of such a group"
    return [Finding("warn", "filter", text, fix)]


def _carries_signal(objective: Objective, group: Rollouts) -> bool:
    """True if some rollout of this group has an advantage, or if a component needs more than a synthetic group."""
    try:
        return bool(copy.deepcopy(objective).score(group).advantage.any())
    except Exception:  # external code can raise anything
        return True


def _sampling(objective: Objective, top_p: float) -> list[Finding]:
    if objective.sampling.fixed_temperature is not None:
        return []
    found = [
        Finding(
            "warn",
            "loss",
            f"{type(part).__name__} weighs whole rows with an adaptive temperature: the token corrections add up over a "
            "sequence, so long answers are dropped",
            "use mode: token_truncate",
        )
        for part in loss_chain(objective.loss)
        if part.weighs_whole_rows
    ]
    if top_p < 1:
        text = (
            f"got {top_p} with a temperature that depends on entropy; top_p removes the tokens that it makes likelier"
        )
        found.append(Finding("warn", "top_p", text))
    return found


def made_up_group(correct: tuple[float, ...], max_length: int = 64) -> Rollouts:
    """One group of synthetic rollouts with all fields that a component may need."""
    rows, draw = len(correct), torch.Generator().manual_seed(0)
    return Rollouts(
        group_size=rows,
        prompt_id=["probe"] * rows,
        correct=torch.tensor(correct),
        length=torch.arange(3, 3 + rows),
        truncated=torch.zeros(rows, dtype=torch.bool),
        max_length=max_length,
        thinking_length=torch.arange(2, 2 + rows),
        well_formed=torch.ones(rows, dtype=torch.bool),
        token_ids=torch.randint(0, 9, (rows, 3 + rows), generator=draw),
        entropy=torch.rand(rows, 3 + rows, generator=draw),
        thinking_end=torch.arange(1, 1 + rows),
        answer_start=torch.arange(2, 2 + rows),
        step=torch.where(
            torch.arange(3 + rows) < torch.arange(3, 3 + rows).unsqueeze(1), torch.arange(3 + rows) // 2, -1
        ),
        old_logp=-torch.rand(rows, 3 + rows, generator=draw),
        reflections=torch.arange(rows),
        exit=torch.arange(rows),
        trace=torch.zeros(rows, dtype=torch.int64),
        prefix=torch.arange(rows),
        reference_score=torch.rand(rows, generator=draw),
        reference_base=torch.zeros(rows),
        reference_logp=-torch.rand(rows, generator=draw),
        reference_tokens=torch.ones(rows, dtype=torch.int64),
        repeated=torch.zeros(rows, dtype=torch.bool),
        completion_text=["so \\boxed{1}"] * rows,
        columns=collections.defaultdict(lambda: ["1"] * rows),
    )


def is_token_level(advantage: Advantage) -> bool:
    """True if the advantage returns (N, T). One that needs a field of its prompting is assumed to return (N,)."""
    rollouts = made_up_group(MIXED)
    try:
        return advantage(rollouts.correct.clone(), rollouts).dim() == 2
    except Exception:  # external code can raise anything
        return False


def averages_credit(loss_fn: Loss) -> bool:
    """True if the gradient of a row does not depend on the position of its credit."""
    if ignores_advantage(loss_fn):
        return False
    spread = torch.ones(1, 4)
    on_one = torch.tensor([[4.0, 0.0, 0.0, 0.0]])
    # small enough to be inside even GSPO's bounds
    one, other = (_gradients(loss_fn, advantage, moved=1e-4)[0] for advantage in (on_one, spread))
    return torch.allclose(one, other, atol=1e-6)


def equals_clip_at_ratio_one(loss_fn: Loss) -> bool:
    """True if the loss is the plain policy gradient at ratio 1. Uses rows long enough for a token share of 0.001."""
    advantage = torch.tensor([[1.0], [-0.5], [0.8], [-1.2]]).expand(4, 4096)
    of_logp, of_entropy = _gradients(loss_fn, advantage, moved=0.0)
    return torch.allclose(of_logp, -advantage, atol=1e-5) and not of_entropy.any()


def _gradients(loss_fn: Loss, advantage: Tensor, moved: float) -> tuple[Tensor, Tensor]:
    """Gradients of the summed loss by the log-probs and by the live entropy."""
    draw = torch.Generator().manual_seed(0)
    old = -3 * torch.rand(advantage.shape, generator=draw)
    logp, entropy = (old + moved).requires_grad_(), 2 * torch.rand(advantage.shape, generator=draw)
    live = entropy.clone().requires_grad_()
    mask = torch.ones_like(old)
    compared = made_up_comparison(loss_fn, logp)
    known = TokenBatch(logp, old, entropy, mask, advantage, old - 0.5, old)
    batch = dataclasses.replace(known, live_entropy=live, compared=compared)
    loss, _ = loss_fn(batch)
    of_logp, of_entropy = torch.autograd.grad(loss.sum(), (logp, live), allow_unused=True)
    return of_logp, torch.zeros_like(live) if of_entropy is None else of_entropy
