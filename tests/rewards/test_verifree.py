"""VeriFree's likelihood, and its leave-one-out advantage."""

from __future__ import annotations

import math

import pytest
import torch

from tersely.core.build import build
from tersely.core.types import Rollouts
from tersely.rewards.verifree import VeriFree


def rollouts(probabilities, tokens) -> Rollouts:
    rows = len(tokens)
    return Rollouts(
        group_size=rows,
        prompt_id=["q"] * rows,
        correct=torch.zeros(rows),
        length=torch.ones(rows, dtype=torch.int64),
        truncated=torch.zeros(rows, dtype=torch.bool),
        max_length=10,
        reference_logp=torch.tensor([math.log(p) if p else -math.inf for p in probabilities]),
        reference_tokens=torch.tensor(tokens),
    )


def test_the_reward_is_the_likelihood_of_a_short_reference():
    reward = build("reward", "verifree")
    assert reward(rollouts([0.25, 0.729, 0.0], [2, 3, 3])).tolist() == pytest.approx([0.25, 0.729, 0.0])
    assert VeriFree(max_tokens=2)(rollouts([0.25, 0.729, 0.5], [2, 3, 0])).isnan().tolist() == [False, True, True]


def test_undecided_rows_stay_out():
    batch = rollouts([0.5, 0.5], [1, 1])
    batch.correct[1] = torch.nan
    assert VeriFree()(batch).isnan().tolist() == [False, True]


def test_the_advantage_is_against_the_others():
    batch = rollouts([0.2, 0.4, 0.9, 0.5], [1] * 4)
    rewards = VeriFree()(batch)
    found = build("advantage", "rloo")(rewards, batch)
    by_hand = [rewards[i] - (rewards.sum() - rewards[i]) / 3 for i in range(4)]
    assert found.tolist() == pytest.approx([float(value) for value in by_hand], abs=1e-6)


def test_ranges():
    with pytest.raises(ValueError, match="verifree.max_tokens"):
        VeriFree(max_tokens=0)
