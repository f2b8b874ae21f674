"""VeriFree's likelihood and its leave-one-out advantage."""

from __future__ import annotations

import pytest
import torch

from tersely.rewards.verifree import VeriFree, leave_one_out


def test_the_reward_is_the_product_of_the_probabilities():
    logp = torch.log(torch.tensor([[0.5, 0.5, 0.9], [0.9, 0.9, 0.9]]))
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert VeriFree()(logp, mask, torch.tensor([False, False])).tolist() == pytest.approx([0.25, 0.729])
    assert VeriFree()(logp, mask, torch.tensor([True, False])).tolist() == pytest.approx([0.0, 0.729])
    assert VeriFree(max_tokens=2)(logp, mask, torch.tensor([False, False])).isnan().tolist() == [False, True]


def test_the_advantage_is_against_the_others():
    rewards = torch.tensor([0.2, 0.4, 0.9, 0.5])
    found = leave_one_out(rewards, 4)
    by_hand = [rewards[i] - (rewards.sum() - rewards[i]) / 3 for i in range(4)]
    assert found.tolist() == pytest.approx([float(value) for value in by_hand], abs=1e-6)
    assert leave_one_out(torch.tensor([0.3]), 1).tolist() == [0.0]
    assert leave_one_out(torch.tensor([0.5, 0.5]), 2).tolist() == [0.0, 0.0]
    assert leave_one_out(torch.tensor([0.5, float("nan"), 0.1]), 3).tolist() == pytest.approx(
        [0.4, 0.0, -0.4], abs=1e-6
    )


def test_ranges():
    with pytest.raises(ValueError, match="verifree.max_tokens"):
        VeriFree(max_tokens=0)
