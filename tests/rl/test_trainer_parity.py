"""Our loss and gradient against TRL's own `_compute_loss`, on the same batches of a real trainer."""

from __future__ import annotations

import copy
from itertools import product

import pytest
import torch
from trl import GRPOTrainer

AGGREGATES = {"token": "dapo", "sequence": "grpo", "constant": "dr_grpo"}
LOSSES = {
    "grpo": ({"name": "clip"}, {}),
    "clip_higher": ({"name": "clip", "clip_high": 0.28}, {"epsilon_high": 0.28}),
    "dual": ({"name": "clip", "dual_clip": 1.5}, {"delta": 1.5}),
    "sequence": ({"name": "clip", "importance": "sequence"}, {"importance_sampling_level": "sequence"}),
}


def batches(trainer, count):
    """The first micro-batches that a real run would train on, with old log-probs moved so that bounds bite."""
    trainer.model.train()
    trainer.state.max_steps, trainer.current_gradient_accumulation_steps = 4, trainer.args.gradient_accumulation_steps
    loader = iter(trainer.get_train_dataloader())
    for _ in range(count):
        number, place = next(loader)[0], trainer.micro_step % trainer.args.steps_per_generation
        if trainer.micro_step % (trainer.args.steps_per_generation * trainer.num_iterations) == 0:
            made = trainer.cut(trainer.make_batch(trainer.prompts.at(number)))
        inputs = made.parts[place]
        trainer.skip_micro_step()
        generator = torch.Generator().manual_seed(trainer.micro_step)
        with torch.no_grad():
            ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
            mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
            keep = inputs["completion_ids"].shape[1]
            logps = trainer.token_log_probs(trainer.model, ids, mask, keep)[0]
        inputs["old_per_token_logps"] = logps + 0.3 * torch.randn(logps.shape, generator=generator)
        yield inputs


def loss_and_gradient(trainer, compute, inputs):
    trainer.model.zero_grad()
    loss = compute(trainer.model, copy.copy(inputs))
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])


def cases():
    """Every loss with every aggregation, and each of them with some schedule; the other schedules in `make test-all`."""
    schedules = [{}, {"micro_batch": 8}, {"updates_per_batch": 2}, {"num_iterations": 2}]
    for (i, loss), (j, aggregate), (k, schedule) in product(*map(enumerate, (LOSSES, AGGREGATES, schedules))):
        marks = [] if k == (i + j) % len(schedules) else [pytest.mark.exhaustive]
        yield pytest.param(aggregate, loss, schedule, marks=marks)


@pytest.mark.parametrize(("aggregate", "loss_fn", "schedule"), cases())
def test_loss_and_gradient_equal_trl(make_trainer, aggregate, loss_fn, schedule):
    ours, theirs = LOSSES[loss_fn]
    trainer = make_trainer(loss=ours, aggregate=aggregate, max_steps=4, micro_batching=False, **schedule)
    trainer.loss_type = AGGREGATES[aggregate]
    trainer.epsilon_low, trainer.epsilon_high = 0.2, theirs.get("epsilon_high", 0.2)
    trainer.args.delta = theirs.get("delta")
    trainer.importance_sampling_level = theirs.get("importance_sampling_level", "token")
    assert trainer.beta == 0.0
    trained = 0
    for inputs in batches(trainer, 3):
        loss, gradient = loss_and_gradient(trainer, trainer.loss, inputs)
        reference, expected = loss_and_gradient(
            trainer, lambda model, x: GRPOTrainer._compute_loss(trainer, model, x), inputs
        )
        torch.testing.assert_close(loss, reference, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)
        trained += bool(gradient.abs().max() > 0)
    assert trained, "no batch carried any signal, so nothing was compared"


@pytest.mark.parametrize("weighted", [True, False])
def test_kl_to_a_reference_equals_trl(make_trainer, weighted):
    trainer = make_trainer(beta=0.1, use_bias_correction_kl=weighted, aggregate="sequence", micro_batching=False)
    trainer.loss_type, trainer.epsilon_low, trainer.epsilon_high = "grpo", 0.2, 0.2
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    for inputs in batches(trainer, 2):
        assert (inputs["ref_per_token_logps"] - inputs["old_per_token_logps"]).abs().max() > 0.1
        loss, gradient = loss_and_gradient(trainer, trainer.loss, inputs)
        reference, expected = loss_and_gradient(
            trainer, lambda model, x: GRPOTrainer._compute_loss(trainer, model, x), inputs
        )
        torch.testing.assert_close(loss, reference, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("loss_type", ["luspo", "vespo"])
def test_trls_own_losses_are_reached_by_their_flag(make_trainer, loss_type):
    trainer = make_trainer(loss_type=loss_type, updates_per_batch=2, max_steps=4)
    assert trainer.importance_sampling_level == ("sequence" if loss_type == "luspo" else "token")
    for inputs in batches(trainer, 2):
        loss, gradient = loss_and_gradient(trainer, trainer.loss, inputs)
        reference, expected = loss_and_gradient(
            trainer, lambda model, x: GRPOTrainer._compute_loss(trainer, model, x), inputs
        )
        torch.testing.assert_close(loss, reference, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)
        assert gradient.abs().max() > 0
