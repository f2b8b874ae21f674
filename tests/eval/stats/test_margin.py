import numpy as np
import pytest

from tersely.eval.stats import non_inferiority_p, problems_to_decide

MARGIN = 0.05


def greedy(rng, problems):  # rare total losses, no gain
    return -(rng.random(problems) < MARGIN).astype(float)


def both_ways(rng, problems):
    u = rng.random(problems)
    return np.where(u < 0.05, 1.0, np.where(u < 0.10 + MARGIN, -1.0, 0.0))


def sampled(rng, problems):  # four samples, hard and easy problems
    p = rng.beta(4, 1, problems)
    return (rng.binomial(4, p * (1 - MARGIN / 0.8)) - rng.binomial(4, p)) / 4


def skewed(rng, problems):  # small gains everywhere, rare total losses
    return np.where(rng.random(problems) < (0.1 + MARGIN) / 1.1, -1.0, 0.1)


@pytest.mark.parametrize("true_loss_of_the_margin", [greedy, both_ways, sampled, skewed])
@pytest.mark.parametrize("problems", [2, 8, 30, 300])
def test_not_worse_is_rarely_said_at_a_true_loss_of_the_margin(true_loss_of_the_margin, problems):
    rng = np.random.default_rng(0)
    said = [non_inferiority_p(true_loss_of_the_margin(rng, problems), MARGIN) < 0.05 for _ in range(400)]
    assert np.mean(said) <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 400)


def test_it_is_said_where_there_is_no_loss_and_enough_problems():
    rng = np.random.default_rng(0)
    said = [non_inferiority_p(rng.normal(0, 0.2, 1000).clip(-1, 1), 0.02) < 0.05 for _ in range(100)]
    assert np.mean(said) > 0.6


def test_no_loss_on_few_problems_is_little_evidence():
    assert non_inferiority_p(np.zeros(30), 0.01) > 0.5
    assert non_inferiority_p(np.zeros(200), 0.01) > 0.99**200 - 1e-12 > 0.05
    assert non_inferiority_p(np.zeros(1000), 0.01) < 0.05
    assert non_inferiority_p([0.5], 0.01) == 1.0 and np.isnan(non_inferiority_p([np.nan], 0.01))
    assert non_inferiority_p([-1.0, -1.0], 0.5) == 1.0


def test_arguments():
    with pytest.raises(ValueError, match="margin"):
        non_inferiority_p([0.0, 0.0], 0)
    with pytest.raises(ValueError, match="differences"):
        non_inferiority_p([0.0, 2.0], 0.1)


@pytest.mark.parametrize("gaps", [np.zeros(30), np.tile([-0.25, 0.0, 0.25], 20), np.tile([0.5, 0.0, 0.0, -0.25], 5)])
def test_that_many_problems_of_the_same_kind_would_decide(gaps):
    wanted = problems_to_decide(gaps, 0.01)
    assert wanted > len(gaps)
    more = np.tile(gaps, -(-wanted // len(gaps)))
    decided = non_inferiority_p(more, 0.01) < 0.05
    t = abs(more.mean()) / (more.std(ddof=1) / np.sqrt(len(more)) or 1)
    assert decided or t > 1.95
    fewer = more[: int(0.8 * wanted)]
    assert non_inferiority_p(fewer, 0.01) >= 0.05


def test_a_mean_at_the_margin_is_decided_by_significance():
    gaps = np.tile([-0.51, 0.49], 50)
    assert problems_to_decide(gaps, 0.01) == pytest.approx((1.96 * 0.5 / 0.01) ** 2, rel=0.05)
    assert problems_to_decide([np.nan], 0.01) is None


def test_a_clear_gain_is_not_worse():
    assert non_inferiority_p(np.tile([0.5, 0.0, 0.25, 0.25], 15), 0.01) < 1e-4
