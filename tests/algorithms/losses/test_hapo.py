"""HAPO's loss against plain Python, its limits, its sign slip, and the scope of its statistics."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tersely.algorithms.losses.hapo import HAPO
from tersely.core.build import build


def reference(batch, p: HAPO):
    """(B, T) loss and gradient, token by token."""
    valid = batch.valid
    levels = sorted(math.log(max(h, p.entropy_floor)) for h in batch.entropy[valid].tolist())
    q = levels[math.floor(p.pivot_quantile * (len(levels) - 1) + 0.5)]
    up, down = max(levels[-1] - q, 1e-6), max(q - levels[0], 1e-6)
    loss, gradient = torch.zeros_like(batch.logp), torch.zeros_like(batch.logp)
    for place in valid.nonzero().tolist():
        i, t = place
        level = math.log(max(batch.entropy[i, t].item(), p.entropy_floor))
        h = (level - q) / (up if level > q else down)
        if p.form == "as_released":
            h = abs(h)
        left = p.clip_low * (1 - p.clip_strength * h) if h <= 0 else p.clip_low
        right = p.clip_high * (1 + p.clip_strength * h) if h > 0 else p.clip_high
        zl, zr = (left, right) if p.zone == "adapted" else (p.clip_low, p.clip_high)
        x = (batch.logp[i, t] - batch.old_logp[i, t]).item()
        r, a = math.exp(x), batch.advantage[i, t].item()
        inside = 1 - zl / 2 <= r <= 1 + zr / 2
        if (h > 0 and not inside) or (h <= 0 and inside):
            a *= 1 + p.advantage_strength * h
        value = max(-r * a, -min(max(r, 1 - left), 1 + right) * a)
        slope = -r * a if -r * a == value else 0.0
        if a < 0 and p.dual_clip is not None and -p.dual_clip * a < value:
            value, slope = -p.dual_clip * a, 0.0
        loss[i, t], gradient[i, t] = value, slope
    return loss, gradient


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"form": "as_released"},
        {"zone": "base"},
        {"clip_strength": 0.4, "advantage_strength": 0.7, "clip_high": 0.28},
        {"pivot_quantile": 0.0, "dual_clip": None},
        {"pivot_quantile": 1.0, "dual_clip": 1.3},
    ],
)
def test_equals_the_plain_python_formula(settings, make_batch):
    loss_fn = HAPO(**settings)
    for seed in range(5):
        batch = make_batch(5, 13, seed=seed, spread=0.3)
        loss, metrics = loss_fn(batch)
        expected, slope = reference(batch, loss_fn)
        torch.testing.assert_close(loss, expected, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(torch.autograd.grad(loss.sum(), batch.logp)[0], slope, atol=1e-9, rtol=1e-9)
        assert 0 <= metrics["hapo/rescaled_share"] <= 1


def equal(one, other, batch):
    a, b = one(batch)[0], other(batch)[0]
    torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    gradients = [torch.autograd.grad(x.sum(), batch.logp)[0] for x in (a, b)]
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=0)


def test_constant_entropy_equals_clip(make_batch):
    @given(st.integers(0, 1000), st.floats(1e-6, 5))
    def check(seed, level):
        batch = make_batch(4, 6, seed=seed)
        batch = dataclasses.replace(batch, entropy=torch.full_like(batch.entropy, level))
        equal(HAPO(), build("loss", {"name": "clip", "dual_clip": 10.0}), batch)
        equal(HAPO(form="as_released"), build("loss", {"name": "clip", "dual_clip": 10.0}), batch)

    check()


def test_no_strength_equals_dapo(make_batch):
    batch = make_batch(6, 9)
    hapo = HAPO(clip_high=0.28, clip_strength=0, advantage_strength=0)
    equal(hapo, build("loss", {"name": "clip", "clip_high": 0.28, "dual_clip": 10.0}), batch)


def test_scaling_all_entropies_changes_nothing(make_batch):
    batch = make_batch(6, 9)
    scaled = dataclasses.replace(batch, entropy=batch.entropy * 37.0)
    torch.testing.assert_close(HAPO()(scaled)[0], HAPO()(batch)[0], atol=1e-12, rtol=0)


def test_low_entropy_opens_the_left_and_high_entropy_the_right(make_batch):
    entropy = torch.tensor([[0.01, 1.0, 1.0, 1.0, 1.0, 3.0]])
    batch = make_batch(1, 6, mask=torch.ones(1, 6), entropy=entropy)
    h = HAPO(pivot_quantile=0.5).signal(batch)[0]
    assert h.tolist() == pytest.approx([-1, 0, 0, 0, 0, 1])
    old = batch.logp.detach() - math.log(0.65)  # every ratio 0.65
    low = dataclasses.replace(batch, old_logp=old, advantage=-torch.ones(1, 6))
    loss_fn = HAPO(pivot_quantile=0.5, advantage_strength=0)
    gradient = torch.autograd.grad(loss_fn(low)[0].sum(), batch.logp)[0][0]
    assert (gradient != 0).tolist() == [True, False, False, False, False, False]
    old = batch.logp.detach() - math.log(1.35)
    high = dataclasses.replace(batch, old_logp=old, advantage=torch.ones(1, 6))
    gradient = torch.autograd.grad(loss_fn(high)[0].sum(), batch.logp)[0][0]
    assert (gradient != 0).tolist() == [False, False, False, False, False, True]
    released = HAPO(pivot_quantile=0.5, advantage_strength=0, form="as_released")
    gradient = torch.autograd.grad(released(high)[0].sum(), batch.logp)[0][0]
    assert (gradient != 0).tolist() == [True, False, False, False, False, True], "the slip: right bound at low entropy"


def test_step_statistics_do_not_depend_on_the_cut(make_batch):
    batch = make_batch(6, 9)
    loss_fn = HAPO(statistics="step")
    assert loss_fn.needs_step_entropy and not HAPO().needs_step_entropy
    with pytest.raises(ValueError, match="observe_step"):
        loss_fn(batch)
    loss_fn.observe_step(batch.entropy, batch.mask)
    whole = loss_fn(batch)[0]
    torch.testing.assert_close(whole, HAPO()(batch)[0], atol=1e-12, rtol=0)
    parts = []
    for rows in (slice(0, 1), slice(1, 6)):
        changes = {
            f.name: v[rows] for f in dataclasses.fields(batch) if isinstance(v := getattr(batch, f.name), torch.Tensor)
        }
        parts.append(loss_fn(dataclasses.replace(batch, **changes))[0])
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-12, rtol=0)
    beyond = dataclasses.replace(batch, entropy=batch.entropy * 100)
    assert loss_fn.signal(beyond).abs().max() <= 1
