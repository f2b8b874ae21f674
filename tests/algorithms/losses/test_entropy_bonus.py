"""The bonus against plain Python, and its gradient."""

from __future__ import annotations

import pytest
import torch

from tersely.algorithms.controllers.entropy_target import EntropyTarget
from tersely.algorithms.losses.clip import Clip
from tersely.algorithms.losses.entropy_bonus import EntropyBonus
from tersely.core.types import TokenBatch


def test_the_loss_falls_by_the_coefficient_times_the_live_entropy():
    entropy = torch.tensor([[0.5, 2.0, float("nan")]], requires_grad=True)
    logp = torch.zeros(1, 3)
    batch = TokenBatch(
        logp=logp,
        old_logp=logp,
        entropy=entropy.detach(),
        mask=torch.tensor([[1, 1, 0]]),
        advantage=torch.ones(1, 3),
        live_entropy=entropy,
    )
    loss_fn = EntropyBonus(0.1, Clip())
    loss, _ = loss_fn(batch)
    assert loss[0].tolist() == pytest.approx([-1.05, -1.2, 0.0])
    loss.sum().backward()
    assert entropy.grad[0].tolist() == pytest.approx([-0.1, -0.1, 0.0])


def test_the_target_wraps_only_while_entropy_is_low():
    target, loss_fn = EntropyTarget(target=0.2, delta=0.001), Clip()
    assert target.apply(loss_fn) is loss_fn
    target.update(0.1)
    assert target.apply(loss_fn) == EntropyBonus(0.001, loss_fn) and target.apply(loss_fn).needs_live_entropy
    target.update(0.3)
    assert target.apply(loss_fn) is loss_fn
