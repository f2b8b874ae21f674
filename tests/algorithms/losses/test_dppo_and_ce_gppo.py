"""DPPO and CE-GPPO: values and gradients of the printed tokens, and what they equal in special cases."""

from __future__ import annotations

import math

import pytest
import torch

from tersely.algorithms.losses.cispo import CISPO
from tersely.algorithms.losses.clip import Clip
from tersely.core.build import build
from tersely.core.errors import ConfigError
from tersely.core.types import TokenBatch


def token(p0, p, advantage, **fields):
    """One token that moved from probability p0 to p."""
    logp = torch.tensor([[math.log(p)]], requires_grad=True)
    old = torch.tensor([[math.log(p0)]])
    zeros = torch.zeros(1, 1)
    return TokenBatch(
        logp, old, zeros, torch.ones(1, 1, dtype=torch.int64), torch.tensor([[float(advantage)]]), **fields
    )


def value_and_gradient(spec, batch):
    loss, metrics = build("loss", spec)(batch)
    gradient = torch.autograd.grad(loss.sum(), batch.logp)[0] if loss.requires_grad else torch.zeros_like(batch.logp)
    assert all(torch.as_tensor(value).isfinite() for value in metrics.values())
    return loss.detach(), gradient


def random_batch(seed=0, scale=0.5):
    draw = torch.Generator().manual_seed(seed)
    old = -3 * torch.rand(4, 16, generator=draw)
    logp = (old + scale * torch.randn(4, 16, generator=draw)).clamp(max=0).requires_grad_()
    mask = (torch.rand(4, 16, generator=draw) < 0.8).long()
    mask[3] = 0
    return TokenBatch(logp, old, torch.zeros(4, 16), mask, torch.randn(4, 1, generator=draw).expand(4, 16))


@pytest.mark.parametrize(
    ("p0", "p", "advantage", "loss", "gradient"),
    [
        (0.5, 0.8, 1, 0, 0),
        (0.5, 0.8, -1, 1.6 * math.log(0.8), 1.6),
        (0.01, 0.05, 1, -5 * math.log(0.05), -5),
        (0.5, 0.3, -1, 0, 0),
        (0.5, 0.5, 1, -math.log(0.5), -1),
        (0.5, 0.3, 0, 0, 0),
    ],
)
def test_dppo_of_the_printed_tokens(p0, p, advantage, loss, gradient):
    got = value_and_gradient({"name": "dppo"}, token(p0, p, advantage))
    assert (got[0].item(), got[1].item()) == pytest.approx((loss, gradient), abs=1e-4)


def test_dppo_by_kl():
    spec = {"name": "dppo", "divergence": "kl"}
    assert value_and_gradient(spec, token(0.5, 0.8, 1))[1] == 0
    assert value_and_gradient(spec, token(0.01, 0.05, 1))[1].item() == pytest.approx(-5, abs=1e-4)
    for high, out in ((0.2230, True), (0.2233, False)):
        assert (value_and_gradient({**spec, "high": high}, token(0.5, 0.8, 1))[1] == 0) == out
    for high, out in ((0.0246, True), (0.0248, False)):
        assert (value_and_gradient({**spec, "high": high}, token(0.01, 0.05, 1))[1] == 0) == out


def test_dppo_with_thresholds_of_one_is_cispo():
    batch = random_batch(scale=2.0)
    ours = value_and_gradient({"name": "dppo", "low": 1, "high": 1}, batch)
    loss, _ = CISPO(ratio_cap=20.0)(batch)
    torch.testing.assert_close(ours[0], loss.detach())
    torch.testing.assert_close(ours[1], torch.autograd.grad(loss.sum(), batch.logp)[0])


def test_the_kl_of_dppo_is_on_every_valid_token():
    batch = random_batch()
    plain, with_kl = (value_and_gradient({"name": "dppo", "kl_coefficient": c}, batch)[1] for c in (0.0, 0.1))
    x = torch.where(batch.valid, (batch.logp - batch.old_logp).detach(), 0.0)
    torch.testing.assert_close(with_kl - plain, 0.2 * x)


def test_the_anchor_can_be_the_engines_log_probs():
    """p0 .5 by the trainer, .78 by the engine: the move to .8 is inside. nan reads as the trainer's."""
    spec = {"name": "dppo", "anchor": "sampler"}
    sampler = torch.tensor([[math.log(0.78)]])
    assert value_and_gradient(spec, token(0.5, 0.8, 1, sampler_logp=sampler))[1].item() == pytest.approx(-0.8 / 0.78)
    assert value_and_gradient(spec, token(0.5, 0.8, 1, sampler_logp=torch.tensor([[math.nan]])))[1] == 0
    assert build("loss", spec).needs_sampler_logp and not build("loss", "dppo").needs_sampler_logp
    with pytest.raises(ValueError, match="sampler_logp"):
        build("loss", spec)(token(0.5, 0.8, 1))
    with pytest.raises(ConfigError, match="sampler_correction"):
        build("loss", {"name": "sampler_correction", "base": {"name": "kl_penalty", "base": spec}})


@pytest.mark.parametrize("spec", [{"name": "dppo"}, {"name": "dppo", "divergence": "kl"}, {"name": "ce_gppo"}])
@pytest.mark.parametrize("gap", [100.0, -100.0])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_huge_log_ratios_and_masked_values_are_finite(spec, gap, advantage):
    logp = torch.tensor([[gap if gap < 0 else -0.1, math.nan]], requires_grad=True)
    batch = TokenBatch(
        logp, logp.detach() - gap, torch.zeros(1, 2), torch.tensor([[1, 0]]), torch.full((1, 2), advantage)
    )
    loss, gradient = value_and_gradient(spec, batch)
    assert loss.isfinite().all() and gradient.isfinite().all() and loss[0, 1] == 0 and gradient[0, 1] == 0


@pytest.mark.parametrize(
    ("p0", "p", "advantage", "loss", "gradient"),
    [
        (0.5, 0.75, 1, -1.2, -1.2),
        (0.5, 0.25, -1, 0.6, 0.6),
        (0.5, 0.55, 1, -1.1, -1.1),
        (0.05, 0.6, -1, 10, 0),
        (0.5, 0.25, 1, -0.5, -0.5),
        (0.5, 0.75, -1, 1.5, 1.5),
        (0.5, 0.25, 0, 0, 0),
    ],
)
def test_ce_gppo_of_the_printed_tokens(p0, p, advantage, loss, gradient):
    got = value_and_gradient({"name": "ce_gppo"}, token(p0, p, advantage))
    assert (got[0].item(), got[1].item()) == pytest.approx((loss, gradient), abs=1e-4)


@pytest.mark.parametrize("dual_clip", [10.0, 1.5, None])
def test_ce_gppo_without_betas_has_the_gradient_of_clip(dual_clip):
    batch = random_batch(scale=1.0)
    spec = {"name": "ce_gppo", "beta_low": 0, "beta_high": 0, "clip_high": 0.28, "dual_clip": dual_clip}
    loss, _ = Clip(clip_high=0.28, dual_clip=dual_clip)(batch)
    torch.testing.assert_close(value_and_gradient(spec, batch)[1], torch.autograd.grad(loss.sum(), batch.logp)[0])


def test_ce_gppo_bounds_every_gradient():
    batch = random_batch(scale=3.0)
    gradient = value_and_gradient({"name": "ce_gppo", "beta_low": 1, "beta_high": 1}, batch)[1]
    assert (gradient.abs() <= 10 * batch.advantage.abs() + 1e-5).all()


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "dppo", "low": 0},
        {"name": "dppo", "high": 1.1},
        {"name": "dppo", "ratio_cap": 0.5},
        {"name": "dppo", "kl_coefficient": -1},
        {"name": "dppo", "divergence": "js"},
        {"name": "dppo", "anchor": "reference"},
        {"name": "ce_gppo", "clip_low": 1.5},
        {"name": "ce_gppo", "beta_low": -1},
        {"name": "ce_gppo", "dual_clip": 1.1},
    ],
)
def test_ranges(spec):
    with pytest.raises(ConfigError, match=spec["name"]):
        build("loss", spec)


def test_a_kl_threshold_may_exceed_one():
    assert build("loss", {"name": "dppo", "divergence": "kl", "high": 2.0}).high == 2
