from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from tersely.eval.stats import (
    clustered_standard_error,
    holm,
    mcnemar_exact,
    paired_permutation,
    paired_standard_error,
    sign_test,
    standard_error,
)

NAN = np.nan


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=1, max_size=9))
def test_permutation_equals_enumeration(d):
    moving = [x for x in d if x]
    flips = [
        abs(sum(s * x for s, x in zip(signs, moving, strict=False))) / len(d)
        for signs in product((1, -1), repeat=len(moving))
    ]
    expected = np.mean([f >= abs(sum(d)) / len(d) - 1e-12 for f in flips]) if moving else 1.0
    assert paired_permutation(d, [0.0] * len(d)) == pytest.approx(expected)


def test_permutation_by_draws():
    rng = np.random.default_rng(0)
    d = rng.normal(0.3, 1, 40)
    p = paired_permutation(d, np.zeros(40))
    assert p == paired_permutation(d, np.zeros(40)) and p == pytest.approx(
        paired_permutation(np.zeros(40), d), abs=0.01
    )
    assert paired_permutation(d + 9, np.zeros(40)) == pytest.approx(1 / 10_001)
    assert np.isnan(paired_permutation([], [])) and np.isnan(paired_permutation([NAN], [1]))
    assert paired_permutation([[1, 0]], [[0, 1]]) == 1.0


@pytest.mark.slow
def test_permutation_keeps_its_level():
    rng = np.random.default_rng(1)
    p = [paired_permutation(rng.normal(0, 1, 30), np.zeros(30), draws=400, seed=i) for i in range(1000)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.02)


@given(st.integers(0, 30), st.integers(0, 30))
def test_exact_tests_equal_the_binomial(x, y):
    expected = binomtest(x, x + y).pvalue if x + y else 1.0
    a, b = [1] * x + [0] * y + [1, 0, NAN], [0] * x + [1] * y + [1, 0, 1]
    assert mcnemar_exact(a, b) == pytest.approx(expected)
    assert sign_test([2.5] * x + [-0.1] * y + [0, NAN]) == pytest.approx(expected)


def test_mcnemar_takes_one_sample():
    with pytest.raises(ValueError, match="^a.*shape"):
        mcnemar_exact([[1, 0]], [[1, 0]])
    with pytest.raises(ValueError, match="b"):
        mcnemar_exact([1, 0], [1])


def test_standard_errors():
    c = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, NAN, NAN]])
    p = np.array([0.5, 1, 0.5])
    assert standard_error(c) == pytest.approx(p.std(ddof=1) / np.sqrt(3))
    assert standard_error(c, fixed_benchmark=True) == pytest.approx(np.sqrt(0.25 / 3 + 0 + 0.25 / 1) / 3)
    assert np.isnan(standard_error([[1, 0]])) and np.isnan(standard_error([1, 0, 1], fixed_benchmark=True))
    assert np.isnan(standard_error([], True))
    assert paired_standard_error([1, 0, 1], [0, 0, 0]) == pytest.approx(np.std([1, 0, 1], ddof=1) / np.sqrt(3))
    assert np.isnan(paired_standard_error([1], [1]))


def test_clusters():
    v = np.array([1.0, 0.5, 0.0, 0.25])
    gap = v - v.mean()
    assert clustered_standard_error(v, "aabb") == pytest.approx(np.sqrt((gap[:2].sum()) ** 2 + gap[2:].sum() ** 2) / 4)
    assert clustered_standard_error(v, range(4)) == pytest.approx(v.std() / 2)
    assert clustered_standard_error([1, NAN, 0], ["x", "y", "x"]) == pytest.approx(0.0)
    assert np.isnan(clustered_standard_error([], []))
    with pytest.raises(ValueError, match="clusters"):
        clustered_standard_error([1, 0], ["x"])


def test_holm():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, NAN, 0.9]), [1.0, NAN, 1.0])
    assert holm([]).shape == (0,)
    with pytest.raises(ValueError, match="p_values"):
        holm([1.2])


@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1.0, 1e7, 1e300])
@pytest.mark.parametrize("count", [1, 2, 7, 16])
def test_permutation_p_follows_no_unit_and_is_never_below_its_smallest_value(scale, count):
    rng = np.random.default_rng(count)
    d = rng.uniform(0.1, 1.0, count)
    assert paired_permutation(d * scale, np.zeros(count)) == 2.0 ** (1 - count)  # all of one sign
    mixed = d * np.where(np.arange(count) % 2, 1, -1)
    assert paired_permutation(mixed * scale, np.zeros(count)) == paired_permutation(mixed, np.zeros(count))


def test_differences_that_are_rounding_are_no_differences():
    a = np.array([0.1 + 0.2, 0.7, 1.1])
    assert paired_permutation(a, [0.3, 0.7, 1.1]) == 1.0
