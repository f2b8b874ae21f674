"""Arora-Zanette: truncation before the statistics, exact zero spread."""

from __future__ import annotations

import pytest

from tersely.core.build import build
from tersely.core.errors import ConfigError


def test_truncated_rows_leave_the_right_ones_before_the_statistics(make_rollouts):
    rows = {"truncated": [False, False, True]}
    data = make_rollouts([100, 200, 4096], [1, 1, 1], **rows)
    alone = make_rollouts([100, 200], [1, 1])
    term = build("reward", {"name": "arora_zanette", "alpha": 0.4})
    assert term(data)[:2].tolist() == term(alone).tolist() and term(data)[2].item() == 0
    counted = build("reward", {"name": "arora_zanette", "alpha": 0.4, "truncated_is_wrong": False})
    assert counted(data)[2].item() > 0.6


@pytest.mark.parametrize("length", [[7], [333, 333, 333], [4095] * 7])
def test_one_right_or_equal_lengths_are_exactly_half_the_discount(make_rollouts, length):
    got = build("reward", {"name": "arora_zanette", "alpha": 0.2})(make_rollouts(length, [1] * len(length)))
    assert got.tolist() == pytest.approx([0.9] * len(length), abs=1e-7)


@pytest.mark.parametrize("bad", [{"alpha": 1.2}, {"epsilon": -1}])
def test_ranges(bad):
    with pytest.raises(ConfigError, match="arora_zanette"):
        build("reward", {"name": "arora_zanette", **bad})
