"""Killed in the middle of a step and resumed, a run ends as one that was never killed."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import numpy as np
import pytest

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
        env=launcher.environment(),
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


@pytest.mark.parametrize("step", [1, 3])
def test_killed_and_resumed_equals_never_killed(undisturbed, step):
    name = f"killed_{step}"
    kill_after_step(undisturbed, name, step)
    done = undisturbed.run(name, resume=True, **LENGTH)
    assert done.returncode == 0, done.stderr[-3000:]
    assert ("checkpoint-2" in done.stdout) == (step == 3), done.stdout
    expected, found = undisturbed.completions("undisturbed"), undisturbed.completions(name)
    assert expected.prompt_id.tolist() == found.prompt_id.tolist()
    assert expected.text.tolist() == found.text.tolist()
    np.testing.assert_allclose(undisturbed.losses("undisturbed"), undisturbed.losses(name), atol=1e-5)


def test_a_half_written_checkpoint_is_passed_over(undisturbed):
    kill_after_step(undisturbed, "half", 5)
    newest = undisturbed.folder / "half" / "checkpoint-4"
    weights = newest / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    done = undisturbed.run("half", resume=True, **LENGTH)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "checkpoint-4 is left aside" in done.stdout and "going on from checkpoint-2" in done.stdout
    np.testing.assert_allclose(undisturbed.losses("undisturbed"), undisturbed.losses("half"), atol=1e-5)


def test_a_run_directory_is_not_trained_twice_by_accident(undisturbed):
    done = undisturbed.run("undisturbed", **LENGTH)
    assert done.returncode == 2 and "--resume" in done.stderr
