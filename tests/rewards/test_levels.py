"""Terms without or with few statistics: DA-DLER, cosine, DAST, O1-Pruner, GR3, ShorterBetter and the levels."""

from __future__ import annotations

import math

import pytest

from tersely.core.build import build
from tersely.core.errors import ConfigError
from tersely.core.memory import PromptMemory


def test_da_dler_counts_what_is_inside_the_hard_limit(make_rollouts):
    term = build("reward", "da_dler")
    assert term(make_rollouts([1000, 3000, 4001, 5], [1, 1, 1, 0])).tolist() == [1, 0, 0, 0]
    assert term(make_rollouts([1000, 3000, 4001, 5, 5], [1, 1, 1, 0, 0])).tolist() == [1, 1, 0, 0, 0]
    assert term(make_rollouts([1000, 3000, 9], [1, 1, math.nan], truncated=[False, True, False]))[:2].tolist() == [1, 0]


def test_truncation_is_the_flag_and_not_the_length(make_rollouts):
    data = make_rollouts([4096, 4096], [1, 1], truncated=[False, True])
    assert build("reward", "truncation")(data).tolist() == [1, 0]
    assert build("reward", {"name": "arora_zanette"})(data)[0].item() == pytest.approx(0.95)


def test_cosine_over_length_hits_right_and_wrong(make_rollouts):
    term = build("reward", {"name": "cosine", "max_length": 1000})
    assert term(make_rollouts([984, 983, 984], [1, 1, 0])).tolist() == pytest.approx([-10, 1.0, -10], abs=1e-2)
    assert term(make_rollouts([0, 0], [1, 0])).tolist() == [2, -10]


def test_dast_all_wrong_compares_with_the_cap(make_rollouts):
    got = build("reward", {"name": "dast", "max_length": 1000})(make_rollouts([500, 1000, 2000], [0, 0, 0]))
    assert got.tolist() == pytest.approx([0.9 * -0.5 - 0.1, -0.1, -0.1])
    lone = build("reward", "dast")(make_rollouts([500], [1]))
    assert lone.item() == pytest.approx(0.5)


def test_dast_budget_below_one_token_is_divided_by_as_it_is(make_rollouts):
    got = build("reward", "dast")(make_rollouts([0, 1], [1, 1]))  # L_b 0.5: x = -1 and 1
    assert got.tolist() == pytest.approx([1.0, 0.1])
    empty = build("reward", "dast")(make_rollouts([0, 0], [1, 1]))  # L_b 0: x = L
    assert empty.tolist() == [0.5, 0.5]


def test_o1_pruner_takes_each_reference_where_it_is(make_rollouts):
    term = build("reward", {"name": "o1_pruner", "accuracy_weight": 2.0})
    memory = PromptMemory({"q0": {"reference_length": 400.0}})
    assert term(make_rollouts([200, 100], [1, 0], memory=memory)).tolist() == pytest.approx([1 + 1, 3 - 1])
    memory = PromptMemory({"q0": {"reference_accuracy": 1.0}})
    assert term(make_rollouts([100, 300, 7], [1, 0, math.nan], memory=memory))[:2].tolist() == pytest.approx(
        [1, -1 / 3 - 2]
    )
    assert term(make_rollouts([0], [1], memory=None)).item() == -1


def test_gr3_and_shorterbetter_degenerate_groups(make_rollouts):
    gr3, shorter = build("reward", "gr3"), build("reward", "shorterbetter")
    assert gr3(make_rollouts([70, 70], [1, 0])).tolist() == pytest.approx([1 / 1.33, 0])
    assert gr3(make_rollouts([0, 0], [1, 0])).tolist() == pytest.approx([1 / 1.33, 0])
    assert shorter(make_rollouts([100, 300, 9], [0, 0, math.nan]))[:2].tolist() == pytest.approx([-0.1, -0.1])
    assert shorter(make_rollouts([100], [1])).item() == 2


def test_grpo_lambda_switches_on_the_exact_share(make_rollouts):
    term = build("reward", {"name": "grpo_lambda", "accuracy_threshold": 2 / 3})
    assert term(make_rollouts([10, 20, 5], [1, 1, 0]))[0].item() > term(make_rollouts([10, 20, 5], [1, 1, 0]))[1].item()
    assert term(make_rollouts([10, 20, 5], [1, 0, 0])).tolist() == [1, 0, 0]
    truncated = make_rollouts([10, 4096], [1, 1], truncated=[False, True])
    assert term(truncated)[1].item() > 0.8


def test_levels(make_rollouts):
    rows = {"length": [10, 9000, 10, 10], "correct": [1, 1, 0, 1], "well_formed": [True, True, True, False]}
    assert build("reward", "laser")(make_rollouts(**rows)).tolist() == [1.5, 1, -0.5, -1]
    assert build("reward", "concise_rl")(make_rollouts(**rows)).tolist() == [1, 1, -0.5, -1]
    modes = ["short", "think", "short", "short"]
    assert build("reward", "thinkless")(make_rollouts(**rows, mode=modes)).tolist() == [1, 0.5, -1, -1]
    modes = ["no_think", "think", "no_think", "think"]
    got = build("reward", "adaptthink")(make_rollouts(**rows, mode=modes))
    assert got.tolist() == pytest.approx([1.05, 1, 0.05, 1])


def test_budgetthinker_without_a_budget_has_no_length_part(make_rollouts):
    data = make_rollouts([10, 10, 10], [1, 0, 1], budget=[math.nan, math.nan, 0], well_formed=[True, False, True])
    assert build("reward", "budgetthinker")(data).tolist() == pytest.approx([0.85, 0, 0.85])


def test_grpo_lead_one_right_is_exactly_one(make_rollouts):
    assert build("reward", "grpo_lead")(make_rollouts([10, 500], [1, 0])).tolist() == [1, -1]
    assert build("reward", "grpo_lead")(make_rollouts([500, 500, 500], [1, 1, 1])).tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["autothink", "adaptthink", "thinkless", "arm"])
def test_mode_none_is_an_error_that_names_the_field(name, make_rollouts):
    with pytest.raises(ValueError, match=f"rollouts.mode.*{name}"):
        build("reward", name)(make_rollouts([1], [1]))


@pytest.mark.parametrize(
    "name", ["lapo_internalization", "hbpo", "selfbudgeter", "l1_exact", "l1_max", "budgetthinker"]
)
def test_budget_none_is_an_error_that_names_the_field(name, make_rollouts):
    with pytest.raises(ValueError, match=f"rollouts.budget.*{name}"):
        build("reward", name)(make_rollouts([1], [1]))


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "da_dler", "easy_limit": 5000},
        {"name": "da_dler", "accuracy_threshold": 1.5},
        {"name": "cosine", "margin": -1},
        {"name": "dast", "max_length": 0},
        {"name": "dast", "correct_floor": -0.5},
        {"name": "o1_pruner", "clip_low": 5},
        {"name": "o1_pruner", "form": "offline"},
        {"name": "gr3", "alpha": -1},
        {"name": "shorterbetter", "beta": -1},
        {"name": "grpo_lambda", "accuracy_threshold": -0.1},
        {"name": "laser", "target_length": 0},
        {"name": "concise_rl", "wrong_reward": 2},
        {"name": "thinkless", "wrong_reward": 0.9},
        {"name": "adaptthink", "delta": -0.1},
        {"name": "budgetthinker", "form": "x"},
        {"name": "grpo_lead", "epsilon": -1},
    ],
)
def test_ranges(spec):
    with pytest.raises(ConfigError, match=spec["name"]):
        build("reward", spec)
