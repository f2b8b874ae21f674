from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from tersely.algorithms.objective import Scores
from tersely.core.memory import PromptMemory
from tersely.core.types import RolloutPlan
from tersely.rl.rollouts.record import (
    completion_rows,
    counted,
    group_metrics,
    rollout_record,
    rollouts_from_records,
    thinking_length,
)

ROW = {"prompt_id": "p", "problem": "1+1", "answer": "2"}


def fact(plan=None, *, correct=1.0, status="correct", budget=None, mode="think", length=4, row=ROW):
    parsed = SimpleNamespace(well_formed=True, mode=mode, budget=budget)
    verdict = SimpleNamespace(correct=correct, status=status, answer="2")
    return rollout_record(
        row,
        plan or RolloutPlan(),
        parsed,
        verdict,
        text="t",
        tokens=list(range(length)),
        thinking=2,
        truncated=length > 8,
    )


def test_the_plan_wins_over_what_the_completion_says_of_itself():
    assert fact(RolloutPlan(budget=7, mode="short"), budget=9, mode="think").budget == 7.0
    assert fact(RolloutPlan(mode="short"), mode="think").mode == "short"
    assert fact(budget=9).budget == 9.0 and fact().mode == "think" and math.isnan(fact().budget)


def test_thinking_ends_with_its_marker_or_never():
    assert thinking_length([5, 8, 9, 1, 8, 9], [8, 9]) == 3
    assert (
        thinking_length([5, 8, 1], [8, 9]) == 3
        and thinking_length((8, 8, 8, 9, 7), (8, 8, 9)) == 4
        and thinking_length([], [8]) == 0
        and thinking_length([1, 2], []) == 2
    )


def test_rollouts_keep_global_order_and_a_mode_only_where_all_have_one():
    facts = [fact(correct=1.0), fact(correct=math.nan, status="undecided"), fact(correct=0.0), fact(length=9)]
    rollouts = rollouts_from_records(facts, 2, 8, 0.25, PromptMemory())
    assert rollouts.correct[[0, 2, 3]].tolist() == [1.0, 0.0, 1.0] and rollouts.correct[1].isnan()
    assert rollouts.truncated.tolist() == [False, False, False, True] and rollouts.mode == ["think"] * 4
    facts[0].mode = None
    assert rollouts_from_records(facts, 2, 8, 0.25, PromptMemory()).mode is None


def test_an_answer_behind_which_the_completion_runs_on_counts_by_the_contract_alone():
    verdict = SimpleNamespace(correct=1.0, status="correct", answer="2")
    assert counted(verdict, truncated=True, ended=True) == (0.0, "not_ended")
    assert counted(verdict, truncated=True, ended=False) == (1.0, "correct")
    assert counted(verdict, truncated=False, ended=True) == (1.0, "correct")
    for other in (
        SimpleNamespace(correct=0.0, status="incorrect"),
        SimpleNamespace(correct=math.nan, status="timeout"),
    ):
        assert counted(other, truncated=True, ended=True)[1] == other.status


def test_metrics_read_the_raw_verdicts():
    facts = [
        fact(correct=1.0, length=2),
        fact(correct=0.0, status="incorrect", length=6),
        fact(correct=0.0, status="no_answer", length=8),
        fact(correct=math.nan, status="undecided", length=8),
    ]
    rollouts = rollouts_from_records(facts, 2, 8, 0.0, PromptMemory())
    metrics = group_metrics(rollouts, facts, torch.tensor([True, False]))
    assert metrics["verify/accuracy"] == pytest.approx(1 / 3) and metrics["verify/undecided"] == 0.25
    assert metrics["verify/no_answer"] == 0.25 and metrics["groups/mixed"] == 0.5 and metrics["groups/kept"] == 0.5
    assert metrics["groups/all_incorrect"] == 0.5 and metrics["efficiency/tokens_correct"] == 2.0
    assert metrics["efficiency/tokens_incorrect"] == 7.0 and metrics["efficiency/tokens_per_solved"] == 24.0


def test_metrics_without_a_right_row_are_nan_not_errors():
    facts = [fact(correct=0.0, status="incorrect")] * 2
    metrics = group_metrics(rollouts_from_records(facts, 2, 8, 0.0, PromptMemory()), facts, torch.tensor([True]))
    assert math.isnan(metrics["efficiency/tokens_correct"]) and math.isnan(metrics["efficiency/tokens_per_solved"])


def test_a_table_row_holds_the_mean_advantage_of_its_own_tokens_and_every_term():
    facts = [fact(length=2), fact(correct=0.0, status="incorrect", length=4)]
    advantage = torch.tensor([[1.0, 3.0, 0.0, 0.0], [-1.0, -1.0, -1.0, -1.0]])
    columns = torch.tensor([[1.0, 0.5], [0.0, 0.25]])
    scores = Scores(columns, torch.tensor([1.0, 2.0]), columns.sum(1), advantage, torch.tensor([True]))
    rows = completion_rows(facts, scores, ("alp", "alp"), 2)
    assert [row["advantage"] for row in rows] == [2.0, -1.0], "not over the padding"
    assert [row["reward/alp"] for row in rows] == [1.0, 0.0] and [row["reward/alp_1"] for row in rows] == [0.5, 0.25]
    assert [row["weighted/alp_1"] for row in rows] == [1.0, 0.5]
