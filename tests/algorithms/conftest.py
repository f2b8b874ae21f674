"""Random micro-batches and groups for the tests of token-level components."""

from __future__ import annotations

import math

import pytest
import torch

from tersely.core.memory import PromptMemory
from tersely.core.types import Rollouts, TokenBatch


def token_batch(rows=4, width=7, seed=0, dtype=torch.float64, spread=0.4, mask=None, token_credit=True, **changes):
    """(B, T) of everything a policy may ask for; logp and live_entropy are leaves with gradient; padding holds nan."""
    g = torch.Generator().manual_seed(seed)

    def normal(scale=1.0):
        return scale * torch.randn(rows, width, generator=g, dtype=dtype)

    if mask is None:
        lengths = torch.randint(1, width + 1, (rows, 1), generator=g)
        mask = (torch.arange(width) < lengths).to(dtype)
    valid = mask.bool()
    logp = -torch.rand(rows, width, generator=g, dtype=dtype) * 3 - 0.05
    entropy = torch.rand(rows, width, generator=g, dtype=dtype) * 2 + 0.01
    advantage = normal() if token_credit else normal()[:, :1].expand(rows, width).clone()
    values = {
        "old_logp": logp + normal(spread),
        "entropy": entropy,
        "advantage": advantage,
        "ref_logp": logp + normal(spread),
        "sampler_logp": logp + normal(spread / 2),
        **changes,
    }
    values = {k: torch.where(valid, v, torch.nan) if isinstance(v, torch.Tensor) else v for k, v in values.items()}
    live = torch.where(valid, entropy, torch.nan).requires_grad_()
    leaf = torch.where(valid, logp, torch.nan).requires_grad_()
    return TokenBatch(logp=values.pop("logp", leaf), mask=mask, live_entropy=live, **values)


def rollouts(group_size=4, prompts=3, width=12, seed=0, undecided=0.1, memory=None, **changes):
    """Whole groups with entropies (nan past the end) and token ids (-1 past the end) of a small vocabulary."""
    g = torch.Generator().manual_seed(seed)
    rows = group_size * prompts
    correct = (torch.rand(rows, generator=g) < 0.5).float()
    correct[torch.rand(rows, generator=g) < undecided] = math.nan
    length = torch.randint(1, width + 1, (rows,), generator=g)
    past = torch.arange(width) >= length.unsqueeze(1)
    values = {
        "correct": correct,
        "length": length,
        "entropy": (torch.rand(rows, width, generator=g) * 0.6).masked_fill(past, math.nan),
        "token_ids": torch.randint(0, 9, (rows, width), generator=g).masked_fill(past, -1),
        **changes,
    }
    return Rollouts(
        group_size=group_size,
        prompt_id=[f"q{i // group_size}" for i in range(rows)],
        truncated=torch.zeros(rows, dtype=torch.bool),
        max_length=width,
        memory=PromptMemory() if memory is None else memory,
        **values,
    )


@pytest.fixture
def make_batch():
    return token_batch


@pytest.fixture
def make_rollouts():
    return rollouts
