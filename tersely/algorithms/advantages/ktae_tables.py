"""KTAE's statistics: how strongly a token id is associated with correct or incorrect rollouts of one group.

Paper: arXiv 2505.16826, from the released code.
    a, b = correct and incorrect rollouts that contain the id, of nT and nF
    p  two-sided Fisher exact test of [[a, b], [nT - a, nF - b]]: probabilities <= the observed one (slack 1e-7), at most 1
    F  = exp(-2 p), 0 where p > 1 - 1e-6
    IG = H2(nT, nF) - (a+b)/n H2(a, b) - (n-a-b)/n H2(nT-a, nF-b)      bits
    D  = asin sqrt(a/nT) - asin sqrt(b/nF) [ + TF_T/(TF_F+e) - TF_F/(TF_T+e) with use_frequency ]
    TF = f (k1+1) / (f + k1 (1 - b + b total/avg)) per side, f = count/total
    K  = 2 top (sigmoid((w_F F + w_G IG)/(w_F + w_G) D) - 1/2)
Symbols: counts of tokens and rollouts; total tokens of a side; avg the mean of both totals; e = frequency_eps.
Degenerate: a side without tokens has f = 0.
Pitfalls: float64 throughout (lgamma in float32 breaks p = 1). Only (nT+1)(nF+1) tables exist, so tests are cached per pair
    (a, b); ids are numbered by `unique`, never by the vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def key_token_values(
    tokens: Tensor, row: Tensor, right: Tensor, n_right: int, n_wrong: int, settings: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """(ids (U,), index (M,) into them, K (U,) float64) for the M tokens of a group's decided rollouts.

    `tokens` (M,) ids, `row` (M,) their rollout in the group, `right` (K,) bool; `settings` a `KTAE`.
    """
    unique, index = number_ids(tokens)
    count = len(unique)
    present = torch.zeros(len(right) * count, dtype=torch.bool, device=tokens.device)
    present[row * count + index] = True
    present = present.view(len(right), count)
    a = present[right].sum(0)
    b = present[~right].sum(0)
    association, gain, difference = contingency_tables(n_right, n_wrong, tokens.device)
    weights = settings.fisher_weight + settings.gain_weight
    strength = (settings.fisher_weight * association + settings.gain_weight * gain) / weights
    direction = difference[a, b]
    if settings.use_frequency:
        from_right = right[row]
        counts_right = torch.bincount(index[from_right], minlength=count).double()
        counts_wrong = torch.bincount(index, minlength=count).double() - counts_right
        direction = direction + frequency_difference(counts_right, counts_wrong, settings)
    values = 2 * settings.top * (torch.sigmoid(strength[a, b] * direction) - 0.5)
    return unique, index, values


def number_ids(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """(U,) sorted distinct ids and (M,) the index of each token's id in them."""
    lowest, highest = int(tokens.min()), int(tokens.max())
    if highest - lowest >= 8 * tokens.numel() + 1024:
        return torch.unique(tokens, return_inverse=True)
    seen = torch.zeros(highest - lowest + 1, dtype=torch.bool, device=tokens.device)
    seen[tokens - lowest] = True
    place = seen.cumsum(0) - 1
    return seen.nonzero().flatten() + lowest, place[tokens - lowest]


def contingency_tables(n_right: int, n_wrong: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """F, IG, D without frequency, each (nT+1, nF+1) float64, by (a, b)."""
    a = torch.arange(n_right + 1, dtype=torch.float64).unsqueeze(1)
    b = torch.arange(n_wrong + 1, dtype=torch.float64).unsqueeze(0)
    p = fisher_p(n_right, n_wrong)
    association = torch.where(p > 1 - 1e-6, 0.0, torch.exp(-2 * p))
    n = float(n_right + n_wrong)
    whole = binary_entropy(torch.tensor(float(n_right)), torch.tensor(float(n_wrong)))
    with_it, without = binary_entropy(a, b), binary_entropy(n_right - a, n_wrong - b)
    gain = whole - (a + b) / n * with_it - (n - a - b) / n * without
    difference = torch.asin((a / n_right).sqrt()) - torch.asin((b / n_wrong).sqrt())
    return association.to(device), gain.to(device), difference.to(device)


def fisher_p(n_right: int, n_wrong: int) -> Tensor:
    """(nT+1, nF+1) two-sided p of each table with these margins, float64."""
    a = torch.arange(n_right + 1, dtype=torch.float64).view(-1, 1, 1)
    b = torch.arange(n_wrong + 1, dtype=torch.float64).view(1, -1, 1)
    other = torch.arange(n_right + 1, dtype=torch.float64).view(1, 1, -1)  # a of another table, same column sums
    total = a + b
    possible = (total - other >= 0) & (total - other <= n_wrong)
    norm = log_choose(torch.tensor(float(n_right + n_wrong), dtype=torch.float64), total)
    one = log_choose(torch.tensor(float(n_right), dtype=torch.float64), other)
    rest = log_choose(torch.tensor(float(n_wrong), dtype=torch.float64), (total - other).clamp(0, n_wrong))
    probability = torch.where(possible, (one + rest - norm).exp(), 0.0)
    index = torch.arange(n_right + 1).view(-1, 1, 1).expand(n_right + 1, n_wrong + 1, 1)
    observed = probability.gather(2, index)
    return torch.where(probability <= observed * (1 + 1e-7), probability, 0.0).sum(2).clamp(max=1.0)


def log_choose(n: Tensor, k: Tensor) -> Tensor:
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)


def binary_entropy(x: Tensor, y: Tensor) -> Tensor:
    """Bits of the split of x + y counts into x and y; 0 for no counts."""
    total = (x + y).double().clamp(min=1)
    return torch.special.entr(x / total).add(torch.special.entr(y / total)) / torch.log(torch.tensor(2.0).double())


def frequency_difference(counts_right: Tensor, counts_wrong: Tensor, settings: Any) -> Tensor:
    """(U,) TF_T / (TF_F + e) - TF_F / (TF_T + e)."""
    totals = counts_right.sum(), counts_wrong.sum()
    average = (totals[0] + totals[1]) / 2
    k1, b, e = settings.k1, settings.b, settings.frequency_eps
    scaled = []
    for counts, total in zip((counts_right, counts_wrong), totals, strict=True):
        f = counts / total.clamp(min=1)
        norm = f + k1 * (1 - b + b * total / average)
        scaled.append(torch.where(f > 0, f * (k1 + 1) / norm, 0.0))
    right, wrong = scaled
    return right / (wrong + e) - wrong / (right + e)
