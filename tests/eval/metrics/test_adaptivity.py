import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from tersely.eval.metrics import (
    adaptation_ratio,
    allocation_curve,
    difficulty_table,
    length_difficulty_kendall,
    length_difficulty_spearman,
    token_share_easiest_half,
)

NAN = np.nan


def test_curve_of_three_problems():
    t, r = [60, 10, 30], [0.1, 0.9, 0.5]
    np.testing.assert_allclose(allocation_curve(t, r, [0, 1 / 3, 0.5, 2 / 3, 1]), [0, 0.1, 0.25, 0.4, 1])
    assert adaptation_ratio(t, r) == pytest.approx(6.0)
    assert token_share_easiest_half(t, r) == pytest.approx(0.25)


def test_fractional_problems():
    assert adaptation_ratio([10, 40], [1, 0]) == pytest.approx((2 / 3 * 40 / 50) / (2 / 3 * 10 / 50))
    assert adaptation_ratio([10, 20, 30, 40], [1, 0.75, 0.5, 0]) == pytest.approx((40 + 10) / (10 + 20 / 3))


@given(
    st.lists(st.tuples(st.integers(0, 500), st.sampled_from([0, 0.25, 0.5, 1])), min_size=1, max_size=15),
    st.randoms(use_true_random=False),
)
def test_order_of_rows_is_irrelevant_and_ties_give_one(rows, random):
    shuffled = random.sample(rows, len(rows))
    for function in (adaptation_ratio, token_share_easiest_half):
        a, b = (function([t for t, _ in x], [r for _, r in x]) for x in (rows, shuffled))
        assert (np.isnan(a) and np.isnan(b)) or a == pytest.approx(b)
    if sum(t for t, _ in rows):
        assert adaptation_ratio([t for t, _ in rows], [0.5] * len(rows)) == 1.0


def test_degenerate_curves():
    assert np.isnan(allocation_curve([], [], [0.5])).all() and np.isnan(adaptation_ratio([0, 0], [0, 1]))
    assert np.isnan(adaptation_ratio([0, 5, 5], [1, 0.5, 0])) and adaptation_ratio([7], [0.3]) == 1.0
    assert adaptation_ratio([7, 9, NAN], [0.3, NAN, 0.2]) == 1.0
    for bad in ([-0.1], [1.1], [NAN]):
        with pytest.raises(ValueError, match="shares"):
            allocation_curve([1], [0], bad)
    with pytest.raises(ValueError, match="reference_rate"):
        adaptation_ratio([1], [1.2])
    with pytest.raises(ValueError, match="reference_rate"):
        adaptation_ratio([1, 2], [0.2])


def test_correlations_equal_scipy():
    rng = np.random.default_rng(3)
    t, r = rng.integers(0, 9, (30, 2)).astype(float), rng.integers(0, 5, 30) / 4
    assert length_difficulty_spearman(t, r) == pytest.approx(spearmanr(t.mean(1), 1 - r).statistic)
    assert length_difficulty_kendall(t, r) == pytest.approx(kendalltau(t.mean(1), 1 - r).statistic)
    for function in (length_difficulty_spearman, length_difficulty_kendall):
        assert (
            np.isnan(function([1], [1])) and np.isnan(function([1, 1], [0, 1])) and np.isnan(function([1, 2], [1, 1]))
        )


def test_spearman_on_right_samples():
    c, t, r = [[1, 0], [1, 1], [0, 0]], [[10, 99], [20, 30], [1, 1]], [0.9, 0.5, 0.1]
    assert length_difficulty_spearman(t, r, c) == pytest.approx(1.0)
    assert length_difficulty_spearman(t, r) == pytest.approx(-1.0)


def test_table_bins_and_savings():
    r = [0, 0.25, 0.25, 0.5, 0.75, 0.76, 1, NAN]
    c, t = [0, 1, 0, 1, 1, 1, 1, 1], [90, 50, 70, 40, 30, 20, 10, 999]
    table = difficulty_table(c, t, r, [[100, 100]] * 8)
    assert [row["problems"] for row in table] == [1, 2, 1, 1, 1, 1]
    assert [row["tokens"] for row in table] == [90, 60, 40, 30, 20, 10]
    assert table[1]["accuracy"] == 0.5 and table[1]["saving"] == pytest.approx(0.4)
    empty = difficulty_table([NAN], [1], [0.5])
    assert len(empty) == 6 and all(row["problems"] == 0 and np.isnan(row["saving"]) for row in empty)
