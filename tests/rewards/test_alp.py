"""ALP: degenerate cases, normalisers, and what a z-score makes of it."""

from __future__ import annotations

import math

import pytest
import torch

from tersely.core.build import build
from tersely.core.errors import ConfigError


def alp(**parameters):
    return build("reward", {"name": "alp", "beta": 0.2, "normalizer": 4096, **parameters})


def test_all_wrong_still_pushes_shorter_by_one_kth(make_rollouts):
    got = alp()(make_rollouts([1000, 2000, 3000, 4000], [0] * 4))
    assert got.tolist() == pytest.approx([-0.2 / 4 * n / 4096 for n in (1000, 2000, 3000, 4000)])


def test_the_floor_counts_decided_rows(make_rollouts):
    got = alp()(make_rollouts([1000, 2000, 3000, 4000], [0, 0, math.nan, math.nan]))
    assert got[:2].tolist() == pytest.approx([-0.2 / 2 * 1000 / 4096, -0.2 / 2 * 2000 / 4096])


def test_a_lone_wrong_row_pays_in_full_and_floor_zero_switches_it_off(make_rollouts):
    lone = make_rollouts([1000], [0])
    assert alp()(lone).item() == pytest.approx(-0.2 * 1000 / 4096)
    assert alp(solve_rate_floor=0)(lone).item() == 0


def test_group_max_is_the_longest_decided_row(make_rollouts):
    got = alp(normalizer="group_max")(make_rollouts([100, 200, 4000], [1, 1, math.nan]))
    assert got[:2].tolist() == pytest.approx([0.9, 0.8])


def test_published_slopes_per_thousand_tokens(make_rollouts):
    """In a homogeneous group the coefficient cancels: only epsilon is left of it."""
    length = torch.linspace(1000, 8000, 16).long().tolist()
    term = build("reward", "alp")
    for verdict, epsilon, least in ((1, 1e-4, 0.3), (1, 1e-6, 0.4), (0, 1e-6, 0.3)):
        data = make_rollouts(length, [verdict] * 16)
        advantage = build("advantage", {"name": "group_zscore", "epsilon": epsilon})(term(data), data)
        assert (advantage[0] - advantage[-1]).item() / 7 > least
    weak = build("advantage", "group_zscore")(term(make_rollouts(length, [0] * 16)), make_rollouts(length, [0] * 16))
    assert (weak[0] - weak[-1]).item() / 7 < 0.2


@pytest.mark.parametrize("bad", [{"beta": -1}, {"normalizer": 0}, {"normalizer": "mean"}, {"solve_rate_floor": 2}])
def test_bad_parameters_name_the_field(bad):
    with pytest.raises(ConfigError, match=f"alp.*{next(iter(bad))}"):
        alp(**bad)
