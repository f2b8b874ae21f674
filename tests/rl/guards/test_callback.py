"""Guards on real trainers: a warning, a stop, a way back, and what is refused before the run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerCallback

from tersely.configs.guards import Guards
from tersely.core.errors import ConfigError
from tersely.rl.checkpoints import manifest as checkpoint
from tersely.rl.guards import RunStopped
from tersely.rl.guards.callback import require_for_guards
from tersely.rl.recording.callbacks import RunFiles
from tersely.rl.recording.run_files import MetricsFile

SAVING = {"save_strategy": "steps", "save_steps": 1, "max_steps": 6}
SPECS = {"length_collapse": {"warmup": 2, "patience": 2, "threshold": 0.5}}


class Shorten(TrainerCallback):
    """From `step` on the model wants to end at once, or is as it was again."""

    def __init__(self, trainer, step: int, until: int = 99):
        self.trainer, self.step, self.until = trainer, step, until

    def on_step_begin(self, args, state, control, **kwargs):
        ending = self.step <= state.global_step + 1 <= self.until
        maker = self.trainer.maker
        self.trainer.maker = dataclasses.replace(maker, shape=dataclasses.replace(maker.shape, cap=2 if ending else 12))


def guarded(make_trainer, tmp_path, guards, shorten_at=4, until=99, **options):
    Path(tmp_path / "run").mkdir(exist_ok=True)
    metrics = MetricsFile(tmp_path / "run" / "metrics.jsonl")
    trainer = make_trainer(guards=guards, metrics=metrics, **{**SAVING, **options})
    trainer.add_callback(Shorten(trainer, shorten_at, until))
    trainer.add_callback(RunFiles(metrics, trainer.take_logged_rows))
    return trainer


def events(tmp_path) -> list[dict]:
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "event" in row]


def test_a_warning_is_said_once_and_written(make_trainer, tmp_path, capsys):
    guarded(make_trainer, tmp_path, SPECS).train()
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: step 5: guard")]
    assert len(said) == 1 and " 2" in said[0]
    (event,) = events(tmp_path)
    assert (event["step"], event["guard"], event["action"]) == (5, "length_collapse", "warn")
    assert checkpoint.latest_whole(tmp_path / "run")[0].name == "checkpoint-6"


def test_a_stop_logs_the_step_and_does_not_save_it(make_trainer, tmp_path):
    specs = {"length_collapse": {**SPECS["length_collapse"], "action": "stop"}}
    trainer = guarded(make_trainer, tmp_path, specs)
    with pytest.raises(RunStopped, match=r"step 5: guard length_collapse: "):
        trainer.train()
    assert trainer.state.log_history[-1]["efficiency/tokens_mean"] == 2.0
    assert (tmp_path / "run" / "completions" / "completions_00005.parquet").exists()
    assert checkpoint.latest_whole(tmp_path / "run")[0].name == "checkpoint-4"


def test_a_way_back_leads_before_the_first_bad_step(make_trainer, tmp_path):
    specs = {"length_collapse": {**SPECS["length_collapse"], "action": "roll_back"}}
    trainer = guarded(make_trainer, tmp_path, specs, until=5)
    trainer.train()
    (event,) = events(tmp_path)
    assert (event["step"], event["event"], event["to_step"]) == (5, "roll_back", 3)
    assert event["reason"].startswith("guard length_collapse") and trainer.state.global_step == 6
    assert trainer.guards.on["length_collapse"].streak == 0


def test_a_resume_keeps_what_the_guards_have_seen(make_trainer, tmp_path):
    first = guarded(make_trainer, tmp_path, SPECS, max_steps=4)
    first.train()
    guard = first.guards.on["length_collapse"]
    assert (guard.streak, guard.since, len(guard.first)) == (1, 4, 2)
    second = guarded(make_trainer, tmp_path, SPECS, max_steps=5)
    second.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4"))
    assert second.guards.on["length_collapse"].first == guard.first
    assert [event["step"] for event in events(tmp_path)] == [5]


def test_under_another_cap_the_guards_begin_anew(make_trainer, tmp_path):
    """Most completions that ended within the old cap are truncated at the new one, as was asked for."""
    specs = {"unending": {"warmup": 2}}
    guarded(make_trainer, tmp_path, specs, shorten_at=99, max_steps=3, max_completion_length=48).train()
    resumed = str(tmp_path / "run" / "checkpoint-3")
    for cap, anew in ((48, False), (3, True)):
        trainer = guarded(make_trainer, tmp_path, specs, shorten_at=99, max_steps=4, max_completion_length=cap)
        trainer.guards.load_state_dict(checkpoint.component_state(resumed)["guards"])
        assert (trainer.guards.on["unending"].last == []) is anew
        assert (trainer.guards.on["length_collapse"].first == []) is anew


def test_the_bases_accuracy_is_known_where_no_checkpoint_was_saved_before_the_restart(make_trainer):
    trainer = make_trainer(guards={"held_out_loss": {"action": "stop"}})
    trainer.guards.held_out_before([(0, 0.9), (2, 0.7)])
    assert trainer.guards.stopping is None, "what was measured before the restart was acted on then"
    trainer.guards.held_out(4, 0.85)
    trainer.guards.held_out(6, 0.75)
    assert "75.0%" in trainer.guards.stopping
    trainer.guards.held_out_before([(0, 0.1)])
    assert trainer.guards.on["held_out_loss"].first == [0.9], "a checkpoint knows better"


def test_a_loss_that_is_no_number_goes_back_where_it_is_told_to(make_trainer, tmp_path):
    trainer = guarded(make_trainer, tmp_path, {"not_finite": {"action": "roll_back"}}, shorten_at=99)
    whole = trainer.loss
    broken = iter([False] * 10 + [True] + [False] * 99)  # in the third step
    trainer.loss = lambda model, rows: whole(model, rows) * (torch.nan if next(broken) else 1.0)
    trainer.train()
    (event,) = events(tmp_path)
    assert event["to_step"] < event["step"] and event["reason"] == "guard not_finite: the loss is nan"
    assert all(torch.isfinite(weight).all() for weight in trainer.model.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"save_strategy": "no"}, "guards.length_collapse.*save_strategy"),
        ({"save_steps": 6}, "save_steps.*6 with max_steps 6"),
        ({"max_rollbacks": 0}, "max_rollbacks.* 0"),
        ({}, None),
    ],
)
def test_a_way_back_that_cannot_be_is_refused_before_the_run(changes, message):
    run = SimpleNamespace(max_rollbacks=2, guards=Guards.of({"length_collapse": {"action": "roll_back"}}))
    args = SimpleNamespace(fsdp=None, save_strategy="steps", save_steps=2, max_steps=6)
    for key, value in changes.items():
        setattr(run if hasattr(run, key) else args, key, value)
    if message is None:
        require_for_guards(run, args)
    else:
        with pytest.raises(ConfigError, match=message):
            require_for_guards(run, args)


def test_an_evaluation_is_not_listened_to(make_trainer):
    trainer = make_trainer()
    trainer.model.eval()
    trainer.record("efficiency/tokens_mean", 1.0)
    assert not trainer.guards.heard
    trainer.model.train()
    trainer.record("efficiency/tokens_mean", 1.0)
    assert trainer.guards.heard == {"efficiency/tokens_mean": [1.0]}


def test_the_old_keys_say_where_they_went(make_trainer):
    with pytest.raises(ConfigError, match=r"guards \{undecided: \{threshold\}\} instead"):
        make_trainer(undecided_limit=0.3)
