import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersely.eval.metrics import (
    accuracy_at_budget,
    budget_auc,
    budget_excess,
    length_deviation,
    mean_at_n,
    s1_control,
    s1_scaling,
    violation_rate,
)

NAN = np.nan


def test_truncation_curve():
    c, t = [[1, 1], [1, 0], [NAN, 1]], [[100, 900], [512, 3], [1, NAN]]
    np.testing.assert_allclose(accuracy_at_budget(c, t, [99, 512, 1024]), [0, 0.5, 0.75])
    assert accuracy_at_budget(c, t, 512).shape == (1,)
    assert np.isnan(accuracy_at_budget([], [], [1, 2])).all() and accuracy_at_budget(c, t, []).shape == (0,)


@given(st.lists(st.tuples(st.sampled_from([0, 1]), st.integers(0, 50)), min_size=1, max_size=20))
def test_curve_rises_to_the_accuracy(samples):
    c, t = zip(*samples, strict=False)
    curve = accuracy_at_budget(c, t, [1, 10, 50])
    assert (np.diff(curve) >= 0).all() and curve[-1] == pytest.approx(mean_at_n(c))


def test_auc_over_doublings():
    assert budget_auc([512, 1024, 4096], [0.2, 0.4, 0.6]) == pytest.approx((0.3 * 1 + 0.5 * 2) / 3)
    assert budget_auc([512], [0.3]) == 0.3 and np.isnan(budget_auc([], [])) and np.isnan(budget_auc([1, 2], [NAN, 1]))
    for budgets in ([2, 1], [1, 1], [0, 1], [NAN, 1]):
        with pytest.raises(ValueError, match="budgets"):
            budget_auc(budgets, [0.1, 0.2])
    with pytest.raises(ValueError, match="accuracy"):
        budget_auc([1, 2], [0.1])


def test_deviation_violation_excess():
    t, b = [[50, 150], [200, NAN]], [100, 200]
    assert length_deviation(t, b) == {"mean": pytest.approx(1 / 3), "rmse": pytest.approx(np.sqrt(0.5 / 3))}
    assert violation_rate(t, b) == pytest.approx(1 / 3)
    assert budget_excess(t, b) == {"excess": pytest.approx(0.5), "underuse": pytest.approx(0.25)}
    assert violation_rate(t, 100) == pytest.approx(2 / 3)
    assert violation_rate(t, [[100, NAN], [200, 1]]) == 0.0
    assert np.isnan(budget_excess([10], [100])["excess"])


def test_nothing_to_measure():
    assert np.isnan(length_deviation([], [])["rmse"]) and np.isnan(violation_rate([5], [NAN]))


@pytest.mark.parametrize("budgets", [0, [-1, 5], [1, 2, 3], [[1, 2, 3], [1, 2, 3]], [[1], [2], [3]]])
def test_bad_budgets_are_named(budgets):
    for function in (length_deviation, violation_rate, budget_excess):
        with pytest.raises(ValueError, match="budgets"):
            function([[1, 2], [3, 4]], budgets)


def test_s1():
    assert s1_control([1, 5, 9, NAN], 1, 5) == pytest.approx(2 / 3) and np.isnan(s1_control([], 0, 1))
    assert s1_scaling([1, 3, 3], [0.1, 0.5, 0.7]) == pytest.approx((0.2 + 0.3) / 2)
    assert np.isnan(s1_scaling([2, 2], [0.1, 0.2])) and np.isnan(s1_scaling([], []))
