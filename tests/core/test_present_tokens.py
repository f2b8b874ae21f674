"""Which tokens token-level components see."""

from __future__ import annotations

import dataclasses

import torch

from tersely.core.types import Rollouts


def test_a_trained_prefill_is_not_among_the_sampled_tokens():
    """Row 0 has a prefill of two tokens, row 1 none; both sampled three."""
    from tersely.core.present_tokens import prefilled, present_tokens

    ids = torch.tensor([[7, 8, 1, 2, 3, -1], [1, 2, 3, -1, -1, -1]])
    rollouts = Rollouts(
        group_size=2, prompt_id=["a", "a"], correct=torch.ones(2), length=torch.tensor([3, 3]),
        truncated=torch.zeros(2, dtype=torch.bool), max_length=6, token_ids=ids,
    )  # fmt: skip
    assert prefilled(rollouts).flatten().tolist() == [2, 0]
    assert present_tokens(rollouts, 6).int().tolist() == [[0, 0, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]]
    without_ids = dataclasses.replace(rollouts, token_ids=None)
    assert present_tokens(without_ids, 6).int().tolist() == [[1, 1, 1, 0, 0, 0]] * 2
