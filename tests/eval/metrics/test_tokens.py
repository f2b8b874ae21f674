import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersely.eval.metrics import (
    accuracy_efficiency_score,
    accuracy_per_kilotoken,
    budget_to_reach,
    compression_ratio,
    matched_tokens,
    token_summary,
    tokens_by_outcome,
    tokens_per_solved,
)

NAN = np.nan


def test_summary_is_macro_in_the_mean_and_pooled_elsewhere():
    s = token_summary([[10, 20, 30], [100, NAN, NAN]], [[0, 0, 1], [True, 0, 0]])
    assert s == {
        "mean": 60.0,
        "median": 25.0,
        "p90": pytest.approx(79.0),
        "p95": pytest.approx(89.5),
        "p99": pytest.approx(97.9),
        "truncated": 0.5,
        "samples": 4,
    }


def test_empty_summary_is_nan_with_no_samples():
    s = token_summary([])
    assert s.pop("samples") == 0 and all(np.isnan(v) for v in s.values())
    assert np.isnan(token_summary([5])["truncated"])


def test_outcomes_pool_and_leave_an_empty_side_nan():
    assert tokens_by_outcome([[1, 0], [1, NAN]], [[10, 40], [30, 99]]) == {"right": 20.0, "wrong": 40.0}
    assert np.isnan(tokens_by_outcome([1], [3])["wrong"])


def test_matched_tokens_compare_problems_solved_by_both():
    a = matched_tokens([[1, 0], [1, 1], [0, 0]], [[10, 99], [20, 40], [5, 5]], [[1], [0], [1]], [[8], [9], [7]])
    assert a == {"a": 10.0, "b": 8.0, "problems": 1}
    none = matched_tokens([0], [1], [1], [1])
    assert none["problems"] == 0 and np.isnan(none["a"]) and np.isnan(none["b"])
    with pytest.raises(ValueError, match="correct_b"):
        matched_tokens([1], [1], [1, 1], [1, 1])


def test_price_of_a_success():
    assert tokens_per_solved([[1, 0], [NAN, 1]], [[10, 30], [1000, 20]]) == pytest.approx(30.0)
    assert tokens_per_solved([0, 0], [1, 2]) == float("inf")
    assert np.isnan(tokens_per_solved([NAN], [1])) and np.isnan(tokens_per_solved([], []))
    assert accuracy_per_kilotoken([[1, 0], [1, 1]], [[100, 300], [200, 200]]) == pytest.approx(1000 * 0.75 / 200)
    assert np.isnan(accuracy_per_kilotoken([1], [0])) and np.isnan(accuracy_per_kilotoken([], []))


def test_compression_is_a_ratio_of_macro_means():
    assert compression_ratio([[1, 3], [4, NAN]], [[4], [8]]) == pytest.approx(0.5)
    assert np.isnan(compression_ratio([1], [0])) and np.isnan(compression_ratio([], []))


def test_aes_of_the_published_case_and_its_edges():
    assert accuracy_efficiency_score(54.54, 3407, 52.37, 5118) == pytest.approx(0.4586, abs=5e-5)
    assert accuracy_efficiency_score(0.5, 100, 0.5, 100) == 0.0
    assert accuracy_efficiency_score(0.4, 50, 0.5, 100) == pytest.approx(0.5 - 5 * 0.2)
    assert accuracy_efficiency_score(0.4, 50, 0.5, 100, 0.1, 0.1, 1.0) == pytest.approx(0.05 - 0.2)
    assert accuracy_efficiency_score(0, 50, 0, 100) == pytest.approx(0.5)
    assert np.isnan(accuracy_efficiency_score(0.1, 50, 0, 100))
    assert np.isnan(accuracy_efficiency_score(NAN, 50, 0.5, 100))
    for kwargs, name in (
        ({"base_tokens": 0, "base_acc": 0.5}, "base_tokens"),
        ({"base_tokens": 9, "base_acc": -1}, "base_acc"),
    ):
        with pytest.raises(ValueError, match=name):
            accuracy_efficiency_score(0.5, 5, **kwargs)


def test_budget_to_reach():
    grid = [512, 1024, 2048, 4096]
    assert budget_to_reach(grid, [0.1, 0.5, 0.76, 0.8]) == 2048.0
    assert budget_to_reach(grid, [0.1, 0.5, 0.76, 0.8], fraction=0.96) == 4096.0
    assert budget_to_reach([100], [0.3]) == 100.0
    assert np.isnan(budget_to_reach(grid, [0, 0, 0, 0])) and np.isnan(budget_to_reach([], []))
    for budgets in ([2, 1], [0, 1], [NAN, 1]):
        with pytest.raises(ValueError, match="budgets"):
            budget_to_reach(budgets, [0.1, 0.2])


@pytest.mark.parametrize("function", [tokens_by_outcome, tokens_per_solved, accuracy_per_kilotoken])
def test_shapes_and_signs_are_checked(function):
    with pytest.raises(ValueError, match="tokens"):
        function([[1, 0]], [[1]])
    with pytest.raises(ValueError, match="tokens"):
        function([1], [-1])
    with pytest.raises(ValueError, match="correct"):
        function([3], [1])


@given(st.lists(st.lists(st.sampled_from([NAN, 0.0, 1.0, 7.0, 1e6]), min_size=3, max_size=3), min_size=1, max_size=6))
def test_summary_mean_does_not_depend_on_order(rows):
    forward, back = token_summary(rows)["mean"], token_summary([row[::-1] for row in rows[::-1]])["mean"]
    assert (np.isnan(forward) and np.isnan(back)) or forward == pytest.approx(back)
