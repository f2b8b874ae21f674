"""PEAR, ETR, ARLCP, Short-RL and the repetition penalty: printed numbers, degenerate rows, special cases."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from trl.rewards import get_repetition_penalty_reward

from tersely.core.build import build
from tersely.core.errors import ConfigError

# ---- PEAR ----


@pytest.fixture
def phases(make_rollouts):
    """Rows .6 .3 .6 | marker | .1 .1"""

    def make(correct, **fields):
        rows = len(correct)
        values = {
            "entropy": torch.tensor([[0.6, 0.3, 0.6, 9.0, 0.1, 0.1]] * rows),
            "thinking_end": torch.tensor([3] * rows),
            "answer_start": torch.tensor([4] * rows),
            **fields,
        }
        return make_rollouts([6] * rows, correct, **values)

    return make


@pytest.mark.parametrize(("alpha", "expected"), [(1.0, [0.6, 0]), (0.0, [0.5, 0]), (9.0, [1.0, 0]), (-1.0, [0.4, 0])])
def test_pear_of_the_printed_row(phases, alpha, expected):
    assert build("reward", {"name": "pear", "alpha": alpha})(phases([1, 0])).tolist() == pytest.approx(expected)


def test_pear_of_a_row_that_never_closes(make_rollouts):
    four = torch.tensor([4])
    rollouts = make_rollouts(
        [4], [1], entropy=torch.tensor([[0.6, 0.3, 0.6, 0.9]]), thinking_end=four, answer_start=four
    )
    assert build("reward", "pear")(rollouts).item() == pytest.approx(0.5)


def test_pear_of_an_empty_phase_and_of_one_token(phases, make_rollouts):
    assert build("reward", "pear")(phases([1], thinking_end=torch.tensor([0]))).item() == 1
    one = torch.tensor([1])
    rollouts = make_rollouts([1], [1], entropy=torch.tensor([[3.0]]), thinking_end=one, answer_start=one)
    assert build("reward", "pear")(rollouts).item() == 1


def test_pear_levels_and_undecided(phases):
    term = build("reward", {"name": "pear", "format_reward": 0.2, "malformed_reward": -0.1, "correct_reward": 2.0})
    got = term(phases([0, 0, 1, math.nan], well_formed=[True, False, False, True]))
    assert got[:3].tolist() == pytest.approx([0.2, -0.1, 1.0]) and got[3].isnan()
    zero = term(phases([1, 0], entropy=torch.zeros(2, 6)))
    assert zero.tolist() == pytest.approx([1.0, 0.2])


def test_pear_leaves_forced_positions_out(phases):
    forced = torch.tensor([[False, True, False, False, False, False, True]])
    entropy = torch.tensor([[0.6, 50.0, 0.6, 9.0, 0.1, 0.1, 50.0]])
    rollouts = dataclasses.replace(phases([1], forced=forced, entropy=entropy), length=torch.tensor([5]))
    assert build("reward", "pear")(rollouts).item() == pytest.approx(1 - (0.6 - 0.1))


# ---- ETR ----


@pytest.fixture
def trend(make_rollouts):
    """Step means .8 .5 .6 .2, then a tail of two tokens."""

    def make(correct, entropy=(0.8, 0.5, 0.6, 0.2, 1.0, 3.0), step=(0, 1, 2, 3, 4, 4), **fields):
        rows = len(correct)
        values = {"entropy": torch.tensor([entropy] * rows), "step": torch.tensor([step] * rows), **fields}
        return make_rollouts([len(entropy)] * rows, correct, **values)

    return make


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"entropy_unit": 1}, 1 + 0.005 * 0.357212),
        ({"entropy_unit": 1, "coefficient": 0.1}, 1.0357212),
        ({"coefficient": 0.1}, 1.0222),
        ({"entropy_unit": 1, "coefficient": 1, "bound": 0.1}, 1.1),
        ({"fall": 0, "rise": 0, "coefficient": 1}, 1.0),
    ],
)
def test_etr_of_the_printed_row(trend, spec, expected):
    got = build("reward", {"name": "etr", **spec})(trend([1, 0, math.nan]))
    assert got[:2].tolist() == pytest.approx([expected, -1], abs=1e-4) and got[2].isnan()


def test_etr_without_two_closed_steps_has_no_bonus(trend):
    term = build("reward", {"name": "etr", "coefficient": 1})
    for step in ((0, 0, 0, 0, 0, 0), (0, 0, 0, 1, 1, 1)):
        assert term(trend([1], step=step)).item() == 1
    assert term(trend([1], entropy=(0.5, 0.2, 9.0), step=(0, 1, 2))).item() > 1


def test_etr_is_the_mean_of_a_steps_sampled_tokens(trend):
    term = build("reward", {"name": "etr", "coefficient": 1, "entropy_unit": 1, "rise": 1, "fall": 1})
    one = term(trend([1], entropy=(0.2, 0.6, 0.1, 5.0), step=(0, 0, 1, 2)))
    assert one.item() == pytest.approx(1 + 0.3)


def test_etr_skips_steps_without_a_sampled_token(trend):
    term = build("reward", {"name": "etr", "coefficient": 1, "entropy_unit": 1})
    rollouts = trend(
        [1], entropy=(0.8, 7.0, 0.5, 1.0), step=(0, 1, 2, 3), forced=torch.tensor([[False, True, False, False]])
    )
    rollouts = dataclasses.replace(rollouts, length=torch.tensor([3]))
    assert term(rollouts).item() == pytest.approx(1 + 0.4 * 0.3)


def test_etr_reports_its_bonus(trend):
    term = build("reward", {"name": "etr", "entropy_unit": 1, "coefficient": 1})
    assert term.measured(trend([1, 0])) == {"etr/bonus": pytest.approx(0.357212)}
    assert term.measured(trend([0])) == {}


# ---- ARLCP ----


def test_arlcp_of_the_printed_rows(make_rollouts):
    rollouts = make_rollouts([1000, 2000, 4000, 3000], [1, 1, 1, 0], reflections=torch.tensor([10, 50, 90, 30]))
    assert build("reward", "arlcp")(rollouts).tolist() == pytest.approx([0.9424, 0.9054, 0.8529, 0], abs=1e-4)


@pytest.mark.parametrize("rows", [1, 3])
def test_arlcp_without_spread_is_half_of_the_penalty(make_rollouts, rows):
    rollouts = make_rollouts([100] * rows + [7], [1] * rows + [0], reflections=torch.tensor([60] * rows + [1]))
    term = build("reward", {"name": "arlcp", "epsilon": 0})
    assert term(rollouts).tolist() == pytest.approx([0.9] * rows + [0])


def test_arlcp_needs_its_words(make_rollouts):
    with pytest.raises(ValueError, match="reflections"):
        build("reward", "arlcp")(make_rollouts([1], [1]))


# ---- Short-RL ----


@pytest.mark.parametrize(
    ("correct", "expected"), [([1, 1, 0, 1], [0.5, 0.5, 0, -0.5]), ([1, 1, 1, 1], [0.5, 0.5, 0.0, -0.5])]
)
def test_short_rl_of_the_printed_rows(make_rollouts, correct, expected):
    got = build("reward", "short_rl")(make_rollouts([1000, 1080, 2000, 3000], correct))
    assert got.tolist() == pytest.approx(expected, abs=1e-4)


def test_short_rl_degenerate_groups(make_rollouts):
    term = build("reward", {"name": "short_rl", "weight": 0.6, "length_tolerance": 0})
    assert term(make_rollouts([5, 9], [0, 0])).tolist() == [0, 0]
    assert term(make_rollouts([500, 9], [1, 0])).tolist() == pytest.approx([0.3, 0])
    assert term(make_rollouts([7, 7], [1, 1])).tolist() == pytest.approx([0.3, 0.3])
    assert term(make_rollouts([7, 7], [1, math.nan]))[1].isnan()


def test_the_gate_of_short_rl_follows_the_best_batch(make_rollouts):
    term = build("reward", "short_rl")
    good, just, bad = (make_rollouts([10, 900] * 10, [1] * right + [0] * (20 - right)) for right in (16, 15, 14))
    term.update(make_rollouts([5], [math.nan]))
    assert term.best is None and term(bad).any()
    term.update(good)
    assert term.best == pytest.approx(0.8) and term(just).any() and not term(bad).any()
    assert (term.measured(just), term.measured(bad)) == ({"short_rl/gate": 1.0}, {"short_rl/gate": 0.0})
    term.update(bad)
    restored = build("reward", "short_rl")
    restored.load_state_dict(term.state_dict())
    assert restored.best == pytest.approx(0.8)


# ---- repetition ----


def test_repetition_of_the_printed_rows(make_rollouts):
    ids = torch.tensor([[5, 5, 5, 5, 5], [1, 2, 3, 4, -1], [1, -1, -1, -1, -1]])
    got = build("reward", {"name": "repetition", "ngram": 2})(make_rollouts([5, 4, 1], [1, 0, 1], token_ids=ids))
    assert got.tolist() == pytest.approx([-0.75, 0, 0])


def test_repetition_equals_trls(make_rollouts):
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 4, (6, 30), generator=draw)
    length = [30, 29, 10, 3, 2, 1]
    for row, count in zip(ids, length, strict=True):
        row[count:] = -1
    ours = build("reward", {"name": "repetition", "ngram": 3})(make_rollouts(length, [1] * 6, token_ids=ids))
    rows = [row[:count].tolist() for row, count in zip(ids, length, strict=True)]
    assert ours.tolist() == pytest.approx(get_repetition_penalty_reward()(rows))


def test_repetition_counts_sampled_tokens_only(make_rollouts):
    ids, forced = torch.tensor([[1, 9, 1, 9, 2]]), torch.tensor([[False, True, False, True, False]])
    got = build("reward", {"name": "repetition", "ngram": 1})(make_rollouts([3], [1], token_ids=ids, forced=forced))
    assert got.item() == pytest.approx(-1 / 3)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "pear", "alpha": math.inf},
        {"name": "etr", "decay": 1.1},
        {"name": "etr", "entropy_unit": 0},
        {"name": "etr", "bound": -1},
        {"name": "arlcp", "total": 1.1},
        {"name": "arlcp", "weights": [0.05, 0.1, 0.3]},
        {"name": "arlcp", "weights": [0.05, 0.1]},
        {"name": "arlcp", "counts": [80, 40]},
        {"name": "short_rl", "accuracy_tolerance": 2},
        {"name": "short_rl", "length_tolerance": -1},
        {"name": "repetition", "ngram": 0},
        {"name": "repetition", "weight": -1},
    ],
)
def test_ranges(spec):
    with pytest.raises(ConfigError, match=spec["name"]):
        build("reward", spec)
