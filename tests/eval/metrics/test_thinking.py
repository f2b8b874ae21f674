import numpy as np
import pytest

from tersely.eval.metrics import (
    auc_oaa,
    f1_otb,
    outcome_efficiency,
    overthinking_envelope,
    overthinking_score,
    process_efficiency,
    redundant_tokens,
    shortest_correct,
    token_calibration,
    token_level_outcome_efficiency,
    underthinking_score,
)

NAN = np.nan


def test_outcome_efficiency_counts_responses_without_a_solution_as_zero():
    assert outcome_efficiency([[5, NAN], [10, 0]], [[10, 10], [10, 0]]) == pytest.approx((0.25 + 0.5) / 2)
    assert outcome_efficiency([[5, 3]], [[10, NAN]]) == pytest.approx(0.5)
    assert np.isnan(outcome_efficiency([NAN], [NAN])) and np.isnan(outcome_efficiency([], []))


def test_process_efficiency_drops_unknown_distinct_tokens():
    assert process_efficiency([[4, NAN]], [[8, 8]]) == pytest.approx(0.5)
    assert process_efficiency([3], [0]) == 0.0


def test_token_level_form_looks_at_right_samples_only():
    assert token_level_outcome_efficiency(
        [[1, 0], [1, 1], [0, 0]], [[5, 1], [NAN, 2], [1, 1]], [[10, 10], [10, 8], [9, 9]]
    ) == pytest.approx((0.5 + 0.625) / 2)
    assert np.isnan(token_level_outcome_efficiency([0], [1], [2]))


def test_redundant_tokens_of_correct_samples_only():
    found = redundant_tokens([[1, 1, 0], [1, NAN, 1]], [[4, NAN, 2], [12, 3, 10]], [[10, 10, 10], [10, 9, 10]])
    np.testing.assert_array_equal(found, [[6, NAN, NAN], [0, NAN, 0]])
    with pytest.raises(ValueError, match="tokens"):
        redundant_tokens([1], [1], [1, 2])


def test_shortest_correct_over_a_pool_of_models():
    pool = [([[1, 1], [0, 0], [0, 0]], [[9, 7], [1, 1], [1, 1]]), ([0, 1, NAN], [1, 30, 2])]
    np.testing.assert_array_equal(shortest_correct(pool), [7, 30, NAN])
    assert shortest_correct([([], [])]).shape == (0,)
    with pytest.raises(ValueError, match="pool"):
        shortest_correct([])
    with pytest.raises(ValueError, match=r"pool\[1\]"):
        shortest_correct([([1], [1]), ([1, 1], [1, 1])])


def test_overthinking_score_and_envelope():
    assert overthinking_score([[10, 20], [8, NAN], [50, 50]], [5, 10, NAN]) == pytest.approx((10 - 2) / 2)
    assert np.isnan(overthinking_score([1], [NAN]))
    assert overthinking_envelope([[1, 9, NAN], [4, NAN, NAN], [NAN, NAN, NAN]]) == pytest.approx(4.0)
    assert overthinking_envelope([3, 4]) == 0.0 and np.isnan(overthinking_envelope([]))


def test_underthinking_pools_the_wrong_samples():
    assert underthinking_score([[0, 0], [0, 1]], [[2, NAN], [10, 1]], [[10, 10], [10, 10]]) == pytest.approx(0.8 / 3)
    assert underthinking_score([0], [0], [0]) == 0.0
    assert np.isnan(underthinking_score([1], [1], [1]))


def test_auc_oaa_equals_its_integral():
    rng = np.random.default_rng(1)
    c, t = rng.integers(0, 2, (20, 4)).astype(float), rng.integers(0, 1500, (20, 4)).astype(float)
    c[3, 1] = t[5, 2] = NAN
    ticks = np.arange(0.5, 1000, 1.0)
    known = ~np.isnan(c) & ~np.isnan(t)
    curve = [
        np.mean([(row_c[k] * (row_t[k] < x)).mean() for row_c, row_t, k in zip(c, t, known, strict=False)])
        for x in ticks
    ]
    assert auc_oaa(c, t) == pytest.approx(np.mean(curve), abs=1e-9)


def test_auc_oaa_forms_differ_and_check_their_arguments():
    c, t = [[1, 0]], [[0, 1000]]
    assert auc_oaa(c, t) == pytest.approx(0.5)
    assert auc_oaa(c, t, how="means") == pytest.approx(0.25)
    with pytest.raises(ValueError, match="t_max"):
        auc_oaa(c, t, t_max=0)
    with pytest.raises(ValueError, match="how"):
        auc_oaa(c, t, how="sum")
    with pytest.raises(ValueError, match="thinking_tokens"):
        auc_oaa(c, [[1, -1]])


def test_harmonic_mean():
    assert f1_otb(0.5, 1.0) == pytest.approx(2 / 3)
    assert f1_otb(0, 0) == 0.0 and np.isnan(f1_otb(NAN, 0.3)) and np.isnan(f1_otb(0.3, NAN))


def test_calibration_recovers_a_power_law():
    x = np.array([10.0, 20, 40, 80])
    fit = token_calibration(3 * x**1.5, x)
    assert fit == {"slope": pytest.approx(1.5), "intercept": pytest.approx(np.log(3)), "r2": pytest.approx(1.0)}
    flat = token_calibration([5, 5, 5], [1, 2, 3])
    assert flat["slope"] == pytest.approx(0) and flat["intercept"] == pytest.approx(np.log(5)) and np.isnan(flat["r2"])
    for tokens, shortest in (([5], [5]), ([5, 6], [4, 4]), ([0, 5], [3, 4]), ([], [])):
        assert all(np.isnan(v) for v in token_calibration(tokens, shortest).values())
