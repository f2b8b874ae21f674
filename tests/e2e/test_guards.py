"""A length term of ten times the weight really ruins the embedded model: a guard stops such a run, or leads it back."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from tersely.rl.checkpoints import manifest as checkpoint

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
RUINOUS = {
    "reward": {"name": "alp", "beta": 3.0, "normalizer": 64},
    "dataset": {"path": "testbed", "split": "train", "limit": 256},
    "prompts_per_step": 8,
    "group_size": 8,
    "micro_batch": 32,
    "learning_rate": 3e-3,
    "max_completion_length": 128,
    "save_steps": 1,
    "save_total_limit": 20,
    "max_steps": 16,
}
COLLAPSE = {"warmup": 3, "patience": 2, "threshold": 0.3}


def rows(launcher, name: str) -> list[dict]:
    return [json.loads(line) for line in (launcher.folder / name / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.exhaustive  # the next one finds a collapse, and the one after it is stopped
def test_a_collapse_stops_the_run(launcher):
    done = launcher.run("stopped", **RUINOUS, guards={"length_collapse": {**COLLAPSE, "action": "stop"}})
    assert done.returncode == 3, (done.stdout + done.stderr)[-3000:]
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "guard length_collapse: " in said and "length term" in said
    *_, last, event = rows(launcher, "stopped")
    if "event" not in event:
        last, event = event, last
    assert event["guard"] == "length_collapse" and event["step"] == last["step"] < 16
    assert last["efficiency/tokens_mean"] < 0.3 * rows(launcher, "stopped")[0]["efficiency/tokens_mean"] * 1.5
    newest, _ = checkpoint.latest_whole(launcher.folder / "stopped")
    assert newest.name == f"checkpoint-{last['step'] - 1}", "the step that was stopped is not saved"
    assert not (launcher.folder / "stopped" / "final").exists()


def test_a_collapse_leads_back(launcher):
    guards = {"length_collapse": {**COLLAPSE, "action": "roll_back"}}
    done = launcher.run("back", **RUINOUS, guards=guards, max_rollbacks=9)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    found = rows(launcher, "back")
    event = next(row for row in found if row.get("event") == "roll_back")
    assert event["reason"].startswith("guard length_collapse") and 0 < event["to_step"] < event["step"] - 1
    tokens = {row["step"]: row["efficiency/tokens_mean"] for row in found if "efficiency/tokens_mean" in row}
    saved = [launcher.folder / "back" / f"checkpoint-{event[key]}" / "model.safetensors" for key in ("to_step", "step")]
    assert saved[0].read_bytes() == saved[1].read_bytes(), "the weights are those of the older checkpoint again"
    assert sorted(tokens) == list(range(1, 17)) and (launcher.folder / "back" / "final").exists()


def test_accuracy_that_is_lost_is_found_on_rollouts_and_on_held_out_problems(launcher):
    """Accuracy alone: against the beginning on rollouts, against the base on the held-out set, which stops the run."""
    loss = {"window": 2, "patience": 1, "threshold": 0.08}
    guards = {"accuracy_loss": loss, "held_out_loss": {"patience": 2, "action": "stop"}}
    held_out = {"path": "testbed", "split": "test", "limit": 24}
    evaluation = {"every": 2, "dataset": held_out, "samples": 2, "keep_best": False}
    done = launcher.run("lost", **RUINOUS, guards=guards, evaluation=evaluation)
    assert done.returncode == 3, (done.stdout + done.stderr)[-3000:]
    found = rows(launcher, "lost")
    events = {row["guard"]: row for row in found if row.get("event") == "guard"}
    measured = {row["step"]: row["eval/accuracy_ended"] for row in found if "eval/accuracy" in row}
    stopped = events["held_out_loss"]["step"]
    assert stopped == max(measured) < 16 and f"step {stopped}: guard held_out_loss: " in done.stderr
    below = [step for step, accuracy in measured.items() if accuracy < measured[0] - 0.1]
    assert below[-2:] == sorted(measured)[-2:], (
        "the first two in a row that lost more than the threshold against the base"
    )
    assert not any({a, b} <= set(below) for a, b in pairwise(sorted(measured)[:-1]))
    accuracy = {row["step"]: row["verify/accuracy"] for row in found if "verify/accuracy" in row}
    at = events["accuracy_loss"]["step"]
    assert (accuracy[at - 1] + accuracy[at]) / 2 < (accuracy[1] + accuracy[2]) / 2 - 0.08
    assert f"warning: step {at}: guard accuracy_loss" in done.stdout


ENDLESS = '''
from dataclasses import dataclass


@dataclass(frozen=True)
class Endless:
    """Paid for every token, correct or not."""

    def __call__(self, rollouts):
        return rollouts.length.float() / rollouts.max_length
'''


def test_a_run_whose_completions_stop_ending_is_stopped_by_default(launcher, monkeypatch):
    """Trained to go on for ever: no guard is named in the recipe, and the answers of truncated completions are counted."""
    (launcher.folder / "endless.py").write_text(ENDLESS)
    monkeypatch.setenv("PYTHONPATH", str(launcher.folder))
    changes = {"reward": "endless:Endless", "learning_rate": 1e-3, "max_completion_length": 160}
    done = launcher.run(
        "endless", **{**RUINOUS, **changes, "max_steps": 40, "save_steps": 40}, verifier={"ended": False}
    )
    assert done.returncode == 3 and "guard unending: " in done.stderr, (done.stdout + done.stderr)[-3000:]
    found = rows(launcher, "endless")
    (event,) = [row for row in found if row.get("guard") == "unending"]
    truncated = {row["step"]: row["efficiency/truncated"] for row in found if "efficiency/truncated" in row}
    onset = next(step for step, share in truncated.items() if share > 0.5)
    assert event["action"] == "stop" and event["step"] == max(truncated) <= onset + 10
    assert truncated[1] < 0.4 and truncated[event["step"]] > 0.5
