"""Filter, reward and advantage together, on whole groups."""

from __future__ import annotations

import pytest
import torch

from tersely.algorithms.objective import Objective, take_rows
from tersely.core.errors import ConfigError


def test_defaults_are_plain_grpo(rollouts_of):
    scores = Objective.from_specs({}).score(rollouts_of(correct=[1.0, 0.0, 1.0, 1.0], group_size=2))
    assert scores.reward.tolist() == [1.0, 0.0, 1.0, 1.0] and scores.keep.tolist() == [True, True]
    assert scores.advantage[0] > 0 > scores.advantage[1] and scores.advantage[2:].tolist() == [0.0, 0.0]


def test_groups_that_are_dropped_do_not_reach_a_batch_statistic(rollouts_of):
    """Batch whitening over the kept groups equals whitening a batch that never had the others."""
    specs = {"advantage": "batch_whitened", "filter": "mixed_groups"}
    objective = Objective.from_specs(specs)
    scores = objective.score(rollouts_of(correct=[1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0], group_size=2))
    alone = objective.score(rollouts_of(correct=[1.0, 0.0, 0.0, 1.0], group_size=2))
    assert scores.keep.tolist() == [True, False, False, True]
    torch.testing.assert_close(scores.advantage, torch.tensor([*alone.advantage[:2], 0, 0, 0, 0, *alone.advantage[2:]]))


def test_no_group_left_is_no_error(rollouts_of):
    scores = Objective.from_specs({"filter": "mixed_groups"}).score(rollouts_of(correct=[1.0, 1.0]))
    assert scores.advantage.tolist() == [0.0, 0.0] and not scores.keep.any()


def test_undecided_rows_have_no_advantage(rollouts_of):
    scores = Objective.from_specs({}).score(rollouts_of(correct=[1.0, 0.0, float("nan"), 1.0]))
    assert scores.reward[2].isnan() and scores.advantage[2] == 0 and scores.advantage.isfinite().all()


def test_unknown_slots_and_needs():
    with pytest.raises(ConfigError, match="slot 'rewards'.*'reward'"):
        Objective.from_specs({"rewards": "alp"})
    assert "token_ids" in Objective.from_specs({"advantage": "ktae"}).needs
    assert Objective.from_specs({}).needs == set()


def test_state_comes_back(rollouts_of):
    specs = {"reward": {"name": "laser_d"}}
    one, other = Objective.from_specs(specs), Objective.from_specs(specs)
    rollouts = rollouts_of(correct=[1.0, 0.0, 1.0, 1.0], length=[5, 9, 30, 12], group_size=4)
    for _ in range(3):
        one.update(rollouts)
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(other.score(rollouts).reward, one.score(rollouts).reward)
    assert other.state_dict() == one.state_dict()


def test_rows_are_taken_in_every_field(rollouts_of):
    rollouts = rollouts_of(correct=[1.0, 0.0, 0.0, 1.0], group_size=2, mode=list("abcd"), budget=torch.arange(4.0))
    taken = take_rows(rollouts, torch.tensor([False, False, True, True]))
    assert taken.mode == ["c", "d"] and taken.budget.tolist() == [2.0, 3.0] and taken.prompt_id == ["p1", "p1"]
    assert taken.max_length == rollouts.max_length
