"""Group statistics against numpy, row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tersely.core import group_stats as groups
from tersely.core.memory import PromptMemory

VALUES = st.lists(st.tuples(st.floats(-1e6, 1e6), st.booleans()), min_size=1, max_size=8)


@given(VALUES)
def test_statistics_equal_numpys(pairs):
    values, chosen = torch.tensor([[v for v, _ in pairs]]).double(), torch.tensor([[c for _, c in pairs]])
    picked = values[chosen].numpy()
    found = {
        "mean": groups.mean_of(values, chosen),
        "min": groups.min_of(values, chosen),
        "max": groups.max_of(values, chosen),
        "median": groups.quantile_of(values, chosen, 0.5),
        "std": groups.std_of(values, chosen, sample=False),
    }
    for name, value in found.items():
        expected = getattr(np, name)(picked) if len(picked) else np.nan
        np.testing.assert_allclose(value.item(), expected, rtol=1e-9, atol=1e-6, err_msg=name)
    if len(picked) > 1:
        np.testing.assert_allclose(groups.std_of(values, chosen, sample=True).item(), np.std(picked, ddof=1), atol=1e-6)


@given(st.floats(-1e6, 1e6), st.integers(1, 9))
def test_equal_values_have_no_spread_at_all(value, count):
    """One ulp of spread over a small epsilon would be a training signal."""
    values, chosen = torch.full((1, count), value, dtype=torch.float64), torch.ones(1, count, dtype=torch.bool)
    assert groups.std_of(values, chosen, sample=True).item() == 0.0
    assert groups.zscore_within(values, chosen, sample=True, epsilon=1e-4).eq(0).all()


def test_zscore_leaves_the_others_at_zero():
    values, chosen = torch.tensor([[1.0, 2.0, 3.0, 99.0]]).double(), torch.tensor([[True, True, True, False]])
    assert groups.zscore_within(values, chosen, sample=True).tolist() == [[-1.0, 0.0, 1.0, 0.0]]


def test_solve_rate_counts_the_decided(rollouts_of):
    nan = float("nan")
    rollouts = rollouts_of(correct=[1.0, 0.0, nan, nan, nan, nan], group_size=3)
    rate = groups.solve_rate(rollouts)
    assert rate[0].item() == 0.5 and rate[1].isnan().item()
    assert groups.reaches(torch.tensor(2 / 3 - 1e-12), 2 / 3)
    assert groups.as_reward(torch.ones(2, 3).double(), rollouts).isnan().tolist() == [
        False,
        False,
        True,
        True,
        True,
        True,
    ]


def test_modes_are_counted_within_the_group(rollouts_of):
    rollouts = rollouts_of(correct=[1.0, 0.0, 1.0, 1.0], group_size=2, mode=["code", "code", "code", "cot"])
    assert groups.rows_of_same_mode(rollouts, "arm").tolist() == [[2.0, 2.0], [1.0, 1.0]]
    assert groups.rows_in_mode(rollouts, "code", "arm").tolist() == [[True, True], [True, False]]


def test_memory_keeps_the_lowest_and_skips_nan(rollouts_of):
    rollouts = rollouts_of(correct=[1.0, 1.0], group_size=1, memory=PromptMemory({"p0": {"best": 5.0}}))
    groups.remember(rollouts, "best", torch.tensor([[7.0], [float("nan")]]), "hapo_history", lowest=True)
    assert groups.remembered(rollouts, "best")[0].item() == 5.0 and groups.remembered(rollouts, "best")[1].isnan()
    with pytest.raises(ValueError, match="rollouts.memory.*lapo"):
        groups.remember(rollouts_of(correct=[1.0]), "best", torch.tensor([[1.0]]), "lapo")
