"""RLPR's reward: card numbers."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from tersely.core.build import build
from tersely.core.types import Rollouts
from tersely.rewards.rlpr import RLPR, mean_probability, repeats


def rollouts(score, base, formed, repeated, correct=None) -> Rollouts:
    rows = len(score)
    return Rollouts(
        group_size=rows,
        prompt_id=["q"] * rows,
        correct=torch.zeros(rows) if correct is None else torch.tensor(correct),
        length=torch.ones(rows, dtype=torch.int64),
        truncated=torch.zeros(rows, dtype=torch.bool),
        max_length=10,
        well_formed=torch.tensor(formed, dtype=torch.bool),
        reference_score=torch.tensor(score),
        reference_base=torch.tensor(base),
        repeated=torch.tensor(repeated, dtype=torch.bool),
    )


def test_the_score_is_the_mean_of_probabilities():
    logp = torch.log(torch.tensor([[0.9, 0.5, 0.1], [0.2, 1e-30, 1.0]]))
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    assert mean_probability(logp, mask).tolist() == pytest.approx([0.7, 0.5])
    assert mean_probability(logp, torch.zeros(2, 3)).isnan().all()


def test_the_reward_is_debiased_clipped_and_mixed_with_the_format():
    batch = rollouts([0.8, 0.3, 1.0, math.nan], [0.3, 0.5, 0.0, 0.0], [1, 1, 0, 1], [0, 0, 1, 0])
    reward = build("reward", "rlpr")(batch)
    assert reward[:3].tolist() == pytest.approx([0.9 * 0.5 + 0.1, 0.1, 0.9 - 1.0])
    assert reward[3].isnan()


def test_the_verdict_has_no_part_in_it_but_undecided_rows_stay_out():
    one = rollouts([0.8] * 3, [0.3] * 3, [1] * 3, [0] * 3, [1.0, 0.0, math.nan])
    reward = RLPR()(one)
    assert reward[0] == reward[1] and reward[2].isnan()


def test_who_needs_the_score_says_so():
    batch = dataclasses.replace(rollouts([0.8], [0.3], [1], [0]), reference_score=None)
    with pytest.raises(ValueError, match="rollouts.reference_score.*rlpr"):
        RLPR()(batch)


def test_repetition_counts_phrases_of_ten_words():
    phrase = "one two three four five six seven eight nine ten "
    assert repeats(phrase * 10) and not repeats(phrase * 8)
    assert repeats(phrase.replace(" ", "_") * 10)
    assert not repeats("")


def test_ranges():
    with pytest.raises(ValueError, match="rlpr.format_weight"):
        RLPR(format_weight=2)
