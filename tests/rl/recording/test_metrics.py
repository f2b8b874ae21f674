"""What a step records does not depend on how its rows were cut; shares add up; maxima are maxima."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from tersely.core.build import build
from tersely.core.types import TokenBatch
from tersely.rl.recording.metrics import StepMetrics

ALONE = SimpleNamespace(reduce=lambda x, reduction: x, gather=lambda x: x)


def batch(rows=4, width=8, seed=0):
    g = torch.Generator().manual_seed(seed)
    mask = (torch.arange(width) < torch.tensor([[8], [5], [4], [1]])[:rows]).float()
    logp = -torch.rand(rows, width, generator=g)
    return TokenBatch(
        logp=logp.requires_grad_(),
        old_logp=logp.detach() - torch.randn(rows, width, generator=g),
        entropy=torch.rand(rows, width, generator=g).masked_fill(mask == 0, torch.nan),
        mask=mask,
        advantage=torch.tensor([[1.0], [-1.0], [0.0], [2.0]])[:rows].expand(rows, width),
    )


def rows_of(whole, part):
    tensors = {f.name: getattr(whole, f.name) for f in dataclasses.fields(whole)}
    return dataclasses.replace(whole, **{k: v[part] for k, v in tensors.items() if isinstance(v, torch.Tensor)})


CORRECT = torch.tensor([1.0, 0.0, torch.nan, 1.0])


def recorded(parts):
    metrics, loss_fn, known = StepMetrics(), build("loss", "clip"), set()
    for part in parts:
        cut = rows_of(batch(), part)
        metrics.add(loss_fn(cut)[1], cut)
        metrics.add_entropies(cut.entropy, cut.valid, CORRECT[part])
    found = metrics.flush(ALONE, known)
    assert set(found) <= known | {"ratio/max_log"} and metrics.flush(ALONE, known) == {}
    return found


def test_the_cut_changes_nothing():
    whole, cut = recorded([slice(0, 4)]), recorded([slice(3, 4), slice(0, 1), slice(1, 3)])
    assert whole.keys() == cut.keys()
    assert cut == pytest.approx(whole, abs=1e-6)


def test_numbers_of_a_known_batch():
    found, b = recorded([slice(0, 4)]), batch()
    valid = b.mask.bool()
    assert found["entropy/of_trained"] == pytest.approx(b.entropy[valid].mean().item())
    assert found["entropy"] == pytest.approx(b.entropy[valid].mean().item())
    assert found["entropy/correct"] == pytest.approx(torch.cat([b.entropy[0], b.entropy[3, :1]]).mean().item())
    assert found["entropy/incorrect"] == pytest.approx(b.entropy[1, :5].mean().item())
    first = torch.cat([b.entropy[0, :2], b.entropy[1, :2], b.entropy[2, :1], b.entropy[3, :1]])
    assert found["entropy/part_1"] == pytest.approx(first.mean().item())
    shares = {name: found[f"tokens/{name}_share"] for name in ("positive", "negative", "zero")}
    assert shares == pytest.approx({"positive": 9 / 18, "negative": 5 / 18, "zero": 4 / 18})
    ratio = (b.logp - b.old_logp)[valid].exp()
    assert found["ratio/share_above_2"] == pytest.approx((ratio > 2).float().mean().item())
    assert found["ratio/share_below_0.5"] == pytest.approx((ratio <= 0.5).float().mean().item())
    assert sum(v for k, v in found.items() if k.startswith("ratio/share")) == pytest.approx(1.0)
    assert found["ratio/max_log"] == pytest.approx(ratio.log().abs().max().item(), rel=1e-5)


def test_a_step_without_tokens_records_no_mean_but_its_names_are_known():
    metrics, known = StepMetrics(), set()
    empty = dataclasses.replace(batch(), mask=torch.zeros(4, 8))
    metrics.add(build("loss", "clip")(empty)[1], empty)
    metrics.add_entropies(empty.entropy, empty.valid, CORRECT)
    assert metrics.flush(ALONE, known) == {"ratio/max_log": 0.0}
    assert {"entropy", "clip_ratio/low_mean"} <= known
