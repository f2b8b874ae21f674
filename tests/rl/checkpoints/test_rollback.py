"""Going back to a checkpoint inside a running training: what is as in the checkpoint, what goes on, and when it stops."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.core.protocols import Controller
from tersely.rl.checkpoints import manifest as checkpoint
from tersely.rl.checkpoints.rollback import require_rollback
from tersely.rl.config import checked, grpo_config, objective_of
from tersely.rl.guards import RunStopped
from tersely.rl.recording.callbacks import RunFiles
from tersely.rl.recording.run_files import MetricsFile

SAVING = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": 9, "lr_scheduler_type": "linear"}


class AskAt(TrainerCallback):
    """Asks at the ends of the given steps, and keeps what the step after found."""

    def __init__(self, trainer, steps, good_until=None):
        self.trainer, self.steps, self.good_until, self.seen = trainer, list(steps), good_until, {}

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in self.steps:
            self.trainer.rollback.ask("it went wrong", self.good_until)

    def on_step_begin(self, args, state, control, **kwargs):
        trainer = self.trainer
        self.seen[state.global_step] = {
            "weights": {k: v.clone() for k, v in trainer.model.state_dict().items()},
            "moment": next(iter(trainer.optimizer.state.values()), {}).get("step", torch.tensor(0)).item(),
            "lr": trainer.optimizer.param_groups[0]["lr"],
            "memory": trainer.memory.state_dict(),
        }


def train(make_trainer, tmp_path, steps, good_until=None, **recipe):
    (tmp_path / "run").mkdir(exist_ok=True)
    metrics = MetricsFile(tmp_path / "run" / "metrics.jsonl")
    trainer = make_trainer(metrics=metrics, **{"max_steps": 8, "reward": "lapo_discovery", **SAVING, **recipe})
    asking = AskAt(trainer, steps, good_until)
    trainer.add_callback(asking)
    trainer.add_callback(RunFiles(metrics, trainer.take_logged_rows))
    return trainer, asking


def lines(tmp_path):
    return [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in second)


def test_weights_moments_and_memory_go_back_and_the_rest_goes_on(make_trainer, tmp_path):
    trainer, asking = train(make_trainer, tmp_path, [5])
    trainer.train()
    run = tmp_path / "run"
    old, new = asking.seen[4], asking.seen[5]
    assert same(new["weights"], load_file(run / "checkpoint-4" / "model.safetensors"))
    assert new["moment"] == 4 and new["memory"] == old["memory"] != asking.seen[6]["memory"]
    assert [asking.seen[step]["lr"] for step in range(8)] == pytest.approx([1e-3 * (8 - s) / 8 for s in range(8)])
    trained = [row for row in lines(tmp_path) if "loss" in row]
    assert [row["step"] for row in trained] == list(range(1, 9))
    event = next(row for row in lines(tmp_path) if row.get("event") == "roll_back")
    assert event == {"step": 5, "event": "roll_back", "reason": "it went wrong", "to_step": 4, "rollbacks": 1}


def test_the_prompts_go_on_as_if_nothing_had_been(make_trainer, tmp_path):
    orders = []
    for steps in ([], [5]):
        trainer, _ = train(make_trainer, tmp_path, steps, save_steps=2)
        prompts = []
        draw = trainer.sample
        trainer.sample = lambda rows, moment, d=draw, p=prompts: (
            p.append([r["prompt_id"] for r in rows]) or d(rows, moment)
        )
        trainer.train()
        orders.append(prompts)
    assert orders[0] == orders[1]


def test_a_resume_after_it_goes_on_from_what_was_restored(make_trainer, tmp_path):
    trainer, asking = train(make_trainer, tmp_path, [5], good_until=3)
    trainer.train()
    run = tmp_path / "run"
    assert same(asking.seen[5]["weights"], load_file(run / "checkpoint-2" / "model.safetensors"))
    assert not (run / "checkpoint-4").exists()  # marked as gone back behind, and deleted by the next save
    assert checkpoint.latest_whole(run, 5)[0] == run / "checkpoint-5"
    assert checkpoint.latest_whole(run, 4)[0] == run / "checkpoint-2"
    resumed = make_trainer(max_steps=8, reward="lapo_discovery", **SAVING)
    resumed.train(resume_from_checkpoint=str(run / "checkpoint-5"))
    assert same(resumed.model.state_dict(), trainer.model.state_dict()) and resumed.rollback.count == 1


def test_more_than_allowed_stops_the_run(make_trainer, tmp_path):
    trainer, _ = train(make_trainer, tmp_path, [3, 5, 6], max_rollbacks=2)
    with pytest.raises(RunStopped, match=r"step 6.*it went wrong.*2 .*max_rollbacks"):
        trainer.train()
    assert checkpoint.latest_whole(tmp_path / "run")[0].name == "checkpoint-5"


def test_nothing_to_go_back_to_stops_the_run(make_trainer, tmp_path):
    trainer, _ = train(make_trainer, tmp_path, [1])
    with pytest.raises(RunStopped, match="step 1"):
        trainer.train()


def test_it_waits_for_the_end_of_the_generation_batch(make_trainer, tmp_path):
    trainer, asking = train(make_trainer, tmp_path, [5], updates_per_batch=2)
    trainer.train()
    assert asking.seen[5]["moment"] == 5 and asking.seen[6]["moment"] == 4


def test_a_nan_model_is_a_model_again(make_trainer, tmp_path):
    trainer, asking = train(make_trainer, tmp_path, [5])

    class Break(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 5:
                with torch.no_grad():
                    trainer.model.lm_head.weight.fill_(float("nan"))

    trainer.add_callback(Break())
    trainer.train()
    assert trainer.state.global_step == 8 and trainer.model.lm_head.weight.isfinite().all()


def test_a_controller_hears_of_it_and_can_ask_for_it(make_trainer, tmp_path):
    trainer, _ = train(make_trainer, tmp_path, [])
    heard = []

    class Alarmed(Controller):
        statistic, value, alarm, good, count = "verify/accuracy", 0.0, None, True, 0

        def update(self, accuracy):
            self.count += 1
            self.good = self.count < 3
            self.alarm = "accuracy fell" if self.count == 5 and not heard else None
            return 0.0

        def rolled_back(self, before):
            heard.append((self.count, before["count"]))

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            self.count = state["count"]

    object.__setattr__(trainer.objective, "controllers", (Alarmed(),))
    trainer.train()
    assert heard == [(2, 5)]
    assert next(row for row in lines(tmp_path) if "event" in row)["reason"] == "Alarmed: accuracy fell"


@pytest.mark.parametrize(
    "recipe, wants",
    [
        ({"save_strategy": "no"}, "save_strategy: steps"),
        ({"save_only_model": True}, "save_only_model"),
        ({"max_rollbacks": 0}, "max_rollbacks.* 0"),
        ({"max_rollbacks": -1}, "max_rollbacks.* -1"),
    ],
)
def test_a_run_that_could_not_do_it_is_refused(recipe, wants, tmp_path):
    def check():
        run = checked(Recipe.of({"model_name_or_path": "testbed", "run_dir": str(tmp_path), **recipe}))
        require_rollback("accuracy_floor", run, grpo_config(run, objective_of(run), 1))

    with pytest.raises(ConfigError, match=wants):
        check()


def test_fsdp_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    args = SimpleNamespace(fsdp=None, save_strategy="steps")
    with pytest.raises(ConfigError, match="FSDP's shards"):
        require_rollback("accuracy_floor", SimpleNamespace(max_rollbacks=2), args)


def test_an_engine_that_an_evaluation_had_synchronised_gets_the_restored_weights(make_trainer, tmp_path):
    """The weights of the step that is then gone back behind: the next batch must not be drawn from them."""
    trainer, _ = train(make_trainer, tmp_path, [5])

    class Evaluated(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            trainer.weights.step = state.global_step  # as an evaluation at every step leaves it

    seen = {}
    draw = trainer.sample
    trainer.sample = lambda *a: seen.__setitem__(trainer.state.global_step, trainer.weights.step) or draw(*a)
    trainer.add_callback(Evaluated())
    trainer.train()
    assert seen[4] == 4, "nothing has changed since the evaluation"
    assert seen[5] != 5, "the engine holds the weights that led astray"


def test_an_evaluation_of_weights_that_were_given_up_counts_for_nothing(make_trainer, tmp_path):
    """At step 4 the run goes back to checkpoint-2: that step's evaluation is of the weights of step 2, and so is the best."""
    from tersely.configs.evaluation import EvaluationSpec
    from tersely.rl.held_out_evaluation import HeldOutEvaluation

    rows = [
        {
            "prompt": [{"role": "user", "content": f"{i}-{i}="}],
            "problem": f"{i}-{i}=",
            "answer": "0",
            "prompt_id": f"h{i}",
        }
        for i in range(5)
    ]
    trainer, asking = train(make_trainer, tmp_path, [4], max_steps=4, learning_rate=0.05)
    files = next(c for c in trainer.callback_handler.callbacks if isinstance(c, RunFiles))
    spec = EvaluationSpec(dataset=(), every=1, floor=1.0, patience=5)  # step 4's is the fifth below it
    held_out = HeldOutEvaluation(spec, trainer.trained_model(), rows, files.metrics, trainer.guards)
    trainer.add_callback(held_out)
    trainer.train()
    found = [row for row in lines(tmp_path) if "eval/accuracy" in row]
    assert [row["step"] for row in found] == [0, 1, 2, 3, 4, 4]
    weights, again = ({k: v for k, v in row.items() if k[:5] == "eval/"} for row in (found[2], found[-1]))
    for measured in ("eval/accuracy", "eval/accuracy_at_budget", "eval/tokens_mean", "eval/tokens_p95"):
        assert weights[measured] == again[measured]
    assert sorted(held_out.evaluated) == [0, 1, 2, 4] and held_out.below == 4
    assert not held_out._stopped, "the fifth evaluation below the floor was of weights that were given up"
    metrics = MetricsFile(files.metrics.path, 4)
    resumed = HeldOutEvaluation(spec, trainer.trained_model(), rows, metrics, trainer.guards)
    resumed._remember(4)
    for name in ("evaluated", "below", "counted", "best"):
        assert getattr(resumed, name) == getattr(held_out, name), name
