"""What every policy keeps, whatever its formula: exact zeros, finite gradients, nothing read from padding."""

from __future__ import annotations

import dataclasses
import warnings

import pytest
import torch

from tersely.algorithms import LOSSES
from tersely.algorithms.loss_dependence import made_up_comparison
from tersely.core.build import build
from tersely.core.errors import ConfigError

FORMS = [
    {"name": "clip", "dual_clip": 3.0},
    {"name": "clip", "importance": "sequence"},
    {"name": "hapo", "form": "as_released"},
    {"name": "hapo", "zone": "base", "dual_clip": None},
    {"name": "gspo", "form": "token"},
    {"name": "clip_cov", "cov_low": 0.1, "fraction": 0.3},
    {"name": "kl_cov", "fraction": 0.3},
    {"name": "bapo", "form": "active"},
    {"name": "high_entropy_mask", "rescale": "kept", "fraction": 0.4},
    {"name": "sampler_correction", "mode": "token_mask"},
    {"name": "sampler_correction", "mode": "sequence_truncate"},
    {"name": "sampler_correction", "mode": "sequence_mask"},
    {"name": "kl_penalty", "estimator": "k1"},
    {"name": "kl_penalty", "estimator": "k2", "importance_weighted": True},
    {"name": "window_kl", "window": 2, "threshold": 0.5},
    {"name": "tea_rl", "form": "released"},
    {"name": "kl_penalty", "base": {"name": "high_entropy_mask", "base": {"name": "hapo"}}},
]
SPECS = [{"name": name} for name in LOSSES] + FORMS
every_policy = pytest.mark.parametrize("spec", SPECS, ids=[str(list(spec.values())) for spec in SPECS])


def run(loss_fn, batch):
    """Loss (B, T) and the gradient of its sum."""
    known = torch.where(batch.valid, batch.logp, -1.0)
    batch = dataclasses.replace(batch, compared=made_up_comparison(loss_fn, known))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss, metrics = loss_fn(batch)
    assert loss.shape == batch.logp.shape
    for name, value in metrics.items():
        assert value.dim() == 0 and not value.requires_grad and value.isfinite(), name
    gradient = torch.autograd.grad(loss.sum(), batch.logp, allow_unused=True)[0]
    return loss, torch.zeros_like(loss) if gradient is None else gradient


def degenerate(make_batch):
    full = torch.ones(3, 5)
    ragged = torch.tensor([[1.0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]])
    yield "one row", make_batch(rows=1)
    yield "one token", make_batch(width=1)
    yield "one-token and fully masked rows", make_batch(3, 5, mask=ragged)
    yield "fully masked batch", make_batch(3, 5, mask=torch.zeros(3, 5))
    yield "holes in the mask", make_batch(3, 5, mask=torch.tensor([[0.0, 1, 0, 1, 1]] * 3))
    yield "zero entropy", make_batch(3, 5, mask=full, entropy=torch.zeros(3, 5))
    yield "constant entropy", make_batch(3, 5, mask=full, entropy=torch.full((3, 5), 0.7))
    yield "no rows", make_batch(0, 5)
    yield "zero advantage", make_batch(3, 5, advantage=torch.zeros(3, 5))
    yield "float32", make_batch(3, 5, dtype=torch.float32)
    for gap in (100.0, -100.0):
        batch = make_batch(3, 5, dtype=torch.float32)
        moved = {n: batch.logp.detach() - gap for n in ("old_logp", "ref_logp", "sampler_logp")}
        yield f"log-ratio {gap}", dataclasses.replace(batch, **moved)
    batch = make_batch(3, 5)
    yield "ratio 1", dataclasses.replace(batch, old_logp=batch.logp.detach(), ref_logp=batch.logp.detach())


@every_policy
def test_survives_every_degenerate_batch(spec, make_batch):
    loss_fn = build("loss", spec)
    for case, batch in degenerate(make_batch):
        loss, gradient = run(loss_fn, batch)
        outside = ~batch.valid
        assert loss.isfinite().all() and gradient.isfinite().all(), case
        assert (loss[outside] == 0).all() and (gradient[outside] == 0).all(), case


@every_policy
def test_padding_is_never_read(spec, make_batch):
    loss_fn = build("loss", spec)
    batch = make_batch(5, 9, seed=3)
    assert not batch.valid.all()
    loss, gradient = run(loss_fn, batch)
    for filler in (1e6, -1e6, 0.0, torch.inf):
        changes = {
            field.name: torch.where(batch.valid, value.detach(), filler).requires_grad_(value.requires_grad)
            for field in dataclasses.fields(batch)
            if isinstance(value := getattr(batch, field.name), torch.Tensor) and field.name != "mask"
        }
        other, other_gradient = run(loss_fn, dataclasses.replace(batch, **changes))
        torch.testing.assert_close(other, loss, rtol=0, atol=0)
        torch.testing.assert_close(other_gradient, gradient, rtol=0, atol=0)


# What these treat as a constant depends on logp, so a finite difference of the whole value says something else.
DETACHED = {"hapo", "cispo", "gspo", "clip_cov", "bapo", "tea_rl", "kl_cov", "dppo", "ce_gppo"}


def names(spec):
    while isinstance(spec, dict):
        yield spec["name"]
        spec = spec.get("base")


@every_policy
def test_gradient_equals_finite_differences(spec, make_batch):
    if DETACHED & set(names(spec)):
        pytest.skip("its weights are detached functions of logp; its own tests check the gradient")
    loss_fn = build("loss", spec)
    batch = make_batch(3, 6, seed=5)
    _, gradient = run(loss_fn, batch)
    step = 1e-6
    for place in batch.valid.nonzero().tolist():
        sums = []
        for sign in (1, -1):
            logp = batch.logp.detach().clone()
            logp[tuple(place)] += sign * step
            moved = dataclasses.replace(batch, logp=logp.requires_grad_())
            sums.append(run(loss_fn, moved)[0].sum().item())
        assert gradient[tuple(place)].item() == pytest.approx((sums[0] - sums[1]) / (2 * step), abs=1e-5, rel=1e-5)


@every_policy
def test_half_precision_is_computed_in_float32(spec, make_batch):
    batch = make_batch(3, 6, dtype=torch.float32)
    half = {
        field.name: value.detach().bfloat16().requires_grad_(value.requires_grad)
        for field in dataclasses.fields(batch)
        if isinstance(value := getattr(batch, field.name), torch.Tensor)
    }
    loss, gradient = run(build("loss", spec), dataclasses.replace(batch, **half))
    assert loss.dtype == torch.float32 and gradient.isfinite().all()


@pytest.mark.parametrize(
    ("name", "field"),
    [("kl_penalty", "ref_logp"), ("window_kl", "ref_logp"), ("archer", "ref_logp")]
    + [("sampler_correction", "sampler_logp"), ("tea_rl", "live_entropy")]
    + [(name, "entropy") for name in ("hapo", "archer", "high_entropy_mask", "window_kl")],
)
def test_a_missing_input_is_named(name, field, make_batch):
    batch = dataclasses.replace(make_batch(), **{field: None})
    with pytest.raises(ValueError, match=field):
        build("loss", name)(batch)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "clip", "clip_low": -0.1},
        {"name": "clip", "clip_low": 1.1},
        {"name": "clip", "clip_high": 0.2, "dual_clip": 1.2},
        {"name": "clip", "dual_clip": float("nan")},
        {"name": "hapo", "clip_low": 1.5},
        {"name": "hapo", "dual_clip": 1.1},
        {"name": "hapo", "pivot_quantile": 1.2},
        {"name": "hapo", "advantage_strength": 1.5},
        {"name": "hapo", "form": "typo"},
        {"name": "sapo", "tau_pos": 0},
        {"name": "cispo", "ratio_cap": 0.9},
        {"name": "gspo", "clip_high": -1e-4},
        {"name": "gspo", "form": "row"},
        {"name": "gmpo", "clip_low": -1},
        {"name": "clip_cov", "fraction": 0},
        {"name": "clip_cov", "dual_clip": 2.0},
        {"name": "kl_cov", "fraction": 1.5},
        {"name": "archer", "pivot_quantile": -0.1},
        {"name": "archer", "dual_clip": 1.4},
        {"name": "dcpo", "clip_low": -0.1},
        {"name": "bapo", "dual_clip": 2.9},
        {"name": "bapo", "form": "paper"},
        {"name": "high_entropy_mask", "fraction": 0},
        {"name": "sampler_correction", "mode": "token"},
        {"name": "kl_penalty", "estimator": "k4"},
        {"name": "window_kl", "window": 0},
        {"name": "tea_rl", "temperature": 0},
    ],
)
def test_a_value_out_of_range_is_an_error_that_names_it(spec):
    name, field = spec["name"], list(spec)[-1]
    with pytest.raises(ConfigError, match=field):
        build("loss", spec)
    assert build("loss", name)


def test_a_wrapper_asks_for_what_its_base_needs():
    loss_fn = build("loss", {"name": "kl_penalty", "base": {"name": "high_entropy_mask", "base": "tea_rl"}})
    assert loss_fn.needs_live_entropy and loss_fn.needs_ref_logp
    assert not build("loss", "high_entropy_mask").needs_live_entropy
    assert build("loss", {"name": "sampler_correction", "base": "archer"}).needs_ref_logp
    assert not build("loss", {"name": "archer", "kl_coefficient": 0}).needs_ref_logp
