"""Kimi: warm-up, equal lengths, the range over decided rows."""

from __future__ import annotations

import math

import pytest

from tersely.core.build import build
from tersely.core.errors import ConfigError


def test_nothing_before_the_warm_up_ends(make_rollouts):
    term = build("reward", {"name": "kimi", "warmup": 0.5})
    rows = {"length": [100, 200], "correct": [1, math.nan]}
    early = term(make_rollouts(**rows, progress=0.49))
    assert early[0].item() == 0 and early[1].isnan()
    assert term(make_rollouts([100, 200], [1, 1], progress=0.5)).tolist() == [0.5, -0.5]


def test_equal_lengths_and_a_lone_row_earn_nothing(make_rollouts):
    assert build("reward", "kimi")(make_rollouts([9, 9], [1, 0])).tolist() == [0, 0]
    assert build("reward", "kimi")(make_rollouts([9], [1])).item() == 0


def test_an_undecided_row_does_not_stretch_the_range(make_rollouts):
    got = build("reward", {"name": "kimi", "weight": 0.4})(make_rollouts([100, 200, 4000], [1, 0, math.nan]))
    assert got[:2].tolist() == pytest.approx([0.2, -0.2])


@pytest.mark.parametrize("bad", [{"weight": -1}, {"warmup": 2}])
def test_ranges(bad):
    with pytest.raises(ConfigError, match="kimi"):
        build("reward", {"name": "kimi", **bad})
