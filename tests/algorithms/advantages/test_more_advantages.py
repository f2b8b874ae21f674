"""GDPO, MaxRL, OPO and SAS: the printed vectors, the degenerate groups, and what they equal in special cases."""

from __future__ import annotations

import math

import pytest
import torch

from tersely.algorithms.objective import Objective
from tersely.core.build import build
from tersely.core.errors import ConfigError

L, R = [1000, 2000, 3000, 4000], [1, 1, 0, 1]
COLUMNS = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
WEIGHTS = torch.tensor([1.0, 0.5])


@pytest.fixture
def make_rollouts(rollouts_of):
    """`make_rollouts(length, correct, group_size=None, **fields)`."""

    def make(length, correct, group_size=None, **fields):
        return rollouts_of(correct, length=length, group_size=group_size, max_length=4096, **fields)

    return make


@pytest.fixture
def four(make_rollouts):
    return make_rollouts(L, R)


@pytest.mark.parametrize(
    ("whiten", "expected"),
    [
        ("none", [0.9328, 0.0670, -1.9326, 0.9328]),
        ("sequence", [0.6902, 0.0495, -1.4299, 0.6902]),
        ("token", [0.8304, 0.1342, -1.4735, 0.8304]),
    ],
)
def test_gdpo_gives_the_printed_vectors(four, whiten, expected):
    got = build("advantage", {"name": "gdpo", "whiten": whiten})(COLUMNS, four, WEIGHTS)
    assert got.dtype == torch.float32 and got.tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("whiten", ["sequence", "token"])
def test_gdpo_with_one_term_does_not_depend_on_its_weight(four, whiten):
    advantage = build("advantage", {"name": "gdpo", "whiten": whiten})
    one, other = (advantage(COLUMNS[:, :1], four, torch.tensor([w])) for w in (1.0, 7.0))
    torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_gdpo_leaves_rows_with_an_unknown_term_out_of_every_statistic(make_rollouts):
    rollouts = make_rollouts([*L, 9], [*R, math.nan])
    columns = torch.cat([COLUMNS, torch.tensor([[1000.0, math.nan]])])
    got = build("advantage", "gdpo")(columns, rollouts, WEIGHTS)
    four = build("advantage", "gdpo")(COLUMNS, make_rollouts(L, R), WEIGHTS)
    assert got[4] == 0 and torch.allclose(got[:4], four)


def test_gdpo_keeps_the_length_term_of_a_homogeneous_group(make_rollouts):
    rollouts = make_rollouts([1, 2, 3, 4] * 2, [0] * 4 + [1] * 4, group_size=4)
    columns = torch.stack([rollouts.correct, torch.tensor([0.1, 0.2, 0.3, 0.4] * 2)], dim=1)
    got = build("advantage", {"name": "gdpo", "whiten": "none"})(columns, rollouts, WEIGHTS)
    assert torch.equal(got[:4], got[4:]) and got[3] > 0.5


def test_gdpo_without_spread_or_in_groups_of_one_is_zero(make_rollouts):
    advantage = build("advantage", "gdpo")
    assert not advantage(torch.ones(4, 2), make_rollouts(L, [1] * 4), WEIGHTS).any()
    assert not advantage(COLUMNS, make_rollouts(L, R, group_size=1), WEIGHTS).any()
    assert not advantage(torch.full((4, 2), math.nan), make_rollouts(L, [math.nan] * 4), WEIGHTS).any()


def test_gdpo_gets_plain_columns_and_the_weights_of_the_terms(make_rollouts):
    """kimi's own weight and a plain term's: equal ratios of weights give equal advantages."""
    rollouts = make_rollouts(L, R)
    scores = [
        Objective.from_specs({"reward": terms, "advantage": "gdpo"}).score(rollouts)
        for terms in (
            [{"name": "correctness"}, {"name": "kimi", "weight": 0.5}],
            [{"name": "correctness", "weight": 2.0}, {"name": "kimi"}],
            [{"name": "correctness"}, {"name": "kimi", "weight": 5.0}],
        )
    ]
    assert scores[0].weights.tolist() == [1.0, 0.5]
    assert torch.equal(scores[0].columns, scores[1].columns)
    torch.testing.assert_close(scores[0].advantage, scores[1].advantage, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(scores[0].advantage, scores[2].advantage, atol=0.05)


@pytest.mark.parametrize("name", ["kimi", "soft_overlong", "hapo_history", "short_rl", "repetition"])
def test_the_own_weight_of_a_term_is_applied_by_the_sum(name, make_rollouts):
    ids = torch.arange(8).view(2, 4) % 3
    rollouts = make_rollouts([4000, 4090], [1, 1], token_ids=ids)
    spec = {"name": name, "weight": 0.3, **({"ngram": 1} if name == "repetition" else {})}
    alone, summed = build("reward", spec), build("reward", [spec])
    assert alone.weight == 0.3 and summed.terms[0].weight == 1 and summed.weights == (0.3,)
    torch.testing.assert_close(alone(rollouts), summed(rollouts))
    with pytest.raises(ConfigError, match=f"{name}.weight"):
        build("reward", [{"name": name, "weight": -1}])


def test_a_filtered_group_is_no_part_of_the_batch(make_rollouts):
    rollouts = make_rollouts([*L, 1, 2, 3, 4], [*R, 1, 1, 1, 1], group_size=4)
    terms = {"reward": ["correctness", {"name": "kimi", "weight": 0.5}], "advantage": "gdpo"}
    scores = Objective.from_specs({**terms, "filter": "mixed_groups"}).score(rollouts)
    alone = Objective.from_specs(terms).score(make_rollouts(L, R))
    assert torch.allclose(scores.advantage[:4], alone.advantage) and not scores.advantage[4:].any()


def test_maxrl_gives_the_printed_vectors(four):
    advantage = build("advantage", "maxrl")
    assert advantage(four.correct, four).tolist() == pytest.approx([1 / 3, 1 / 3, -1, 1 / 3])
    assert advantage(torch.tensor([0.0, 1.0, 0.0, 0.0]), four).tolist() == pytest.approx([-1, 3, -1, -1])


@pytest.mark.parametrize(
    "rewards", [[0.0] * 4, [1.0] * 4, [0.1] * 4, [math.nan] * 4, [math.nan, 1, math.nan, math.nan]]
)
@pytest.mark.parametrize("name", ["maxrl", "opo"])
def test_no_difference_is_no_signal(name, rewards, four):
    assert build("advantage", name)(torch.tensor(rewards), four).tolist() == [0, 0, 0, 0]


def test_maxrl_refuses_outcomes_below_zero():
    with pytest.raises(ConfigError, match="correctness: wrong"):
        Objective.from_specs({"reward": {"name": "correctness", "wrong": -1}, "advantage": "maxrl"})
    with pytest.raises(ConfigError, match="grpo_lead: wrong_reward"):
        Objective.from_specs({"reward": "grpo_lead", "advantage": "maxrl"})


def test_opo_gives_the_printed_vector_and_has_no_sum_over_tokens(four):
    got = build("advantage", "opo")(four.correct, four)
    assert got.tolist() == pytest.approx([0.3, 0.3, -0.7, 0.3])
    assert (four.length * got).sum().item() == pytest.approx(0, abs=1e-3)


def test_opo_is_the_token_level_average_without_std_and_fallback(make_rollouts):
    draw = torch.Generator().manual_seed(0)
    length = torch.randint(0, 50, (24,), generator=draw).tolist()
    rewards = torch.rand(24, generator=draw).masked_fill(torch.rand(24, generator=draw) < 0.2, math.nan)
    rollouts = make_rollouts(length, [1] * 24, group_size=4)
    spec = {"name": "token_level_group_average", "normalize_std": False, "fallback_threshold": None}
    assert torch.equal(build("advantage", "opo")(rewards, rollouts), build("advantage", spec)(rewards, rollouts))


STEP = [0, 0, 1, 1, 2, 2, 3, 4, 4, 4]
LOGP = [-0.1, -0.3, -1, -1, -0.5, -0.1, -0.05, -0.1, -0.1, -0.1]
A = 0.7071


@pytest.fixture
def steps(make_rollouts):
    def make(correct=(1, 0), **fields):
        rows = len(correct)
        values = {
            "step": torch.tensor([STEP] * rows),
            "old_logp": torch.tensor([LOGP] * rows),
            "thinking_end": torch.tensor([7] * rows),
            **fields,
        }
        return make_rollouts([10] * rows, list(correct), **values)

    return make


@pytest.mark.parametrize(
    ("spec", "right", "wrong"),
    [
        ({}, [A, A, 0, 0, 0, 0, A, A, A, A], [-A] * 6 + [0] + [-A] * 3),
        ({"form": "as_released"}, [0] * 7 + [A] * 3, [-A] * 10),
        ({"side": "right"}, [A, A, 0, 0, 0, 0, A, A, A, A], [-A] * 10),
        ({"side": "wrong"}, [A] * 10, [-A] * 6 + [0] + [-A] * 3),
        ({"ratio": 0}, [A] * 10, [-A] * 10),
        ({"ratio": 1}, [0] * 7 + [A] * 3, [0] * 7 + [-A] * 3),
    ],
)
def test_sas_of_the_printed_rows(steps, spec, right, wrong):
    rollouts = steps()
    got = build("advantage", {"name": "sas", **spec})(rollouts.correct, rollouts)
    assert got[0].tolist() == pytest.approx(right, abs=1e-4) and got[1].tolist() == pytest.approx(wrong, abs=1e-4)


def test_sas_with_one_step_and_without_thinking(steps):
    one = steps(step=torch.zeros(2, 10, dtype=torch.int64))
    got = build("advantage", "sas")(one.correct, one)
    assert not got[0, :7].any() and got[0, 7:].all() and got[1].all()
    none = steps(thinking_end=torch.zeros(2, dtype=torch.int64))
    assert build("advantage", "sas")(none.correct, none).all()


def test_sas_leaves_out_forced_and_undecided_positions_and_padding(steps, make_rollouts):
    forced = torch.zeros(3, 10, dtype=torch.bool)
    forced[:, 6] = True
    rollouts = make_rollouts(
        [7, 7, 7], [1, 0, math.nan], forced=forced, step=torch.tensor([STEP] * 3),
        old_logp=torch.tensor([LOGP] * 3), thinking_end=torch.full((3,), 6),
    )  # fmt: skip
    got = build("advantage", {"name": "sas", "ratio": 0})(rollouts.correct, rollouts)
    assert not got[2].any() and not got[:, 6].any() and not got[:, 8:].any()
    assert got[0, :6].all() and got[0, 7] > 0


def test_a_row_that_never_closes_keeps_its_last_token(steps):
    rollouts = steps(thinking_end=torch.full((2,), 10))
    got = build("advantage", {"name": "sas", "ratio": 1})(rollouts.correct, rollouts)
    assert not got[:, :9].any() and got[:, 9].all()


def test_sas_on_a_token_level_base_and_its_needs(steps):
    spec = {"name": "sas", "ratio": 0, "base": {"name": "entropy_shaped"}}
    advantage = build("advantage", spec)
    assert set(advantage.needs) == {"old_logp", "step", "thinking_end", "entropy"}
    rollouts = steps(entropy=torch.rand(2, 10))
    assert torch.equal(
        advantage(rollouts.correct, rollouts), build("advantage", "entropy_shaped")(rollouts.correct, rollouts)
    )
    with pytest.raises(ValueError, match="old_logp"):
        advantage(rollouts.correct, steps(old_logp=None))


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "gdpo", "epsilon": -1},
        {"name": "gdpo", "whiten": "row"},
        {"name": "maxrl", "epsilon": -1},
        {"name": "sas", "ratio": 1.1},
        {"name": "sas", "side": "left"},
        {"name": "sas", "base": "gdpo"},
        {"name": "sas", "base": "no_such"},
    ],
)
def test_ranges(spec):
    with pytest.raises(ConfigError, match=spec["name"]):
        build("advantage", spec)
