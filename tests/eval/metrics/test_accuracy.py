from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersely.eval.metrics import (
    accuracy_bounds,
    g_pass_at_k,
    mean_at_n,
    mg_pass_at_k,
    pass_at_k,
    pass_at_k_mean,
    undecided_rate,
    where_ended,
)

NAN = np.nan


def subsets(n, c, k):
    """Number of right samples in every k-subset of n samples, the first c of them right."""
    return [sum(i < c for i in chosen) for chosen in combinations(range(n), k)]


def test_macro_mean_drops_undecided_and_empty_problems():
    assert mean_at_n([[1, 0, NAN], [1, NAN, NAN], [NAN, NAN, NAN]]) == pytest.approx(0.75)
    assert mean_at_n([1, 0, 1, None]) == pytest.approx(2 / 3)


def test_nothing_left_is_nan_without_a_warning():
    for empty in ([], [[]], [[NAN, NAN]]):
        assert np.isnan(mean_at_n(empty))
    assert np.isnan(undecided_rate([])) and undecided_rate([NAN]) == 1.0
    assert all(np.isnan(accuracy_bounds([])))
    assert accuracy_bounds([NAN]) == (0.0, 1.0)


def test_bounds_hold_the_undecided():
    c = [[1, NAN], [0, NAN], [1, 1]]
    low, high = accuracy_bounds(c)
    assert (low, high) == pytest.approx((0.5, (1 + 0.5 + 1) / 3))
    assert undecided_rate(c) == pytest.approx(1 / 3)


@pytest.mark.parametrize("bad", [[2], [[0.5]], [-1], [np.inf], ["x"], [[1, 0], [1]], np.zeros((1, 1, 1))])
def test_correct_is_named_when_it_is_wrong(bad):
    with pytest.raises(ValueError, match="correct"):
        mean_at_n(bad)


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_equals_enumeration(case):
    n, c, k = case
    drawn = subsets(n, c, k)
    assert pass_at_k(n, c, k) == pytest.approx(np.mean([d > 0 for d in drawn]), abs=1e-12)
    for tau in (0, 0.25, 0.5, 0.75, 1):
        need = max(1, int(np.ceil(tau * k - 1e-9)))
        assert g_pass_at_k(n, c, k, tau) == pytest.approx(np.mean([d >= need for d in drawn]), abs=1e-12)
    half = -(-k // 2)
    mean = 2 / k * sum(np.mean([d >= i for d in drawn]) for i in range(half + 1, k + 1))
    assert mg_pass_at_k(n, c, k) == pytest.approx(mean, abs=1e-12)


def test_strict_relatives_at_their_ends():
    assert g_pass_at_k(10, 4, 3, 0) == pytest.approx(pass_at_k(10, 4, 3))
    assert g_pass_at_k(10, 4, 3, 1) == pytest.approx(4 / 120)
    assert mg_pass_at_k(5, 3, 1) == 0
    assert pass_at_k(2000, 7, 1000) == pytest.approx(1 - 2.0**-7, rel=1e-2)
    assert g_pass_at_k(3000, 1500, 1000, 0.5) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    "args, name", [((3, 1, 4), "n"), ((3, -1, 2), "c"), ((3, 4, 2), "c"), ((3, 1, 0), "k"), ((3, 1.5, 2), "c")]
)
def test_impossible_draws_are_refused(args, name):
    for function in (pass_at_k, mg_pass_at_k, lambda n, c, k: g_pass_at_k(n, c, k, 0.5)):
        with pytest.raises(ValueError, match=rf"^{name}: got"):
            function(*args)


def test_tau_must_be_a_share():
    for tau in (-0.1, 1.1, NAN):
        with pytest.raises(ValueError, match="tau"):
            g_pass_at_k(4, 2, 2, tau)


def test_pass_at_k_mean_needs_k_decided_samples():
    c = [[1, 0, 0, NAN], [1, NAN, NAN, NAN], [0, 0, 0, 0]]
    assert pass_at_k_mean(c, 1) == pytest.approx((1 / 3 + 1 + 0) / 3)
    assert pass_at_k_mean(c, 3) == pytest.approx(0.5)
    assert np.isnan(pass_at_k_mean(c, 5))
    with pytest.raises(ValueError, match="k"):
        pass_at_k_mean(c, 0)


def test_a_correct_answer_of_a_truncated_sample_counts_as_incorrect_where_only_those_that_ended_count():
    correct, truncated = [[1, 1, 0, np.nan], [1, np.nan, 0, 1]], [[0, 1, 1, 1], [np.nan, 0, 0, 0]]
    ended = where_ended(correct, truncated)
    assert np.array_equal(ended, [[1, 0, 0, np.nan], [1, np.nan, 0, 1]], equal_nan=True)
    with pytest.raises(ValueError, match="truncated"):
        where_ended(correct, [[0], [1]])
