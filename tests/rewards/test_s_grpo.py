"""S-GRPO's reward: the card's example, order by exit, undecided rows."""

from __future__ import annotations

import math

import pytest
import torch

from tersely.core.build import build


def test_the_example_of_the_card(make_rollouts):
    group = make_rollouts([10] * 5, [1.0, 0.0, 1.0, 1.0, 1.0], exit=torch.arange(5))
    reward = build("reward", "s_grpo")(group)
    assert reward.tolist() == [1, 0, 0.5, 0.25, 0.125]
    assert build("advantage", "group_mean")(reward, group).tolist() == [0.625, -0.375, 0.125, -0.125, -0.25]


def test_the_order_is_that_of_the_exits(make_rollouts):
    group = make_rollouts([10] * 4, [1.0, 1.0, 1.0, 1.0], exit=torch.tensor([3, 1, 0, 1]))
    assert build("reward", "s_grpo")(group).tolist() == [0.125, 0.5, 1, 0.25]
    assert build("reward", {"name": "s_grpo", "decay": 1.0})(group).tolist() == [1, 1, 1, 1]


def test_undecided_rows_count_for_nobody(make_rollouts):
    found = build("reward", "s_grpo")(make_rollouts([10] * 3, [math.nan, 1.0, 1.0], exit=torch.arange(3)))
    assert found[0].isnan() and found[1:].tolist() == [1, 0.5]


def test_without_exits_the_field_is_named(make_rollouts):
    with pytest.raises(ValueError, match="exit"):
        build("reward", "s_grpo")(make_rollouts([10], [1.0]))
