"""Dry run of the objective: prompting and reward reject a group size or cap before the first rollout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from tersely.algorithms.objective import Objective
from tersely.algorithms.trial import require_budgets, trial_score, unread_memory
from tersely.core.errors import ConfigError


@pytest.mark.parametrize(
    ("specs", "group_size", "message"),
    [
        (
            {"prompting": {"name": "hbpo", "budgets": [16, 32, 64]}},
            8,
            "prompting hbpo: group_size.*8.*multiple",
        ),
        ({"prompting": "adaptthink"}, 5, "prompting adaptthink: group_size.*5.*even number"),
        ({"reward": ["correctness", "soft_overlong"]}, 8, "soft_overlong.cache.*4096 tokens.*at most"),
    ],
)
def test_what_does_not_fit_is_refused(specs, group_size, message):
    with pytest.raises(ConfigError, match=message):
        trial_score(Objective.from_specs(specs), group_size, 512)


@pytest.mark.parametrize("reward", ["alp", "l1_exact", "arm", "laser_d", "verifree", "ares_entropy"])
def test_what_needs_a_plan_or_the_trainer_passes(reward):
    objective = Objective.from_specs({"reward": reward})
    before = objective.state_dict()
    trial_score(objective, 8, 512)
    assert objective.state_dict() == before


@pytest.mark.parametrize(
    ("prompting", "reward", "states_one"),
    [
        ("plain", "l1_exact", False),
        ("plain", ["correctness", "l1_max"], False),
        ("plain", "hbpo", False),
        ("adaptthink", "budgetthinker", False),
        ("l1", "l1_exact", True),
        ("hbpo", "hbpo", True),
        ("selfbudgeter", "l1_max", True),
        ("plain", "alp", True),
        ("plain", "lapo_internalization", False),
        ("lapo_target", "lapo_internalization", True),
    ],
)
def test_a_reward_of_budgets_needs_prompting_that_states_one(prompting, reward, states_one):
    objective = Objective.from_specs({"prompting": prompting, "reward": reward})
    if states_one:
        require_budgets(objective, 8)
        return
    with pytest.raises(ConfigError, match="budget"):
        require_budgets(objective, 8)


def test_a_memory_that_is_never_read_is_said():
    objective = Objective.from_specs({"reward": ["correctness", "hapo_history"]})
    (found,) = unread_memory(objective, visits=1.0, remembers=False)
    assert found.subject == "reward" and "hapo_history" in found.text and "1.0" in found.text
    assert unread_memory(objective, visits=2.0, remembers=False) == []
    assert unread_memory(objective, visits=1.0, remembers=True) == [], "an earlier stage left records"
    assert unread_memory(Objective.from_specs({"advantage": "dcpo_smooth"}), 1.0, False)
    assert unread_memory(Objective.from_specs({"reward": "alp"}), 1.0, False) == []


@dataclass(frozen=True)
class Own:
    """A user's reward whose mistake is named by `fault`."""

    includes_outcome: ClassVar[bool] = True

    fault: str = ""

    def __call__(self, rollouts):
        one_per_group = rollouts.grouped(rollouts.length).double().mean(1)
        if self.fault == "shape":
            return rollouts.correct - one_per_group
        if self.fault == "name":
            return rollouts.correct - rollouts.lengths
        if self.fault == "index":
            return rollouts.correct - [[1.0]][3][0]
        assert (
            rollouts.memory.get("one", "target") is None
            and rollouts.budget.isnan().all()
            and rollouts.mode[0] == "think"
        )
        return rollouts.correct - one_per_group.repeat_interleave(rollouts.group_size).float() / rollouts.max_length


@pytest.mark.parametrize(
    ("fault", "message"),
    [("shape", "RuntimeError: The size"), ("name", "AttributeError: .*lengths"), ("index", "IndexError: list index")],
)
def test_a_users_reward_that_fails_is_refused_with_its_line(fault, message):
    spec = {"name": f"{__name__}:Own", "fault": fault}
    with pytest.raises(ConfigError, match=rf"reward {__name__}:Own fails on 8 .*: {message}.*test_trial.py, line \d+"):
        trial_score(Objective.from_specs({"reward": spec}), 4, 64)
    trial_score(Objective.from_specs({"reward": f"{__name__}:Own"}), 4, 64)
