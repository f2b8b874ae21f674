"""`mask_truncated` against TRL's `mask_truncated_completions`: the same loss and gradient."""

from __future__ import annotations

import copy

import pytest
import torch
from trl import GRPOTrainer

TRL_NAMES = {"token": "dapo", "sequence": "grpo", "constant": "dr_grpo"}


def one_batch(trainer):
    trainer.model.train()
    trainer.state.max_steps, trainer.current_gradient_accumulation_steps = 2, trainer.args.gradient_accumulation_steps
    return trainer.make_batch(trainer.prompts.at(0))


def loss_and_gradient(trainer, compute, inputs):
    trainer.model.zero_grad()
    loss = compute(trainer.model, copy.copy(inputs))
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])


@pytest.mark.parametrize("aggregate", TRL_NAMES)
def test_loss_and_gradient_equal_trl(make_trainer, aggregate, monkeypatch):
    trainer = make_trainer(mask_truncated=True, aggregate=aggregate, micro_batch=16, micro_batching=False)
    monkeypatch.setattr(trainer.engine, "generate", cap_some(trainer.engine.generate))
    trainer.loss_type, trainer.epsilon_low, trainer.epsilon_high = TRL_NAMES[aggregate], 0.2, 0.2
    batch = one_batch(trainer)
    truncated = torch.tensor([row["truncated"] for row in trainer.logged_rows])
    assert truncated.any() and not truncated.all()
    update = trainer.cut(batch)
    inputs = update.parts[0]
    loss, gradient = loss_and_gradient(trainer, trainer.loss, inputs)
    # TRL zeroes the completion mask of truncated rows and counts tokens before
    masked = {**inputs, "completion_mask": inputs["train_mask"]}
    reference, expected = loss_and_gradient(
        trainer, lambda model, x: GRPOTrainer._compute_loss(trainer, model, x), masked
    )
    torch.testing.assert_close(loss, reference, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)
    assert gradient.abs().max() > 0


def cap_some(generate, every=2):
    """Of `every` generations one is stopped by the cap."""
    import dataclasses

    def called(requests, **how):
        found = generate(requests, **how)
        return [dataclasses.replace(g, finish="eos" if i % every else "length") for i, g in enumerate(found)]

    return called


def test_masked_rows_stay_in_the_baseline_and_the_row_count(make_trainer, monkeypatch):
    batches = {}
    for masks in (False, True):
        trainer = make_trainer(mask_truncated=masks)
        monkeypatch.setattr(trainer.engine, "generate", cap_some(trainer.engine.generate))
        batches[masks] = one_batch(trainer)
        rows = trainer.logged_rows
    plain, masked = batches[False], batches[True]
    truncated = torch.tensor([row["truncated"] for row in rows])
    assert torch.equal(plain["advantages"], masked["advantages"]) and plain["rows_in_batch"] == masked["rows_in_batch"]
    assert not masked["train_mask"][truncated].any()
    assert torch.equal(masked["train_mask"][~truncated], plain["train_mask"][~truncated])
    assert masked["num_items_in_batch"] == masked["train_mask"].sum() < plain["num_items_in_batch"]
    assert [row["trained"] for row in rows] == (~truncated).tolist()
    assert trainer._metrics["train"]["rollout/masked"][-1] == 0.5


def test_a_batch_of_truncated_rows_trains_nothing(make_trainer, monkeypatch):
    trainer = make_trainer(mask_truncated=True, max_steps=1)
    monkeypatch.setattr(trainer.engine, "generate", cap_some(trainer.engine.generate, every=1))
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.train()
    assert trainer.state.log_history[0]["efficiency/truncated"] == 1
    assert all(torch.equal(before[k], v) for k, v in trainer.model.state_dict().items())
