"""A run of three stages, cold start included: killed in the last one and resumed, it ends as one that was never killed."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import numpy as np
import pytest

from tersely.rl.checkpoints import manifest as checkpoint

pytestmark = pytest.mark.e2e

STAGED = {
    "max_steps": 8,
    "reward": {"name": "lapo_discovery", "falloff": 30},
    "advantage": "group_zscore",
    "max_completion_length": 96,
    "dataset": {"path": "testbed", "split": "train", "limit": 16},
    "stages": [
        {"name": "warm", "kind": "sft", "steps": 3, "prompts": 8, "samples": 2, "batch_size": 4},
        {"name": "discovery", "share": 0.5},
        {
            "name": "internalization",
            "share": 0.5,
            "prompting": {"name": "lapo_target", "unsolved_target": 64},
            "reward": {"name": "lapo_internalization", "sigma": 12, "unsolved_target": 64},
            "settings": {"max_completion_length": 64},
        },
    ],
}


@pytest.fixture(scope="module")
def undisturbed(shared_launcher):
    done = shared_launcher.run("undisturbed", **STAGED)
    assert done.returncode == 0, done.stderr[-3000:]
    return shared_launcher


def metrics(launcher, name: str) -> list[dict]:
    lines = (launcher.folder / name / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]


def test_one_metrics_file_with_stages_and_steps_that_count_on(undisturbed):
    rows = metrics(undisturbed, "undisturbed")
    assert [row["step"] for row in rows] == list(range(1, 12))
    assert [row["stage"] for row in rows] == ["warm"] * 3 + ["discovery"] * 4 + ["internalization"] * 4
    folder = undisturbed.folder / "undisturbed"
    assert checkpoint.fault(folder / "final") is None and len(list((folder / "completions").iterdir())) == 8


def test_memory_and_targets_cross_the_stages(undisturbed):
    """Every target that the second stage announced is the one that the first had stored, or was never stored."""
    folder = undisturbed.folder / "undisturbed" / "stages"
    left = checkpoint.component_state(folder / "2-discovery" / "final")["memory"]
    rows = undisturbed.completions("undisturbed")
    announced = rows[rows.step > 7].groupby("prompt_id").budget.first()
    assert any("target" in record for record in left.values())
    for prompt_id, budget in announced.items():
        assert budget == np.floor(left.get(prompt_id, {}).get("target", 64) + 0.5)


def test_killed_in_the_last_stage_and_resumed(undisturbed):
    command = undisturbed.command("killed", **STAGED)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=undisturbed.environment(), cwd=undisturbed.folder, **quiet)
    file, deadline = undisturbed.folder / "killed" / "metrics.jsonl", time.monotonic() + 400
    try:
        while time.monotonic() < deadline:
            if file.exists() and '"step": 10' in file.read_text():
                break
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert not (undisturbed.folder / "killed" / "final").exists()
    done = undisturbed.run("killed", resume=True, **STAGED)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (
        "stage discovery: steps 4 to 7: already finished" in done.stdout and "resuming from checkpoint-2" in done.stdout
    )
    expected, found = undisturbed.completions("undisturbed"), undisturbed.completions("killed")
    assert expected.text.tolist() == found.text.tolist()
    np.testing.assert_array_equal(expected.budget, found.budget)
    np.testing.assert_allclose(undisturbed.losses("undisturbed"), undisturbed.losses("killed"), atol=1e-5)
    assert [row["step"] for row in metrics(undisturbed, "killed")] == list(range(1, 12))
