"""DOT: which rows of which groups are cut, and where."""

from __future__ import annotations

import math

import pytest
import torch

from tersely.core.build import build
from tersely.core.errors import ConfigError

LONG = [1000] * 11 + [5000]


@pytest.fixture
def make_rollouts(rollouts_of):
    """`make_rollouts(length, correct, group_size=None, **fields)`."""

    def make(length, correct, group_size=None, **fields):
        return rollouts_of(correct, length=length, group_size=group_size, max_length=4096, **fields)

    return make


def test_the_printed_groups(make_rollouts):
    dot = build("trim", "dot")
    keep = dot(make_rollouts(LONG, [1] * 12))
    assert keep.dtype == torch.int64 and keep.tolist() == [1000] * 11 + [4797]
    assert dot(make_rollouts([1000] * 7 + [5000], [1] * 8)).tolist() == [1000] * 7 + [5000]


@pytest.mark.parametrize(("margin", "kept"), [(203, 4797), (204, 5000)])
def test_the_margin_is_inclusive(make_rollouts, margin, kept):
    assert build("trim", {"name": "dot", "margin": margin})(make_rollouts(LONG, [1] * 12))[-1] == kept


@pytest.mark.parametrize(
    ("length", "correct"),
    [
        (LONG, [0] * 12),
        (LONG, [1] * 11 + [0]),
        (LONG, [math.nan] * 12),
        ([900] * 12, [1] * 12),
        ([4096] * 12, [1] * 12),
        ([9000], [1]),
    ],
)
def test_groups_that_are_left_as_they_are(make_rollouts, length, correct):
    assert build("trim", "dot")(make_rollouts(length, correct)).tolist() == length


def test_undecided_rows_count_for_nothing_and_are_not_cut(make_rollouts):
    keep = build("trim", "dot")(make_rollouts([*LONG, 9000], [1] * 12 + [math.nan]))
    assert keep.tolist() == [1000] * 11 + [4797, 9000]


def test_a_lower_threshold_cuts_wrong_rows_too(make_rollouts):
    dot = build("trim", {"name": "dot", "success_threshold": 11 / 12})
    assert dot(make_rollouts(LONG, [1] * 11 + [0]))[-1] == 4797


def test_groups_are_independent(make_rollouts):
    keep = build("trim", "dot")(make_rollouts([*LONG, *LONG], [1] * 12 + [0] * 12, group_size=12))
    assert keep.tolist() == [1000] * 11 + [4797, *LONG]


def test_a_group_that_is_too_small_for_the_threshold_is_refused():
    dot = build("trim", "dot")
    for size in (1, 8, 10):
        with pytest.raises(ConfigError, match="dot.std_multiplier"):
            dot.check_group_size(size)
    dot.check_group_size(11)
    build("trim", {"name": "dot", "std_multiplier": 2.0}).check_group_size(8)


def test_metrics_of_the_sampled_groups(make_rollouts):
    dot = build("trim", "dot")
    found = dot.measured(make_rollouts([*LONG, *LONG], [1] * 12 + [0] * 12, group_size=12))
    assert found == {"trim/groups": 0.5, "trim/threshold": 4797.0}
    assert dot.measured(make_rollouts([1, 2], [0, 0])) == {"trim/groups": 0.0}


def test_none_keeps_everything(make_rollouts):
    assert build("trim", "none")(make_rollouts([3, 5], [1, 1])).tolist() == [3, 5]


@pytest.mark.parametrize("spec", [{"success_threshold": 1.1}, {"std_multiplier": 0}, {"margin": 0}])
def test_ranges(spec):
    with pytest.raises(ConfigError, match="dot"):
        build("trim", {"name": "dot", **spec})
