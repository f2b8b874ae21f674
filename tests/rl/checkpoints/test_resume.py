"""A run that goes on from a checkpoint equals the one that was never interrupted, whatever shapes its rollouts."""

from __future__ import annotations

import pytest
import torch

TEXT = "\n</think>\n"
SAVING = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
MIXED = {"filter": "mixed_groups", "group_size": 2, "prompts_per_step": 8, "reward": "correctness"}
OPSDC = {"loss": {"name": "opsdc", "instruction": "Be brief.", "update_steps": 3}, "aggregate": "sequence"}
KINDS = {
    "fixed": {"thinking_budget": {"tokens": 4, "answer_tokens": 3}},
    "scheduled": {"thinking_budget": {"tokens": 2, "final_tokens": 8, "answer_tokens": 3}},
    "of the plan": {"prompting": {"name": "elastic", "think_tokens": 5, "solution_tokens": 4}, "reward": "correctness"},
    "reminders": {"prompting": {"name": "budgetthinker", "budgets": [8]}, "thinking_budget": {"tokens": 6}},
    "exits": {
        "prompting": {"name": "s_grpo", "exits": 3, "answer_tokens": 4, "text": TEXT},
        "reward": "s_grpo",
        "advantage": "group_mean",
    },
    "traces": {
        "prompting": {"name": "brpo", "traces": 1, "budgets": [4, 8], "answers": 2, "answer_tokens": 4, "text": TEXT},
        "reward": "correctness",
        "advantage": "brpo",
    },
    "cap in cycles": {"prompting": {"name": "siri", "longest": 12, "shortest": 4, "cycle": 4}},
    "a teacher that follows": {**OPSDC, "save_steps": 4, "max_steps": 6},
    "an adapter and its teacher": {**OPSDC, "save_steps": 4, "max_steps": 6, "peft": {"rank": 4}},
    "oversampling": {**MIXED, "max_oversampling": 3},
    "oversampling, then rounds": {**MIXED, "max_oversampling": 1.25, "max_resample_rounds": 1},
}


def trained(trainer, checkpoint=None):
    """The rows of each generation batch, and the weights at the end."""
    batches, make = [], trainer.make_batch

    def kept(rows):
        batch = make(rows)
        batches.append(
            [(row["prompt_id"], row["text"], row["length"], row["advantage"]) for row in trainer.logged_rows]
        )
        return batch

    trainer.make_batch = kept
    trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    return batches, trainer.model.state_dict()


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_equals_the_uninterrupted_one(make_trainer, tmp_path, kind):
    run = {**SAVING, **KINDS[kind]}
    whole, weights = trained(make_trainer(**run))
    resumed = make_trainer(**run)
    rest, resumed_weights = trained(resumed, tmp_path / "run" / f"checkpoint-{run['save_steps']}")
    assert len(whole) == run["max_steps"] and rest == whole[run["save_steps"] :]
    assert all(torch.equal(weights[name], resumed_weights[name]) for name in weights)
    if kind == "scheduled":
        assert [max(length for _, _, length, _ in batch) for batch in whole] == [5, 7, 8, 10]
    if "max_oversampling" in KINDS[kind]:
        assert len(resumed.oversampling.shares) == 4
