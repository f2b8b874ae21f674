"""L1: both rewards, both forms, rows without a budget."""

from __future__ import annotations

import math

import pytest

from tersely.core.build import build
from tersely.core.errors import ConfigError


def test_a_row_without_a_budget_is_worth_its_verdict(make_rollouts):
    data = make_rollouts([100, 100], [1, 0], budget=[math.nan] * 2)
    for spec in ("l1_exact", "l1_max", {"name": "l1_max", "form": "released"}):
        assert build("reward", spec)(data).tolist() == [1, 0]


def test_exact_pulls_wrong_answers_too(make_rollouts):
    got = build("reward", "l1_exact")(make_rollouts([100, 4096], [0, 0], budget=[4096, 96]))
    assert got.tolist() == pytest.approx([-1.1988, -1.2], abs=1e-4)


def test_the_released_max_form_has_half_the_slope_and_no_delta(make_rollouts):
    data = make_rollouts([1000, 2000, 3000], [1] * 3, budget=[2000] * 3)
    released = build("reward", {"name": "l1_max", "form": "released", "delta": 0.9})(data)
    assert released.tolist() == pytest.approx([0.65, 0.5, 0.35])


def test_no_budgets_at_all_is_an_error(make_rollouts):
    with pytest.raises(ValueError, match="rollouts.budget.*l1_exact"):
        build("reward", "l1_exact")(make_rollouts([1], [1]))


@pytest.mark.parametrize("spec", [{"name": "l1_exact", "alpha": -1}, {"name": "l1_max", "form": "code"}])
def test_ranges(spec):
    with pytest.raises(ConfigError, match=spec["name"]):
        build("reward", spec)
