"""Controllers inside a real training: fed, applied, logged, saved; and what the contract refuses."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tersely.algorithms.objective import Objective
from tersely.core.errors import ConfigError
from tersely.core.protocols import Controller
from tersely.rl.checkpoints import manifest as checkpoint
from tersely.rl.controllers import ControllerFeed, controller_names

BONUS = {"name": "entropy_target", "target": 50.0, "delta": 1e-3}


def test_a_controller_follows_the_entropy_of_every_step(make_trainer, tmp_path):
    trainer = make_trainer(controllers=[BONUS], max_steps=3, save_strategy="steps", save_steps=1)
    trainer.train()
    values = [row["controllers/entropy_target"] for row in trainer.state.log_history if "loss" in row]
    assert values == pytest.approx([1e-3, 2e-3, 3e-3])
    state = checkpoint.component_state(tmp_path / "run" / "checkpoint-2")["objective"]["controllers"]
    assert state[0]["coefficient"] == pytest.approx(2e-3)


def test_its_value_acts_in_the_loss(make_trainer):
    """The bonus is there from the second step on: the first step is the same with and without, the second is not."""
    weights = []
    for controllers in ([], [{**BONUS, "delta": 5e-3}]):
        trainer = make_trainer(controllers=controllers, max_steps=2)
        trainer.train()
        weights.append(([row["loss"] for row in trainer.state.log_history if "loss" in row], trainer.model))
    (plain, first), (paid, second) = weights
    assert paid[0] == pytest.approx(plain[0], abs=1e-6) and paid[1] < plain[1] - 1e-3
    assert not torch.equal(first.lm_head.weight, second.lm_head.weight)


def test_a_resumed_controller_stands_where_it_stood(make_trainer, tmp_path):
    make_trainer(controllers=[BONUS], max_steps=2, save_strategy="steps", save_steps=1).train()
    resumed = make_trainer(controllers=[BONUS], max_steps=3, save_strategy="steps", save_steps=1)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert resumed.objective.controllers[0].coefficient == pytest.approx(3e-3)


def test_a_statistic_that_nobody_records_stops_the_run(make_trainer):
    with pytest.raises(ConfigError, match="ares_kl.*'kl/outside_windows'"):
        make_trainer(controllers=["ares_kl"]).train()


def test_ares_controls_its_window_kl(make_trainer):
    loss_fn = {"name": "window_kl", "beta": 0.01, "threshold": 50.0}
    trainer = make_trainer(controllers=[{"name": "ares_kl", "every": 1, "target": 1e-6}], loss=loss_fn, max_steps=3)
    trainer.train()
    logged = [row for row in trainer.state.log_history if "loss" in row]
    assert [row["window_kl/beta"] for row in logged] == pytest.approx(
        [0.01, *(0.01 * row["controllers/ares_kl"] for row in logged[:-1])], rel=1e-5
    )
    assert logged[-1]["controllers/ares_kl"] != 1.0


def test_a_batch_statistic_feeds_once_a_batch_and_micro_batches_are_averaged():
    fed = []

    class Two(Controller):
        statistic = ("verify/accuracy", "entropy")

        def update(self, *values):
            fed.append(values)
            return 0.0

    controller = Two()
    feed = ControllerFeed(lambda: (controller,), lambda *_: None, lambda *_: None)
    for name, value in (("verify/accuracy", 0.5), ("entropy", 1.0), ("entropy", 3.0)):
        feed.observe(name, value)
    feed.on_step_end(None, SimpleNamespace(global_step=1), None)
    feed.observe("entropy", 9.0)
    feed.on_step_end(None, SimpleNamespace(global_step=1), None)
    assert fed == [(0.5, 2.0)]


def test_two_of_a_kind_have_two_names():
    objective = Objective.from_specs({"controllers": ["entropy_clip", "entropy_clip", "entropy_target"]})
    assert controller_names(objective.controllers) == ["entropy_clip", "entropy_clip_1", "entropy_target"]
