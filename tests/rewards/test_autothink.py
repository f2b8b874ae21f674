"""AutoThink: the balance of the whole batch, the length term of stage 3, malformed rows."""

from __future__ import annotations

import math

import pytest

from tersely.core.build import build
from tersely.core.errors import ConfigError


def test_all_one_mode_moves_to_the_other_end(make_rollouts):
    term = build("reward", "autothink")
    assert term(make_rollouts([5, 5], [1, 0], mode=["think"] * 2)).tolist() == [0, -1]
    assert term(make_rollouts([5, 5], [1, 0], mode=["no_think"] * 2)).tolist() == [1, -2]


def test_the_share_is_over_decided_rows_of_the_whole_batch_and_counts_malformed_ones(make_rollouts):
    mode = ["think", "think", "no_think", "think"]
    formed = [True, True, True, False]
    data = make_rollouts([5] * 4, [1, math.nan, 1, 0], 2, mode=mode, well_formed=formed)
    z = 2 / 3
    got = build("reward", "autothink")(data)
    d = (z - 0.5) * 2
    assert got[0].item() == pytest.approx((1 - d) * 1)
    assert got[1].isnan() and got[2].item() == 2 and got[3].item() == 0


def test_stage_three_has_no_length_term_for_small_or_equal_classes(make_rollouts):
    term = build("reward", {"name": "autothink", "stage": 3})
    got = term(make_rollouts([5, 9, 9], [1, 0, 0], mode=["think"] * 3))
    assert got.tolist() == [1, 0, 0]


def test_stage_three_compares_well_formed_rows_only(make_rollouts):
    term = build("reward", {"name": "autothink", "stage": 3})
    rows = {"mode": ["think"] * 3, "well_formed": [True, True, False]}
    assert term(make_rollouts([5, 5, 900], [1, 1, 1], **rows)).tolist() == [1, 1, 0]


def test_the_scope_is_the_batch_in_stage_one_only():
    assert [build("reward", {"name": "autothink", "stage": stage}).scope for stage in (1, 2, 3)] == [
        "batch",
        "group",
        "group",
    ]


def test_other_modes_are_errors(make_rollouts):
    with pytest.raises(ValueError, match="long_cot"):
        build("reward", "autothink")(make_rollouts([5, 5], [1, 0], mode=["think", "long_cot"]))
    with pytest.raises(ValueError, match="rollouts.mode"):
        build("reward", "autothink")(make_rollouts([5], [1]))


@pytest.mark.parametrize("bad", [{"stage": 4}, {"gamma": 1.5}, {"balance": -1}, {"alpha": -0.1}])
def test_ranges(bad):
    with pytest.raises(ConfigError, match="autothink"):
        build("reward", {"name": "autothink", **bad})
