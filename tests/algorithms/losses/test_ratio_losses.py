"""The ratio policies beside HAPO: the cards' numbers, values and gradients token by token."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from tersely.algorithms.losses.bapo import BAPO
from tersely.algorithms.losses.covariance import token_covariance
from tersely.core.build import build


def one(make_batch, x, advantage, **changes):
    """One row whose log-ratios and advantages are given."""
    width = len(x)
    batch = make_batch(1, width, mask=torch.ones(1, width), **changes)
    old = batch.logp.detach() - torch.tensor([x], dtype=torch.float64)
    return dataclasses.replace(batch, old_logp=old, advantage=torch.tensor([advantage], dtype=torch.float64))


def loss_and_gradient(spec, batch):
    loss = build("loss", spec)(batch)[0]
    return loss.detach(), torch.autograd.grad(loss.sum(), batch.logp)[0]


@pytest.mark.parametrize(("tau", "ratio", "weight"), [(1, 0.5, 0.94), (1, 2.0, 0.786), (1, 3.0, 0.42)])
def test_sapo_weights_of_the_card(tau, ratio, weight, make_batch):
    batch = one(make_batch, [math.log(ratio)], [1.0])
    _, gradient = loss_and_gradient({"name": "sapo", "tau_pos": tau}, batch)
    assert -gradient.item() / ratio == pytest.approx(weight, abs=5e-3)
    assert weight == pytest.approx(1 / math.cosh(tau * (ratio - 1) / 2) ** 2, abs=5e-3)


@pytest.mark.parametrize("tau", [0.1, 1.0, 1.05, 7.0])
def test_sapo_weight_is_one_at_ratio_one(tau, make_batch):
    batch = one(make_batch, [0.0, 0.0, 0.0], [1.5, -0.5, 0.0])
    loss, gradient = loss_and_gradient({"name": "sapo", "tau_pos": tau, "tau_neg": tau}, batch)
    torch.testing.assert_close(gradient, -batch.advantage)
    torch.testing.assert_close(loss, -2 * batch.advantage / tau)


def test_cispo_never_zeroes_a_gradient(make_batch):
    batch = make_batch(6, 9, spread=2.0)
    loss, gradient = loss_and_gradient("cispo", batch)
    weight = (batch.logp - batch.old_logp).detach().exp().clamp(max=5.0)
    valid = batch.valid
    torch.testing.assert_close(gradient[valid], (-weight * batch.advantage)[valid])
    torch.testing.assert_close(loss[valid], (-weight * batch.advantage * batch.logp.detach())[valid])
    assert (gradient[valid] != 0).all()


def test_gspo_forms_agree_on_row_constant_credit(make_batch):
    batch = make_batch(5, 8, token_credit=False, spread=0.02)
    for bounds in ({}, {"clip_low": 0.05, "clip_high": 0.05}):
        sequence = loss_and_gradient({"name": "gspo", **bounds}, batch)
        token = loss_and_gradient({"name": "gspo", "form": "token", **bounds}, batch)
        torch.testing.assert_close(sequence, token)


def test_gspo_warns_where_it_averages_credit_away(make_batch):
    batch = make_batch(3, 6)
    with pytest.warns(UserWarning, match="form: token"):
        _, gradient = loss_and_gradient({"name": "gspo", "clip_low": 1, "clip_high": 9}, batch)
    for row in range(3):
        values = gradient[row][batch.valid[row]]
        torch.testing.assert_close(values, values.mean().expand_as(values))
    _, gradient = loss_and_gradient({"name": "gspo", "form": "token", "clip_low": 1, "clip_high": 9}, batch)
    ratio = torch.stack([(batch.logp - batch.old_logp)[i][batch.valid[i]].mean().exp() for i in range(3)]).detach()
    torch.testing.assert_close(gradient[batch.valid], (-ratio[:, None] * batch.advantage)[batch.valid])


def test_gspo_on_one_token_completions_equals_clip(make_batch):
    batch = make_batch(6, 1, spread=0.001)
    clip = {"name": "clip", "clip_low": 3e-4, "clip_high": 4e-4}
    torch.testing.assert_close(loss_and_gradient("gspo", batch), loss_and_gradient(clip, batch))


def test_gmpo_gradient_is_shared_by_the_uncut_tokens(make_batch):
    batch = one(make_batch, [0.1, 0.9, -0.9, 0.3], [2.0] * 4)
    loss, gradient = loss_and_gradient("gmpo", batch)
    rho = math.exp((0.1 + 0.4 - 0.9 + 0.3) / 4)
    torch.testing.assert_close(loss, torch.full((1, 4), -2 * rho, dtype=torch.float64))
    torch.testing.assert_close(gradient, torch.tensor([[-2 * rho, 0, -2 * rho, -2 * rho]], dtype=torch.float64))


@pytest.mark.parametrize(("q", "bounds"), [(0.9, (0.769, 1.187)), (0.01, (0.5, 5.0)), (0.0, (0.5, 10.0))])
def test_dcpo_bounds_of_the_card(q, bounds, make_batch):
    old = math.log(q) if q else -1e4
    for ratio, advantage in ((bounds[0] - 0.01, -1.0), (bounds[1] + 0.02, 1.0)):
        for change, moves in ((0.0, False), (0.03 * advantage * -1, True)):
            x = math.log(ratio + change)
            batch = one(make_batch, [x], [advantage])
            batch = dataclasses.replace(
                batch,
                old_logp=torch.full((1, 1), old, dtype=torch.float64),
                logp=torch.full((1, 1), old + x, dtype=torch.float64, requires_grad=True),
            )
            _, gradient = loss_and_gradient("dcpo", batch)
            assert (gradient.item() != 0) == moves, (q, ratio, advantage)


def test_archer_bounds_and_kl(make_batch):
    batch = make_batch(5, 10, spread=0.5)
    spec = {"name": "archer", "kl_coefficient": 0.1, "high_kl_coefficient": 0.3, "pivot_quantile": 0.6}
    loss, _ = loss_and_gradient(spec, batch)
    valid = batch.valid
    high = torch.zeros_like(valid)
    for i in range(5):
        q = torch.quantile(batch.entropy[i][valid[i]], 0.6)
        high[i] = valid[i] & (batch.entropy[i] > q)
    n, n_high = valid.sum(), high.sum()
    r = (batch.logp - batch.old_logp).exp().detach()
    d = (batch.ref_logp - batch.logp).detach()
    k3 = d.exp() - d - 1
    eps = torch.where(high, 0.5, 0.2)
    a = batch.advantage
    ppo = -torch.minimum(r * a, torch.minimum(torch.maximum(r, 1 - eps), 1 + eps) * a)
    ppo = torch.where(a < 0, torch.minimum(ppo, -10 * a), ppo)
    weight = torch.where(high, 0.3 * n / n_high, 0.1 * n / (n - n_high))
    torch.testing.assert_close(loss[valid], (ppo + weight * k3)[valid])
    mean = loss[valid].mean()
    torch.testing.assert_close(mean, ppo[valid].mean() + 0.1 * k3[valid & ~high].mean() + 0.3 * k3[high].mean())


def test_clip_cov_zeroes_only_open_candidates(make_batch):
    batch = make_batch(6, 12, spread=1.0)
    everything = {"name": "clip_cov", "fraction": 1.0, "cov_low": 0.2, "cov_high": 2.0}
    loss, gradient = loss_and_gradient(everything, batch)
    cov, r, a = token_covariance(batch), (batch.logp - batch.old_logp).exp().detach(), batch.advantage
    clipped = -r.clamp(0, 2) * a > -r * a
    dropped = batch.valid & (cov > 0.2) & (cov < 2.0) & ~clipped
    assert dropped.any() and (clipped & batch.valid).any()
    base, _ = loss_and_gradient({"name": "clip", "clip_low": 1.0, "clip_high": 1.0}, batch)
    torch.testing.assert_close(loss, base.masked_fill(dropped, 0))
    assert (gradient[dropped] == 0).all()
    some = {**everything, "fraction": 0.05}
    n = int(batch.valid.sum())
    zeroed = (loss_and_gradient(some, batch)[0] == 0) & batch.valid & (base != 0)
    assert int(zeroed.sum()) == min(max(int(0.05 * n), 1), int(dropped.sum())) and (zeroed <= dropped).all()
    torch.manual_seed(1)
    again = (loss_and_gradient(some, batch)[0] == 0) & batch.valid & (base != 0)
    torch.testing.assert_close(again, zeroed)
    state = torch.get_rng_state()
    build("loss", some)(batch)
    assert torch.equal(state, torch.get_rng_state()), "the global generator was used"
    other = [(build("loss", {**some, "seed": s})(batch)[0] == 0) & batch.valid & (base != 0) for s in range(20)]
    assert any(not torch.equal(o, zeroed) for o in other)
    assert loss_and_gradient({**everything, "cov_low": 90, "cov_high": 91}, batch)[0].equal(base)


def test_kl_cov_holds_the_tokens_of_largest_covariance(make_batch):
    batch = make_batch(6, 12, spread=0.5)
    loss, gradient = loss_and_gradient({"name": "kl_cov", "fraction": 0.1, "coefficient": 0.7}, batch)
    valid, x = batch.valid, (batch.logp - batch.old_logp).detach()
    n = int(valid.sum())
    cov = token_covariance(batch)
    cut = cov[valid].sort(descending=True).values[max(1, int(0.1 * n)) - 1]
    held = valid & (cov >= cut)
    plain = -x.exp() * batch.advantage
    torch.testing.assert_close(loss[valid], (plain + 0.7 * held * x.abs())[valid])
    torch.testing.assert_close(gradient[valid], (plain + 0.7 * held * x.sign())[valid])


def test_kl_cov_takes_the_lowest_index_among_ties(make_batch):
    batch = one(make_batch, [0.5] * 6, [1.0] * 6)
    loss, _ = loss_and_gradient({"name": "kl_cov", "fraction": 0.4}, batch)
    assert (loss - loss.min() > 0.1).flatten().tolist() == [True, True, False, False, False, False]


def searched(loss_fn: BAPO, ratio, advantage):
    """The card's loop, word by word."""
    low, high, k, j = loss_fn.low_min, loss_fn.high_min, 0, 0

    def rho():
        plus = minus = 0.0
        for r, a in zip(ratio, advantage, strict=True):
            if a >= 0:
                e = a * min(r, high) if loss_fn.form == "as_released" else a * r * (r <= high)
                plus += e
            else:
                e = a * max(r, low) if loss_fn.form == "as_released" else a * r * (r >= low)
                minus += e
        return plus / (abs(minus) + 1e-8)

    while rho() < loss_fn.target:
        if loss_fn.low_min + (k + 1) * loss_fn.low_step <= loss_fn.low_max + 1e-9:
            k += 1
            low = loss_fn.low_min + k * loss_fn.low_step
        elif loss_fn.high_min + (j + 1) * loss_fn.high_step <= loss_fn.high_max + 1e-9:
            j += 1
            high = loss_fn.high_min + j * loss_fn.high_step
        else:
            break
    return low, high


@pytest.mark.parametrize("form", ["as_released", "active"])
@pytest.mark.parametrize("target", [0.0, 0.5, 0.9, 1.0, 1.1, 50.0])
def test_bapo_searches_as_the_card_says(form, target):
    for seed in range(6):
        g = torch.Generator().manual_seed(seed)
        ratio, advantage = torch.randn(200, generator=g).mul(0.6).exp().double(), torch.randn(200, generator=g).double()
        loss_fn = BAPO(form=form, target=target)
        assert loss_fn.search(ratio, advantage) == pytest.approx(searched(loss_fn, ratio.tolist(), advantage.tolist()))


def test_bapo_at_its_limits(make_batch):
    batch = make_batch(6, 9, spread=0.6)
    clip = {"name": "clip", "clip_low": 0.4, "clip_high": 0.2, "dual_clip": 3.0}
    torch.testing.assert_close(loss_and_gradient({"name": "bapo", "target": 0}, batch), loss_and_gradient(clip, batch))
    ones = torch.ones(3).double()
    assert BAPO().search(ones, ones) == (0.6, 1.2)
    assert BAPO().search(ones, -ones) == pytest.approx((0.9, 3.0))
    assert BAPO().search(ones, 0 * ones) == pytest.approx((0.9, 3.0))
    joined = BAPO(target=1.0)
    joined.all_reduce = lambda sums: sums * torch.cat([torch.full((37,), 9.0), torch.ones(7)])
    assert joined.search(ones, torch.tensor([1.0, -1.0, -1.0]).double()) == (0.6, 1.2)
