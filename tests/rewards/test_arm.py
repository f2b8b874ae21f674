"""ARM: rarity among decided rows, and its decay."""

from __future__ import annotations

import math

import pytest

from tersely.core.build import build

TERM = build("reward", "arm")


def test_one_right_row_of_a_rare_mode_earns_k_at_the_start_and_one_at_the_end(make_rollouts):
    rows = {"correct": [1, 0, 0, 0], "mode": ["code", "direct", "direct", "direct"]}
    for t, value in ((0.0, 4.0), (0.5, 2.5), (1.0, 1.0)):
        assert TERM(make_rollouts([5] * 4, **rows, progress=t))[0].item() == pytest.approx(value)


def test_undecided_rows_do_not_count_and_malformed_ones_do(make_rollouts):
    data = make_rollouts([5] * 4, [1, 1, math.nan, 1], mode=["a", "b", "a", "a"], well_formed=[True, True, True, False])
    got = TERM(data)
    assert got[:2].tolist() == pytest.approx([1.5, 3.0]) and got[2].isnan() and got[3].item() == 0


def test_one_mode_all_wrong_and_a_lone_row(make_rollouts):
    assert TERM(make_rollouts([5] * 3, [1, 0, 1], mode=["x"] * 3)).tolist() == [1, 0, 1]
    assert TERM(make_rollouts([5] * 2, [0, 0], mode=["x", "y"])).tolist() == [0, 0]
    assert TERM(make_rollouts([5], [1], mode=["x"])).item() == 1


def test_modes_of_other_groups_do_not_count(make_rollouts):
    data = make_rollouts([5] * 4, [1] * 4, 2, mode=["a", "b", "a", "a"])
    assert TERM(data).tolist() == [2, 2, 1, 1]
