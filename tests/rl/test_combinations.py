"""Any reward with any advantage and any policy: finite losses and gradients on the same made-up rollouts."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from gen_tables import random_rollouts

from tersely.algorithms import ADVANTAGES, LOSSES
from tersely.algorithms.loss_dependence import made_up_comparison
from tersely.core.aggregate import AGGREGATES, aggregate
from tersely.core.build import build
from tersely.core.types import TokenBatch
from tersely.rewards import REWARDS

ROWS, TOKENS = 12, 24


def token_batch(advantage):
    draw = torch.Generator().manual_seed(1)
    old = -3 * torch.rand(ROWS, TOKENS, generator=draw)
    logp = (old + 0.2 * torch.randn(ROWS, TOKENS, generator=draw)).requires_grad_()
    entropy = 2 * torch.rand(ROWS, TOKENS, generator=draw)
    mask = (torch.rand(ROWS, TOKENS, generator=draw) < 0.8).float()
    return TokenBatch(
        logp=logp,
        old_logp=old,
        entropy=entropy,
        mask=mask,
        advantage=(advantage.unsqueeze(1) if advantage.dim() == 1 else advantage).expand(ROWS, TOKENS),
        ref_logp=old - 0.1,
        sampler_logp=old + 0.01,
        live_entropy=entropy.clone().requires_grad_(),
    )


@pytest.mark.parametrize("reward", sorted(REWARDS))
@pytest.mark.filterwarnings("ignore:gspo with form", "ignore:reward terms")
def test_a_reward_goes_with_every_advantage_and_policy(reward):
    rollouts = random_rollouts(reward, seed=3)
    value = build("reward", [reward, *([] if REWARDS[reward].includes_outcome else ["correctness"])])(rollouts)
    whole = torch.zeros(ROWS)
    for name in sorted(ADVANTAGES):
        advantage = build("advantage", name)
        arguments = (value.unsqueeze(1), rollouts, torch.ones(1)) if advantage.per_term else (value, rollouts)
        given = advantage(*arguments)
        assert given.shape[0] == ROWS and given.isfinite().all(), name
        assert not given[value.isnan()].any(), f"{name}: a row without a verdict has credit"
        whole = whole + (given if given.dim() == 1 else given.mean(1))
    for name in sorted(LOSSES):
        loss_fn, batch = build("loss", name), token_batch(whole)
        batch = dataclasses.replace(batch, compared=made_up_comparison(loss_fn, batch.logp))
        per_token, metrics = loss_fn(batch)
        for how in AGGREGATES:
            loss = aggregate(per_token, batch.mask, how, max_length=TOKENS)
            (gradient,) = torch.autograd.grad(loss, batch.logp, retain_graph=True)
            assert loss.isfinite() and gradient.isfinite().all(), (name, how)
        assert all(torch.as_tensor(metric).isfinite() for metric in metrics.values()), name
