"""HBPO, the reward: forms, malformed rows, missing budgets."""

from __future__ import annotations

import math

import pytest

from tersely.core.build import build
from tersely.core.errors import ConfigError


def test_malformed_rows_right_or_wrong(make_rollouts):
    data = make_rollouts([10, 10, 10], [1, 0, math.nan], budget=[512] * 3, well_formed=[False] * 3)
    for spec, level in (({}, 0), ({"form": "released"}, -1), ({"form": "released", "malformed_reward": 0.25}, 0.25)):
        got = build("reward", {"name": "hbpo", **spec})(data)
        assert got[:2].tolist() == [level, level] and got[2].isnan()


def test_no_budget_counts_as_the_cap(make_rollouts):
    got = build("reward", "hbpo")(make_rollouts([1000, 4096], [1, 1], budget=[math.nan] * 2))
    assert got.tolist() == pytest.approx([0, 0], abs=1e-6)


def test_the_released_form_pays_less_for_very_short_answers_under_a_small_budget_only(make_rollouts):
    data = make_rollouts([0, 0], [1, 1], budget=[512, 2048])
    assert build("reward", "hbpo")(data).tolist() == pytest.approx([3.9231, 2.8284], abs=1e-4)
    assert build("reward", {"name": "hbpo", "form": "released"})(data).tolist() == pytest.approx(
        [3.875, 2.8284], abs=1e-4
    )


def test_beyond_max_length_is_nothing(make_rollouts):
    term = build("reward", {"name": "hbpo", "max_length": 1000})
    assert term(make_rollouts([1000, 1001, 900], [1, 1, 1], budget=[800, 2000, 2000]))[1].item() == 0


def test_alpha_is_per_token(make_rollouts):
    data = make_rollouts([1000], [1], budget=[500])
    free = build("reward", {"name": "hbpo", "alpha": 0})(data) - build("reward", {"name": "hbpo", "alpha": 1e-3})(data)
    assert free.item() == pytest.approx(0.5)


@pytest.mark.parametrize("bad", [{"beta": -1}, {"alpha": -1}, {"max_length": 0}, {"form": "code"}])
def test_ranges(bad):
    with pytest.raises(ConfigError, match="hbpo"):
        build("reward", {"name": "hbpo", **bad})
