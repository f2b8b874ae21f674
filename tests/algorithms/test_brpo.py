"""BRPO's credits: the card's numbers, the degenerate cases, and their places in the rows."""

from __future__ import annotations

import math

import pytest
import torch

from tersely.algorithms.brpo import brpo_answer_credit, brpo_segment_credit
from tersely.core.build import build
from tersely.core.errors import ConfigError
from tersely.core.types import Rollouts

NAN = math.nan


def close(found, expected):
    torch.testing.assert_close(found, torch.tensor(expected, dtype=found.dtype), atol=5e-5, rtol=0)


def test_the_numbers_of_the_card():
    close(brpo_segment_credit([[0, 1], [0, 0]], [1 / 3, 2 / 3]), [[0.3333, 0.5], [-0.3333, -0.1667]])
    close(brpo_segment_credit([[1, 0, 1, 1]], [0.1, 0.2, 0.3, 0.4]), [[0.8, 0.475, 0.5833, 0.1857]])


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("baseline", ["both", "previous", "traces"])
def test_equal_scores_of_several_traces_have_no_credit(value, baseline):
    found = brpo_segment_credit([[value] * 3] * 2, [0.2, 0.3, 0.5], baseline=baseline)
    first = 0.0 if baseline != "previous" else value  # V1 knows nothing before the first segment
    close(found, [[first, 0.0, 0.0]] * 2)


def test_baselines_alone():
    scores, prior = [[0, 1], [0, 0]], [1 / 3, 2 / 3]
    close(brpo_segment_credit(scores, prior, baseline="previous"), [[2 / 3, 2 / 3], [0, 0]])
    close(brpo_segment_credit(scores, prior, baseline="traces"), [[1 / 3, 1 / 3], [-1 / 3, -1 / 3]])


def test_an_undecided_score_silences_its_trace_alone():
    known = brpo_segment_credit([[0, 1], [0, 0]], [1 / 3, 2 / 3])
    found = brpo_segment_credit([[0, 1], [NAN, 1], [0, 0]], [1 / 3, 2 / 3])
    close(found, [known[0].tolist(), [0, 0], known[1].tolist()])


def test_answers_are_compared_with_their_place_or_with_the_other_traces():
    close(brpo_answer_credit([[[1, 0, NAN], [1, NAN, NAN]]]), [[[0.5, -0.5, 0], [0, 0, 0]]])
    close(brpo_answer_credit([[[1], [NAN]], [[0], [1]]]), [[[0.5], [0]], [[-0.5], [0]]])
    close(brpo_answer_credit([[[1, 1, 1]], [[0, 0, 0]]]), [[[0, 0, 0]], [[0, 0, 0]]])


def rollouts(correct, **more):
    """Two traces, two exits, one answer: prefixes 2 and 4 of rows of 6 tokens, forced text at the token after the prefix."""
    prefix = torch.tensor([2, 4, 2, 3])
    forced = torch.zeros(4, 6, dtype=torch.bool)
    forced[torch.arange(4), prefix] = True
    values = {
        "group_size": 4,
        "prompt_id": ["q"] * 4,
        "correct": torch.tensor(correct),
        "length": torch.full((4,), 5),
        "truncated": torch.zeros(4, dtype=torch.bool),
        "max_length": 8,
        "budget": torch.tensor([2.0, 4.0, 2.0, 4.0]),
        "token_ids": torch.ones(4, 6, dtype=torch.int64),
        "forced": forced,
        "exit": torch.tensor([0, 1, 0, 1]),
        "trace": torch.tensor([0, 0, 1, 1]),
        "prefix": prefix,
    }
    return Rollouts(**{**values, **more})


def test_segments_stand_on_the_row_that_trains_the_trace_and_answers_after_their_text():
    found = build("advantage", "brpo")(torch.tensor([0.0, 1.0, 0.0, 0.0]), rollouts([0.0, 1.0, 0.0, 0.0]))
    third, sixth = 1 / 3, 1 / 6
    expected = [
        [0, 0, 0, 0, 0, 0],  # both answers at exit 0 are wrong
        [third, third, 0.5, 0.5, 0, 0.5],
        [0, 0, 0, 0, 0, 0],
        [-third, -third, -sixth, 0, -0.5, -0.5],  # its trace ended at 3
    ]
    close(found, expected)


def test_an_undecided_row_has_no_credit():
    found = build("advantage", "brpo")(torch.tensor([0.0, 1.0, NAN, 0.0]), rollouts([0.0, 1.0, NAN, 0.0]))
    assert not found[2:, :3].any() and found.isfinite().all()


@pytest.mark.parametrize(("prior", "expected"), [("linear", [1 / 3, 2 / 3]), ("uniform", [0.5, 0.5]), ("last", [0, 1])])
def test_priors(prior, expected):
    assert build("advantage", {"name": "brpo", "prior": prior}).probabilities([2.0, 4.0]) == pytest.approx(expected)


def test_a_prior_of_numbers_has_one_per_budget():
    advantage = build("advantage", {"name": "brpo", "prior": [1, 3]})
    assert advantage.probabilities([2.0, 4.0]) == [0.25, 0.75]
    with pytest.raises(ConfigError, match=r"brpo\.prior"):
        advantage.probabilities([2.0])
    for wrong in ("flat", [0, 0], [-1, 2]):
        with pytest.raises(ConfigError, match=r"brpo\.prior"):
            build("advantage", {"name": "brpo", "prior": wrong})


@pytest.mark.parametrize("field", ["exit", "trace", "prefix", "token_ids"])
def test_a_missing_field_is_named(field):
    with pytest.raises(ValueError, match=field):
        build("advantage", "brpo")(torch.zeros(4), rollouts([0.0] * 4, **{field: None}))
