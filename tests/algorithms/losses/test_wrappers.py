"""Policies around a policy: masks, corrections, penalties, bonuses, each against its formula."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tersely.algorithms.losses.covariance import token_covariance
from tersely.core.build import build


def loss_and_gradient(spec, batch, leaf="logp"):
    loss = build("loss", spec)(batch)[0]
    return loss.detach(), torch.autograd.grad(loss.sum(), getattr(batch, leaf), retain_graph=True)[0]


def test_high_entropy_mask_keeps_the_top_fraction(make_batch):
    batch = make_batch(6, 11)
    base, _ = loss_and_gradient("clip", batch)
    valid = batch.valid
    threshold = torch.quantile(batch.entropy[valid], 0.8)
    kept = valid & (batch.entropy >= threshold)
    loss, _ = loss_and_gradient("high_entropy_mask", batch)
    torch.testing.assert_close(loss, torch.where(kept, base, 0.0))
    scaled, _ = loss_and_gradient({"name": "high_entropy_mask", "rescale": "kept"}, batch)
    torch.testing.assert_close(scaled, torch.where(kept, base, 0.0) * valid.sum() / kept.sum())
    torch.testing.assert_close(scaled.sum() / valid.sum(), base[kept].mean())
    torch.testing.assert_close(loss_and_gradient({"name": "high_entropy_mask", "fraction": 1}, batch)[0], base)
    flat = dataclasses.replace(batch, entropy=torch.full_like(batch.entropy, 0.3))
    torch.testing.assert_close(loss_and_gradient("high_entropy_mask", flat)[0], base)


@pytest.mark.parametrize("mode", ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"])
def test_sampler_correction_weights(mode, make_batch):
    batch = make_batch(8, 9, spread=0.8)
    sampler = batch.sampler_logp.clone()
    sampler[0, 0] = torch.nan
    batch = dataclasses.replace(batch, sampler_logp=sampler)
    base, slope = loss_and_gradient("clip", batch)
    loss, gradient = loss_and_gradient({"name": "sampler_correction", "mode": mode, "cap": 1.5, "floor": 0.7}, batch)
    d = torch.where(batch.valid, batch.old_logp - sampler, 0.0).nan_to_num(0.0)
    w = (d.sum(1, keepdim=True) if mode.startswith("sequence") else d).exp().expand_as(base)
    w = w.clamp(0.7, 1.5) if mode.endswith("truncate") else torch.where((w >= 0.7) & (w <= 1.5), w, 0.0)
    torch.testing.assert_close(loss, w * base)
    torch.testing.assert_close(gradient, w * slope)
    metrics = build("loss", {"name": "sampler_correction", "mode": mode, "cap": 1.5, "floor": 0.7})(batch)[1]
    share = (w == 0)[batch.valid].double().mean() if mode.endswith("mask") else 0.0
    assert metrics["sampler/masked_share"].item() == pytest.approx(float(share))
    assert mode.startswith("sequence") or w[0, 0] == 1


def inside_by_hand(row, window, threshold):
    inside = [False] * len(row)
    for t in range(len(row)):
        span = range(t + 1, t + 1 + window)
        if span[-1] < len(row) and sum(row[j] for j in span) / window >= threshold:
            for j in span:
                inside[j] = True
    return inside


@pytest.mark.parametrize("window", [1, 2, 4])
def test_window_kl_discounts_inside_windows(window, make_batch):
    holes = (torch.rand(6, 12, generator=torch.Generator().manual_seed(4)) < 0.7).double()
    for mask in (None, holes):
        batch = make_batch(6, 12, mask=mask)
        spec = {"name": "window_kl", "window": window, "threshold": 1.1, "beta": 0.2, "discount": 0.3}
        loss, _ = loss_and_gradient(spec, batch)
        base, _ = loss_and_gradient("clip", batch)
        d = (batch.ref_logp - batch.logp).detach()
        weight = torch.ones_like(d)
        for i in range(6):
            places = batch.valid[i].nonzero().flatten()
            hand = inside_by_hand(batch.entropy[i][places].tolist(), window, 1.1)
            weight[i, places[torch.tensor(hand, dtype=torch.bool)]] = 0.3
        assert (weight < 1).any()
        valid = batch.valid
        torch.testing.assert_close(loss[valid], (base + 0.2 * weight * (d.exp() - d - 1))[valid])


def test_window_kl_without_discount_is_a_kl_penalty(make_batch):
    batch = make_batch(4, 9)
    ours = loss_and_gradient({"name": "window_kl", "discount": 1, "threshold": 0.1}, batch)
    torch.testing.assert_close(ours, loss_and_gradient({"name": "kl_penalty", "beta": 0.01}, batch))


@pytest.mark.parametrize("form", ["scaled", "released"])
def test_tea_rl_bonus_and_its_gradient(form, make_batch):
    batch = make_batch(6, 9)
    spec = {"name": "tea_rl", "form": form, "temperature": 0.5, "cap": 1.5}
    loss, gradient = loss_and_gradient(spec, batch, "live_entropy")
    base, slope = loss_and_gradient("clip", batch)
    cov, valid = token_covariance(batch), batch.valid
    u = torch.zeros_like(cov)
    for i in range(6):
        w = torch.softmax(cov[i][valid[i]] / 0.5, 0)
        u[i, valid[i]] = (len(w) * w).clamp(max=1.5) if form == "scaled" else (10 * w).clamp(0, 5)
    torch.testing.assert_close(loss[valid], (base - 0.05 * u * batch.live_entropy.detach())[valid])
    torch.testing.assert_close(gradient, torch.where(valid, -0.05 * u, 0.0))
    torch.testing.assert_close(loss_and_gradient(spec, batch)[1], slope, msg="the weights leak gradient")


def test_covariance_is_of_the_valid_tokens(make_batch):
    batch = make_batch(5, 7)
    valid = batch.valid
    a, lp = batch.advantage[valid], batch.logp.detach()[valid]
    torch.testing.assert_close(token_covariance(batch)[valid], (a - a.mean()) * (lp - lp.mean()))
    assert not token_covariance(batch).requires_grad
