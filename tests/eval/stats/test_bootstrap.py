import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.properties import examples

from tersely.eval.metrics import mean_at_n
from tersely.eval.stats import (
    Interval,
    bootstrap_mean,
    bootstrap_statistic,
    dominance_probability,
    paired_bootstrap,
)

NAN = np.nan


def test_interval_is_frozen_and_reproducible():
    x = np.random.default_rng(0).random((40, 3))
    a = bootstrap_mean(x)
    assert a == bootstrap_mean(x) and a != bootstrap_mean(x, seed=1) and (a.level, a.draws) == (0.95, 10_000)
    with pytest.raises(AttributeError):
        a.low = 0
    assert a.estimate == pytest.approx(x.mean()) and a.low < a.estimate < a.high


def test_cluster_interval_matches_theory():
    p = np.random.default_rng(1).random(400)
    got = bootstrap_mean(p)
    half = 1.96 * p.std() / np.sqrt(400)
    assert (got.low, got.high) == pytest.approx((p.mean() - half, p.mean() + half), abs=0.1 * half)


def test_modes_order_by_what_they_redraw():
    rng = np.random.default_rng(2)
    x = (rng.random((60, 8)) < rng.random((60, 1))).astype(float)
    x[3, 2:] = NAN
    width = {
        mode: (i := bootstrap_mean(x, resample=mode, draws=4000)).high - i.low
        for mode in ("problems", "samples", "both")
    }
    assert width["samples"] < width["problems"] < width["both"]
    p = np.nanmean(x, axis=1)
    n = (~np.isnan(x)).sum(axis=1)
    assert width["samples"] == pytest.approx(2 * 1.96 * np.sqrt((p * (1 - p) / n).sum()) / 60, rel=0.1)


def test_degenerate_intervals():
    for empty in ([], [[NAN]], [[]]):
        i = bootstrap_mean(empty)
        assert np.isnan([i.estimate, i.low, i.high]).all()
    one = bootstrap_mean([[1, 0, 1]])
    assert one.low == one.high == one.estimate == pytest.approx(2 / 3)
    x = np.random.default_rng(0).random((7, 3))
    assert paired_bootstrap(x, x) == Interval(0.0, 0.0, 0.0, 0.95, 10_000)
    assert paired_bootstrap(x, x, statistic="log_ratio") == Interval(0.0, 0.0, 0.0, 0.95, 10_000)
    nothing = paired_bootstrap([1, NAN], [NAN, 1])
    assert np.isnan([nothing.estimate, nothing.low, nothing.high]).all()


values = arrays(
    np.float64, st.tuples(st.integers(1, 8), st.integers(1, 4)), elements=st.sampled_from([NAN, 0.0, 1.0, 3.5, 0.1])
)


@examples(100)
@given(values, st.data())
def test_swapping_the_runs_negates_everything(a, data):
    b = data.draw(arrays(np.float64, (len(a), 3), elements=st.sampled_from([NAN, 0.0, 2.0, 5.0])))
    for statistic in ("difference", "log_ratio"):
        for resample in ("problems", "samples", "both"):
            one = paired_bootstrap(a, b, statistic=statistic, resample=resample, draws=50)
            two = paired_bootstrap(b, a, statistic=statistic, resample=resample, draws=50)
            np.testing.assert_array_equal([one.estimate, one.low, one.high], [-two.estimate, -two.high, -two.low])


def test_log_ratio_gives_the_saving():
    b = np.random.default_rng(5).integers(100, 900, (50, 4))
    i = paired_bootstrap(b * 0.6, b, statistic="log_ratio")
    assert 1 - np.exp(i.estimate) == pytest.approx(0.4) and i.low == pytest.approx(i.high)
    zero = paired_bootstrap([[0], [5]], [[7], [10]], statistic="log_ratio")
    assert zero.estimate == pytest.approx(np.log(0.5))


def test_statistic_over_problems():
    x = np.random.default_rng(6).integers(0, 2, (30, 4)).astype(float)
    i = bootstrap_statistic(mean_at_n, x)
    assert i.estimate == pytest.approx(x.mean()) and i.draws == 2000 and i == bootstrap_statistic(mean_at_n, x)
    whole = bootstrap_mean(x)
    assert (i.low, i.high) == pytest.approx((whole.low, whole.high), abs=0.03)
    sometimes = bootstrap_statistic(lambda v: NAN if v.sum() == 0 else v.mean(), np.array([0.0, 1.0]), draws=200)
    assert sometimes.low >= 0.5
    never = bootstrap_statistic(lambda v: NAN, [1.0, 2.0], draws=10)
    assert np.isnan([never.estimate, never.low, never.high]).all()
    assert np.isnan(bootstrap_statistic(np.mean, []).estimate)
    with pytest.raises(ValueError, match=r"arrays\[1\]"):
        bootstrap_statistic(np.mean, [1, 2], [1])
    with pytest.raises(ValueError, match="arrays"):
        bootstrap_statistic(np.mean)


def test_dominance():
    rng = np.random.default_rng(7)
    c = rng.integers(0, 2, (40, 4)).astype(float)
    t = rng.integers(50, 90, (40, 4)).astype(float)
    assert dominance_probability(c, t - 10, c, t) == 1.0
    assert dominance_probability(c, t, c, t) == 0.0
    assert dominance_probability(c, t + 10, c, t) == 0.0
    assert 0.2 < dominance_probability(c, t - 10, c[::-1], t) < 0.8
    assert np.isnan(dominance_probability([NAN], [1], [1], [1]))


@pytest.mark.parametrize(
    "kwargs, name", [({"draws": 0}, "draws"), ({"level": 1.0}, "level"), ({"resample": "rows"}, "resample")]
)
def test_settings_are_checked(kwargs, name):
    with pytest.raises(ValueError, match=name):
        bootstrap_mean([1, 0], **kwargs)
    with pytest.raises(ValueError, match=name):
        paired_bootstrap([1, 0], [1, 0], **kwargs)


def test_pairs_are_checked():
    with pytest.raises(ValueError, match="^b: got"):
        paired_bootstrap([1, 0], [1])
    with pytest.raises(ValueError, match="statistic"):
        paired_bootstrap([1], [1], statistic="ratio")
    with pytest.raises(ValueError, match="log_ratio"):
        paired_bootstrap([-1], [1], statistic="log_ratio")


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["paired", *(pytest.param(kind, marks=pytest.mark.exhaustive) for kind in ("mean", "fixed"))]
)
def test_coverage_is_nominal(kind):
    """95 % intervals hold the truth in 95 +- 2 % of 1000 simulated benchmarks of 120 problems, 4 samples each."""
    rng = np.random.default_rng(8)
    hits = 0
    fixed = rng.beta(2, 1, 120)
    for trial in range(1000):
        p = fixed if kind == "fixed" else rng.beta(2, 1, 120)

        def draw(q):
            return (rng.random((120, 16 if kind == "fixed" else 4)) < q[:, None]).astype(float)

        if kind == "paired":
            i, truth = paired_bootstrap(draw(p * 0.9), draw(p), draws=1000, seed=trial), -0.1 * 2 / 3
        elif kind == "mean":
            i, truth = bootstrap_mean(draw(p), draws=1000, seed=trial), 2 / 3
        else:
            i, truth = bootstrap_mean(draw(p), draws=400, seed=trial, resample="samples"), p.mean()
        hits += i.low <= truth <= i.high
    assert 0.93 <= hits / 1000 <= 0.97
