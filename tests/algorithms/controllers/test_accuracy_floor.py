"""The accuracy floor: the multiplier by hand, what it does to rewards, when it raises the alarm."""

from __future__ import annotations

import json
import math
import re

import pytest
import torch

from tersely.algorithms.objective import Objective
from tersely.core.build import build
from tersely.core.errors import ConfigError
from tersely.core.types import Rollouts


def floor(**parameters):
    return build("controller", {"name": "accuracy_floor", "window": 1, **parameters})


def rollouts(correct, length):
    return Rollouts(
        group_size=len(correct),
        prompt_id=["p"] * len(correct),
        correct=torch.tensor(correct, dtype=torch.float32),
        length=torch.tensor(length),
        truncated=torch.zeros(len(correct), dtype=torch.bool),
        max_length=1000,
    )


def test_the_multiplier_by_hand():
    """base 0.8, delta 0.05: the floor is 0.76. A = 0.72 is short by 0.05, times 10 is 0.5; w = 1 / 1.5."""
    controller = floor(base=0.8, delta=0.05, step=10, dead_zone=0.02, collapse=None)
    assert controller.value == 1
    assert controller.update(0.72, 100) == pytest.approx(1 / 1.5)
    assert controller.update(0.64, 100) == pytest.approx(1 / 3)  # short by 0.15: m = 0.5 + 1.5
    assert controller.update(0.77, 100) == pytest.approx(1 / 3)  # 0.0125 above the floor: within the dead zone
    assert controller.update(0.80, 100) == pytest.approx(1 / 2.5)  # 0.05 above: m = 2 - 0.5
    assert controller.update(1.00, 100) == 1  # 0.30 above: m = 1.5 - 3, clipped at 0
    assert controller.update(math.nan, 100) == 1 and controller.multiplier == 0


def test_the_multiplier_is_clipped_and_the_window_is_a_mean():
    controller = floor(base=0.5, delta=0, step=100, maximum=9, window=2, dead_zone=0, collapse=None)
    assert controller.update(0.0, 10) == pytest.approx(1 / 10)
    assert controller.update(1.0, 10) == pytest.approx(1 / 10)  # (0 + 1) / 2 is the floor itself


def test_the_base_is_measured_while_the_length_terms_are_off():
    controller = floor(window=3, delta=0.1)
    assert [controller.update(a, 50) for a in (0.4, 0.5, 0.6)] == [0, 0, 1]
    assert controller.reference == pytest.approx(0.5)
    nothing = floor(window=1)
    assert nothing.update(0.0, 50) == 0 and nothing.update(1.0, 50) == 0


def test_weighed_terms_keep_the_outcome():
    """ALP pays 1 - 0.5 p L / 1000; at w = 0.25 a quarter of its penalty is left, and an additive term is scaled."""
    controller = floor(base=1.0, delta=0, step=3, dead_zone=0, collapse=None)
    assert controller.update(0.0, 1) == pytest.approx(0.25)
    batch = rollouts([1, 1, 0, math.nan], [100, 300, 600, 50])
    whole = build("reward", [{"name": "alp", "beta": 0.5, "normalizer": 1000}])
    plain, weighed = whole(batch), controller.apply_reward(whole)(batch)
    torch.testing.assert_close(weighed[:3], batch.correct[:3] + 0.25 * (plain - batch.correct)[:3])
    assert weighed[3].isnan() and controller.apply_reward(whole).includes_outcome
    parts = build("reward", [{"name": "correctness"}, {"name": "kimi", "weight": 0.5}])
    columns = controller.apply_reward(parts).unweighted(batch)[:3]
    torch.testing.assert_close(columns, parts.unweighted(batch)[:3] * torch.tensor([1.0, 0.25]))


def test_weights_are_scaled_for_an_advantage_that_gets_the_terms_apart():
    specs = {"reward": ["correctness", {"name": "kimi", "weight": 0.5}, "repetition"], "advantage": "gdpo"}
    objective = Objective.from_specs({**specs, "controllers": [{"name": "accuracy_floor", "base": 0.5}]})
    objective.controllers[0].value = 0.25
    in_force = objective.reward_in_force()
    assert in_force.weights == (1.0, 0.125, 1.0) and in_force.terms == objective.reward.terms
    with pytest.raises(ConfigError, match="accuracy_floor.*alp.*gdpo"):
        Objective.from_specs({**specs, "reward": "alp", "controllers": ["accuracy_floor"]})


def test_the_alarm_wants_accuracy_and_tokens_to_fall():
    controller = floor(base=0.8, delta=0, collapse=0.1)
    controller.update(0.8, 100)
    assert controller.good and controller.alarm is None
    controller.update(0.7, 150)  # longer: the length terms are not to blame
    assert not controller.good and controller.alarm is None
    controller.update(0.75, 40)  # short by 0.06: no collapse yet
    assert controller.alarm is None
    controller.update(0.7, 40)
    assert re.search(r"0.700.*0.800.*\b100\b.*\b40\b", controller.alarm)
    controller.update(0.9, 40)
    assert controller.good and controller.alarm is None and controller.good_tokens == 40


def test_state_comes_back_and_a_roll_back_is_remembered():
    first = floor(window=2, delta=0, step=10)
    for accuracy in (0.8, 0.8, 0.6):
        first.update(accuracy, 60)
    saved = json.loads(json.dumps(first.state_dict()))
    second = floor(window=2, delta=0, step=10)
    second.load_state_dict(saved)
    assert [first.update(0.7, 50), first.alarm] == [second.update(0.7, 50), second.alarm]
    second.load_state_dict(saved)
    second.rolled_back(before={"multiplier": 3.0, "reference": 0.8})
    assert second.multiplier == 7 and second.value == pytest.approx(1 / 8)


@pytest.mark.parametrize(
    "parameters",
    [
        {"delta": -0.1},
        {"delta": 1.0},
        {"base": 0.0},
        {"base": 1.2},
        {"window": 0},
        {"step": 0},
        {"dead_zone": -1},
        {"maximum": 0},
        {"collapse": -0.1},
    ],
)
def test_values_out_of_range_are_refused(parameters):
    with pytest.raises(ConfigError, match=f"accuracy_floor.{next(iter(parameters))}: got"):
        floor(**parameters)


@pytest.mark.parametrize(
    "specs, wants",
    [
        ({"reward": "correctness"}, "accuracy_floor: .*correctness"),
        ({"reward": "hbpo", "advantage": "hbpo", "prompting": "hbpo"}, "advantage hbpo"),
        ({"reward": "alp", "terms": ["kimi"]}, "accuracy_floor.terms: .*'kimi'"),
    ],
)
def test_objectives_without_use_for_it_are_refused(specs, wants):
    terms = specs.pop("terms", None)
    with pytest.raises(ConfigError, match=wants):
        Objective.from_specs({**specs, "controllers": [{"name": "accuracy_floor", "terms": terms}]})
