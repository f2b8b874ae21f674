"""Killed in the middle of a step and resumed, a run ends as one that was never killed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

pytestmark = pytest.mark.e2e

LENGTH = {"max_steps": 6, "reward": {"name": "alp", "beta": 0.3, "normalizer": 64}}


@pytest.fixture(scope="module")
def undisturbed(shared_launcher):
    done = shared_launcher.run("undisturbed", **LENGTH)
    assert done.returncode == 0, done.stderr[-3000:]
    return shared_launcher


def kill_after_step(launcher, name: str, step: int) -> None:
    """SIGKILL once `step` was logged: the next one is under way."""
    process = subprocess.Popen(
        launcher.command(name, **LENGTH),
        env=launcher.warm_environment(),
        cwd=launcher.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    metrics, deadline = launcher.folder / name / "metrics.jsonl", time.monotonic() + 120
    try:
        while time.monotonic() < deadline:
            lines = metrics.read_text().splitlines() if metrics.exists() else []
            if any(json.loads(line).get("step", 0) >= step for line in lines if line.endswith("}")):
                break
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert not (launcher.folder / name / "final").exists()


@pytest.fixture(scope="module")
def killed(undisturbed):
    """A run that was killed in its sixth step."""
    kill_after_step(undisturbed, "killed_5", 5)
    return undisturbed.folder / "killed_5"


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.exhaustive), 5])
def test_killed_and_resumed_equals_never_killed(undisturbed, killed, step):
    name = f"resumed_{step}"
    if step == 5:
        shutil.copytree(killed, undisturbed.folder / name)
    else:
        kill_after_step(undisturbed, name, step)
    done = undisturbed.run(name, resume=True, **LENGTH)
    assert done.returncode == 0, done.stderr[-3000:]
    assert ("checkpoint-4" in done.stdout) == (step == 5), done.stdout
    expected, found = undisturbed.completions("undisturbed"), undisturbed.completions(name)
    assert expected.prompt_id.tolist() == found.prompt_id.tolist()
    assert expected.text.tolist() == found.text.tolist()
    np.testing.assert_allclose(undisturbed.losses("undisturbed"), undisturbed.losses(name), atol=1e-5)


def test_a_half_written_checkpoint_is_passed_over(undisturbed, killed):
    shutil.copytree(killed, undisturbed.folder / "half")
    newest = undisturbed.folder / "half" / "checkpoint-4"
    weights = newest / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    done = undisturbed.run("half", resume=True, **LENGTH)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "skipping checkpoint-4" in done.stdout and "resuming from checkpoint-2" in done.stdout
    np.testing.assert_allclose(undisturbed.losses("undisturbed"), undisturbed.losses("half"), atol=1e-5)


def test_a_run_directory_is_not_trained_twice_by_accident(undisturbed):
    done = undisturbed.run("undisturbed", **LENGTH)
    assert done.returncode == 2 and "--resume" in done.stderr


def rates(launcher, name: str) -> dict[int, float]:
    lines = (launcher.folder / name / "metrics.jsonl").read_text().splitlines()
    return {row["step"]: row["learning_rate"] for row in map(json.loads, lines) if "learning_rate" in row}


def test_an_extension_and_another_rate_hold_from_the_first_step_and_are_recorded(launcher):
    spec = {**LENGTH, "lr_scheduler_type": "linear", "learning_rate": 1e-3, "save_steps": 0.5}
    assert launcher.run("run", **{**spec, "max_steps": 2}).returncode == 0
    done = launcher.run("run", resume=True, **{**spec, "max_steps": 4, "learning_rate": 4e-4, "micro_batch": 4})
    assert done.returncode == 0, done.stderr[-3000:]
    assert rates(launcher, "run") == pytest.approx({1: 1e-3, 2: 5e-4, 3: 2e-4, 4: 1e-4})
    lines = map(json.loads, (launcher.folder / "run" / "metrics.jsonl").read_text().splitlines())
    (event,) = [line for line in lines if line.get("event") == "recipe_changed"]
    assert event["step"] == 2 and set(event["changes"]) == {"learning_rate", "max_steps", "micro_batch"}
    first, second = (
        np.concatenate(
            [tensor.ravel() for tensor in load_file(launcher.folder / "run" / name / "model.safetensors").values()]
        )
        for name in ("checkpoint-2", "checkpoint-4")
    )
    assert np.abs(first - second).max() > 1.5e-4  # Adam moves a weight by about the rate


def test_data_that_grew_is_refused(launcher):
    rows = [{"problem": f"{a} + {a + 1} =", "answer": str(2 * a + 1)} for a in range(12)]
    file = launcher.folder / "data.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = {"dataset": {"path": str(file)}, "max_steps": 2}
    assert launcher.run("run", **spec).returncode == 0
    with open(file, "a") as more:
        more.write(json.dumps({"problem": "50 + 51 =", "answer": "101"}) + "\n")
    done = launcher.run("run", resume=True, **{**spec, "max_steps": 4})
    assert done.returncode == 2 and "dataset" in done.stderr and "12" in done.stderr


def test_fewer_steps_than_are_done_are_refused(undisturbed):
    done = undisturbed.run("undisturbed", resume=True, **{**LENGTH, "max_steps": 4})
    assert done.returncode == 2 and "max_steps: got 4" in done.stderr and "checkpoint-6" in done.stderr
