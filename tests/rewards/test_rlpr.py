"""RLPR's score, reward and filter on numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from tersely.rewards.rlpr import RLPR, RLPRStd, mean_probability, repeats


def test_the_score_is_the_mean_of_probabilities():
    logp = torch.log(torch.tensor([[0.9, 0.5, 0.1], [0.2, 1e-30, 1.0]]))
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    assert mean_probability(logp, mask).tolist() == pytest.approx([0.7, 0.5])
    assert mean_probability(logp, torch.zeros(2, 3)).isnan().all()


def test_the_reward_is_debiased_clipped_and_mixed_with_the_format():
    score, base = torch.tensor([0.8, 0.3, 1.0, math.nan]), torch.tensor([0.3, 0.5, 0.0, 0.0])
    reward = RLPR()(score, base, torch.tensor([1, 1, 0, 1]), torch.tensor([0, 0, 1, 0]))
    assert reward[:3].tolist() == pytest.approx([0.9 * 0.5 + 0.1, 0.1, 0.9 - 1.0])
    assert reward[3].isnan()


def test_repetition_counts_phrases_of_ten_words():
    phrase = "one two three four five six seven eight nine ten "
    assert repeats(phrase * 10) and not repeats(phrase * 8)
    assert repeats(phrase.replace(" ", "_") * 10)
    assert not repeats("")


def test_the_filter_sleeps_records_and_acts():
    keep = RLPRStd(beta=1.0)
    wide, narrow = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.5]])
    for step in range(1, 11):
        assert keep(narrow).all(), step
        keep.update(wide)
        assert (keep.ema is None) == (step < 6)
    assert keep.ema == pytest.approx(0.5)
    assert keep(torch.cat([wide, narrow])).tolist() == [True, False]
    keep.update(narrow)
    assert keep.ema == pytest.approx(0.99 * 0.5)
    again = RLPRStd(beta=1.0)
    again.load_state_dict(keep.state_dict())
    assert (again.ema, again.step) == (keep.ema, 11)


def test_one_rollout_has_no_spread():
    keep = RLPRStd()
    for _ in range(10):
        keep.update(torch.tensor([[0.0, 1.0]]))
    assert keep(torch.tensor([[0.7]])).tolist() == [False]


def test_ranges():
    with pytest.raises(ValueError, match="rlpr.format_weight"):
        RLPR(format_weight=2)
    with pytest.raises(ValueError, match="rlpr_std.acts_from"):
        RLPRStd(acts_from=2)
