import numpy as np
import pytest

from tersely.eval.stats import seed_means, seeds_bootstrap, seeds_margin_p, seeds_p


def test_means_per_seed_and_problem():
    x = np.array([[1.0, 3.0, 10.0], [np.nan, 2.0, np.nan]])
    found = seed_means(x, np.array([0, 0, 1]))
    assert np.array_equal(found, [[2.0, 2.0], [10.0, np.nan]], equal_nan=True)


def table(rng, seeds, problems, between, mean=0.0):
    """(S, Q) with noise between seeds and between problems."""
    return (
        mean
        + rng.normal(0, between, (seeds, 1))
        + rng.normal(0, 0.1, (1, problems))
        + rng.normal(0, 0.1, (seeds, problems))
    )


@pytest.mark.parametrize("between", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_noise_between_seeds_is_no_effect(seeds, between):
    rng = np.random.default_rng(0)
    base = np.zeros((1, 50))
    found = [seeds_p(table(rng, seeds, 50, between), base) < 0.05 for _ in range(500)]
    assert np.mean(found) <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 500)
    found = [seeds_margin_p(table(rng, seeds, 50, between, -0.02), base, 0.02) < 0.05 for _ in range(500)]
    assert np.mean(found) <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 500)


def test_an_effect_of_every_seed_is_found():
    rng = np.random.default_rng(0)
    base = rng.normal(0, 0.1, (3, 50))
    assert seeds_p(base + 1, base) < 0.01 and seeds_margin_p(base, base, 0.9) < 0.05
    assert seeds_p(np.zeros((2, 5)), np.zeros((1, 5))) == 1.0
    assert np.isnan(seeds_p(np.full((2, 5), np.nan), np.zeros((1, 5))))


def test_the_interval_holds_the_noise_between_seeds():
    rng = np.random.default_rng(0)
    x = np.array([[0.0], [1.0], [2.0]]) + rng.normal(0, 0.01, (3, 100))
    wide = seeds_bootstrap(lambda m: m, x)
    assert wide.estimate == pytest.approx(x.mean()) and wide.low < 0.2 and wide.high > 1.8
    narrow = seeds_bootstrap(lambda a, b: a - b, x, x + 1)
    assert narrow.low < -1.5 and narrow.high > -0.5  # seeds of two runs are drawn apart, problems together
    one = seeds_bootstrap(lambda m: m, x[:1])
    assert one.high - one.low < 0.01
    assert np.isnan(seeds_bootstrap(lambda m: m, np.full((2, 3), np.nan)).estimate)


def test_a_problem_that_one_seed_lacks_stays():
    x = np.array([[1.0, np.nan, np.nan], [1.0, 3.0, np.nan]])
    assert seeds_bootstrap(lambda m: m, x).estimate == pytest.approx(2.0)
