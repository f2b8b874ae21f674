"""An update without a trained row moves nothing: no momentum, no weight decay, no step of the schedule."""

from __future__ import annotations

import pytest
import torch


class SilentAfter:
    """Alternating verdicts for the first `calls` batches, then every answer is right."""

    def __init__(self, calls: int):
        self.calls = calls

    def verify(self, golds, texts):
        self.calls -= 1
        right = [self.calls < 0 or i % 2 == 0 for i in range(len(texts))]
        return [
            type("V", (), {"status": "correct" if r else "incorrect", "correct": float(r), "answer": None})()
            for r in right
        ]


@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize("schedule", [{}, {"updates_per_batch": 2}, {"num_iterations": 2}], ids=str)
def test_after_a_real_update_momentum_and_weight_decay_move_nothing(make_trainer, planned, schedule):
    from transformers import TrainerCallback

    weights, rates = [], []

    class Look(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, lr_scheduler=None, **kwargs):
            weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]).clone())
            rates.append(lr_scheduler.get_last_lr()[0])

    updates = 2 if schedule else 1
    trainer = make_trainer(
        verifier=SilentAfter(1), micro_batching=planned, max_steps=3 * updates, weight_decay=0.1, micro_batch=4,
        lr_scheduler_type="linear", filter="keep_all", **schedule,
    )  # fmt: skip
    before = torch.cat([p.detach().flatten() for p in trainer.model.parameters()]).clone()
    trainer.add_callback(Look())
    trainer.train()
    assert trainer.state.global_step == 3 * updates == len(weights)
    assert not torch.equal(before, weights[0])
    for later in weights[updates:]:
        assert torch.equal(later, weights[updates - 1])
    assert rates[updates:] == [rates[updates - 1]] * (2 * updates)
    rows = [row for row in trainer.state.log_history if "update/skipped" in row]
    assert [row["update/skipped"] for row in rows] == [0.0] * updates + [1.0] * 2 * updates
    assert [row["update/rows_trained"] > 0 for row in rows] == [True] * updates + [False] * 2 * updates
    assert all(row["grad_norm"] == 0 for row in rows[updates:])


class Silent(SilentAfter):
    """The second batch alone has no signal."""

    def __init__(self):
        self.calls, self.batch = 0, 0

    def verify(self, golds, texts):
        self.batch += 1
        self.calls = 0 if self.batch == 2 else 2
        return super().verify(golds, texts)


def weights_by_step(trainer):
    """The weights after each of three steps, the second of which is skipped."""
    from transformers import TrainerCallback

    seen = []

    class Look(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            parts = [getattr(p, "full_tensor", lambda p=p: p)() for p in model.parameters()]
            seen.append(torch.cat([part.detach().flatten() for part in parts]).clone())

    trainer.add_callback(Look())
    trainer.train()
    rows = [row["update/skipped"] for row in trainer.state.log_history if "update/skipped" in row]
    assert rows == [0.0, 1.0, 0.0]
    return seen


def assert_the_second_alone_moves_nothing(seen):
    first, second, third = seen
    assert torch.equal(first, second) and not torch.equal(second, third)


def test_under_the_gradient_scaler_of_fp16_a_skipped_update_is_none_of_its_steps(make_trainer):
    """A CPU has no fp16 training; the scaler, and accelerate's optimizer around it, are the real ones."""
    from transformers import TrainerCallback

    trainer = make_trainer(verifier=Silent(), max_steps=3, weight_decay=0.1, filter="keep_all")
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    scales = []

    class Scaled(TrainerCallback):
        def on_train_begin(self, args, state, control, optimizer=None, **kwargs):
            trainer.accelerator.scaler = scaler
            type(optimizer).__init__(optimizer, optimizer.optimizer, device_placement=False, scaler=scaler)

        def on_step_end(self, args, state, control, **kwargs):
            scales.append(scaler.get_scale())

    trainer.add_callback(Scaled())
    assert_the_second_alone_moves_nothing(weights_by_step(trainer))
    assert scales == [8.0, 8.0, 16.0], "it grows at its second step, which is the third of the run"


def test_sharded_weights_of_fsdp_stay_and_can_still_be_trained(make_trainer):
    from torch.distributed.fsdp import fully_shard

    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
        trainer = make_trainer(verifier=Silent(), max_steps=3, weight_decay=0.1, filter="keep_all")
        fully_shard(trainer.model, mesh=mesh)
        assert all(hasattr(parameter, "full_tensor") for parameter in trainer.model.parameters())
        assert_the_second_alone_moves_nothing(weights_by_step(trainer))
    finally:
        torch.distributed.destroy_process_group()


def test_training_goes_on_after_a_skipped_update(make_trainer):
    class Later(SilentAfter):
        def verify(self, golds, texts):
            self.calls += 2  # 0 and below is silent: the first batch is, the later ones are not
            return super().verify(golds, texts)

    trainer = make_trainer(verifier=Later(-2), max_steps=2, filter="keep_all")
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.train()
    skipped = [row["update/skipped"] for row in trainer.state.log_history if "update/skipped" in row]
    assert skipped == [1.0, 0.0]
    assert any(not torch.equal(before[k], v) for k, v in trainer.model.state_dict().items())


def test_a_group_without_signal_under_a_loss_of_trl_moves_nothing(make_trainer):
    trainer = make_trainer(verifier=SilentAfter(0), max_steps=1, weight_decay=0.5, filter="keep_all", loss_type="vespo")
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.train()
    assert trainer.state.log_history[0]["update/skipped"] == 1
    assert all(torch.equal(before[k], v) for k, v in trainer.model.state_dict().items())
