"""RLPR's filter over its running spread, and its format."""

from __future__ import annotations

import pytest
import torch

from tersely.algorithms.filters.rlpr import RLPRStd
from tersely.algorithms.prompting.rlpr import RLPRFormat
from tersely.core.build import build
from tersely.core.types import Rollouts


def groups(*gains: list[float]) -> Rollouts:
    size = len(gains[0])
    rows = size * len(gains)
    score = torch.tensor([value for group in gains for value in group])
    return Rollouts(
        group_size=size,
        prompt_id=[f"q{i // size}" for i in range(rows)],
        correct=torch.zeros(rows),
        length=torch.ones(rows, dtype=torch.int64),
        truncated=torch.zeros(rows, dtype=torch.bool),
        max_length=10,
        well_formed=torch.ones(rows, dtype=torch.bool),
        reference_score=score,
        reference_base=torch.zeros(rows),
        repeated=torch.zeros(rows, dtype=torch.bool),
    )


def test_the_filter_sleeps_records_and_acts():
    keep = build("filter", {"name": "rlpr_std", "beta": 1.0, "format_weight": 0.0})
    wide, narrow = [0.0, 1.0], [0.5, 0.5]
    for step in range(1, 11):
        assert keep(groups(narrow)).all(), step
        keep.update(groups(wide))
        assert (keep.ema is None) == (step < 6)
    assert keep.ema == pytest.approx(0.5)
    assert keep(groups(wide, narrow)).tolist() == [True, False]
    keep.update(groups(narrow))
    assert keep.ema == pytest.approx(0.99 * 0.5)
    again = RLPRStd(beta=1.0)
    again.load_state_dict(keep.state_dict())
    assert (again.ema, again.step) == (keep.ema, 11)


def test_one_rollout_has_no_spread():
    keep = RLPRStd()
    for _ in range(10):
        keep.update(groups([0.0, 1.0]))
    assert keep(groups([0.7])).tolist() == [False]


def test_undecided_rows_are_left_out_of_the_spread():
    keep, batch = RLPRStd(format_weight=0.0), groups([0.0, 1.0, 0.5])
    batch.correct[2] = torch.nan
    assert keep._spread(batch).tolist() == pytest.approx([0.5])


@pytest.mark.parametrize(
    ("turn", "kept"),
    [
        ("<think> z </think> <answer> 7 </answer>", True),
        ("<|im_start|>assistant\n<think>\nz</think><answer>7</answer>", True),
        ("<think> z </think> <answer> </answer>", False),
        ("<think> z </think> 7", False),
        ("<answer> 7 </answer> <think> z </think>", False),
        ("<think> z </think> <answer> 7 </answer> <answer> 8 </answer>", False),
        ("", False),
    ],
)
def test_the_tags(turn, kept):
    assert RLPRFormat().parse(turn).well_formed is kept


@pytest.mark.parametrize(
    ("turn", "kept"),
    [
        ("<think>z</think>\\boxed{\\frac{1}{2}}", True),
        ("<think>z</think>\\boxed{}", False),
        ("<think>z</think>\\boxed{7", False),
        ("<think>z</think>\\boxed{7} \\boxed{8}", False),
    ],
)
def test_answers_in_boxes(turn, kept):
    plan = build("prompting", {"name": "rlpr", "opening": "\\boxed{", "closing": "}", "space": "", "instruction": ""})
    assert plan.parse(turn).well_formed is kept
    assert plan(["a"], 2)[0].instruction is None


def test_the_plan_asks_every_rollout():
    plans = build("prompting", "rlpr")(["a", "b"], 3)
    assert len(plans) == 6 and all("<answer>" in plan.instruction for plan in plans)


def test_ranges():
    with pytest.raises(ValueError, match="rlpr_std.acts_from"):
        RLPRStd(acts_from=2)
    with pytest.raises(ValueError, match="rlpr.opening"):
        RLPRFormat(opening="")
    with pytest.raises(ValueError, match="rlpr.space"):
        RLPRFormat(space="x")
