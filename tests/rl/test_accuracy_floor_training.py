"""The accuracy floor inside a real training: fed, applied to the rewards, saved, and warned about."""

from __future__ import annotations

import pytest
from transformers import TrainerCallback

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.rl.check import check_stage
from tersely.rl.checkpoints import manifest as checkpoint
from tersely.rl.config import checked

FLOOR = {"name": "accuracy_floor", "base": 1.0, "delta": 0.0, "window": 1, "step": 2.0, "collapse": None}
ALP = {"reward": {"name": "alp", "beta": 1.0, "normalizer": 12}, "advantage": "group_mean"}


class Rows(TrainerCallback):
    def __init__(self, trainer):
        self.trainer, self.steps = trainer, []

    def on_step_end(self, args, state, control, **kwargs):
        self.steps.append(list(self.trainer.logged_rows))


def test_the_weight_falls_with_accuracy_and_acts_on_the_next_rewards(make_trainer, tmp_path):
    """ALP's row is c - w p L / 12: what is left of the penalty is the weight that the step before ended with."""
    saving = {"save_strategy": "steps", "save_steps": 1}
    trainer = make_trainer(controllers=[FLOOR], max_steps=3, **ALP, **saving)
    rows = Rows(trainer)
    trainer.add_callback(rows)
    trainer.train()
    logged = [row for row in trainer.state.log_history if "loss" in row]
    weight, multiplier = 1.0, 0.0
    for line, step in zip(logged, rows.steps, strict=True):
        for at in range(0, len(step), 4):
            group = step[at : at + 4]
            rate = max(sum(row["correct"] for row in group) / 4, 0.25)
            for row in group:
                assert row["reward"] == pytest.approx(row["correct"] - weight * rate * row["length"] / 12, abs=1e-5)
        multiplier += 2.0 * (1.0 - line["verify/accuracy"])
        weight = 1 / (1 + multiplier)
        assert line["controllers/accuracy_floor"] == pytest.approx(weight)
    state = checkpoint.component_state(tmp_path / "run" / "checkpoint-3")["objective"]["controllers"][0]
    assert state["multiplier"] == pytest.approx(multiplier) and state["reference"] == 1.0


def stage(**recipe):
    values = {
        "model_name_or_path": "testbed",
        "max_steps": 2,
        **ALP,
        "controllers": [{**FLOOR, "collapse": 0.1}],
        **recipe,
    }
    return checked(Recipe.of(values)).stages[0]


def test_a_recipe_that_could_not_go_back_is_refused_before_it_starts():
    check_stage(stage())
    with pytest.raises(ConfigError, match="accuracy_floor .*max_rollbacks.* 0"):
        check_stage(stage(max_rollbacks=0))
    check_stage(stage(max_rollbacks=0, controllers=[FLOOR]))


@pytest.mark.parametrize(
    ("advantage", "hides"),
    [
        *[(name, True) for name in ("group_zscore", "grpo_lead", "gfpo", "quantile_baseline")],
        *[(name, False) for name in ("group_mean", "rloo", "batch_whitened")],
    ],
)
def test_an_advantage_that_hides_the_weight_is_warned_about(advantage, hides):
    found = check_stage(stage(advantage=advantage)).findings
    assert any(one.subject == "advantage" and "length term" in one.text for one in found) == hides
