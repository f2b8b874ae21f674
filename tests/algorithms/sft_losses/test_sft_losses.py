"""The cold-start losses against loops over tokens: weights, loss and gradient."""

from __future__ import annotations

import math

import pytest
import torch

from tersely import build


def tokens(seed, ties):
    g = torch.Generator().manual_seed(seed)
    nll, entropy = 3 * torch.rand(3, 7, generator=g), 2 * torch.rand(3, 7, generator=g)
    mask = torch.rand(3, 7, generator=g) < (0.0, 0.6, 1.0)[seed % 3]
    mask[1] &= seed % 2 == 0
    if ties:
        nll, entropy = nll.round(), torch.zeros(3, 7)
    return nll, entropy, mask


def check(spec, nll, entropy, mask, weights, loss, gradient):
    leaf = torch.where(mask, nll, torch.nan).requires_grad_()
    found_weights, found = build("sft_loss", spec)(leaf, torch.where(mask, entropy, 1e6), mask.float())
    assert torch.allclose(found_weights.float(), weights, atol=1e-5)
    assert found.item() == pytest.approx(loss, abs=1e-5)
    found.backward()
    assert torch.allclose(leaf.grad, gradient, atol=1e-5)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("fraction", "entropy_weight"), [(0.8, 0.8), (0.2, 1.0), (0.01, 0.0), (1.0, 0.8)])
def test_entropy_sft_keeps_the_most_surprising(seed, ties, fraction, entropy_weight):
    nll, entropy, mask = tokens(seed, ties)
    places = [tuple(place) for place in mask.nonzero().tolist()]
    score = (nll - entropy_weight * entropy).tolist()
    places.sort(key=lambda place: (-score[place[0]][place[1]], place))
    kept = places[: max(1, math.floor(fraction * len(places)))]
    weights = torch.zeros(3, 7)
    for place in kept:
        weights[place] = 1.0
    count = max(len(kept), 1)
    loss = sum(nll[place].item() for place in kept) / count
    spec = {"name": "entropy_sft", "fraction": fraction, "entropy_weight": entropy_weight}
    check(spec, nll, entropy, mask, weights, loss, weights / count)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("floor", [0.01, 0.3])
def test_talr_weighs_by_probability(seed, floor):
    nll, entropy, mask = tokens(seed, False)
    means = sorted(nll[i][mask[i]].mean().item() for i in range(3) if mask[i].any())
    tau = (means[(len(means) - 1) // 2] + means[len(means) // 2]) / 2 if means else 1.0
    weights = torch.where(mask, torch.exp(-nll / tau).clamp(min=floor), 0.0)
    count = max(int(mask.sum()), 1)
    loss = (weights * nll).sum().item() / count
    check({"name": "talr", "floor": floor}, nll, entropy, mask, weights, loss, weights / count)
