"""`tersely launch local` with vLLM servers of its own: a whole recipe through two of them, killed, resumed, nothing left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.vllm,
    pytest.mark.usefixtures("warm_servers"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's"),
]

RECIPE = {
    "engine": "vllm_server",
    "prompting": {"name": "hbpo", "budgets": [16, 32, 64, 96]},
    "reward": "correctness",
    "filter": "mixed_groups",
    "max_resample_rounds": 1,
    "micro_batch": 4,
    "max_steps": 4,
    "save_steps": 2,
    "max_completion_length": 96,
    "vllm_max_model_length": 256,
}


def started(launcher, *options: str) -> subprocess.Popen:
    launcher.command("served", **RECIPE)  # writes the recipe
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tersely",
            "launch",
            "local",
            "served.yaml",
            "--rollout-servers",
            "2",
            "--processes",
            "2",
            *options,
        ],  # fmt: skip
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**launcher.warm_environment(), "TERSELY_SERVER_KEY": "served-test-key-0123456789"},
        cwd=launcher.folder,
    )


def of_the_run(folder: Path) -> list[int]:
    """Live processes that work in this folder: launcher, guard, servers and their engines, ranks."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "cwd") == str(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def rows(run_dir: Path) -> list[dict]:
    return [row for line in (run_dir / "metrics.jsonl").read_text().splitlines() if "loss" in (row := json.loads(line))]


@pytest.mark.timeout(900)  # two servers start twice, minutes on a busy machine
def test_a_recipe_through_two_servers_killed_and_resumed(launcher):
    run_dir, seen = launcher.folder / "served", []
    first = started(launcher)
    for line in first.stdout:
        seen.append(line)
        if line.startswith("step 3/4"):
            break
    assert "step 3/4" in seen[-1], "".join(seen[-60:])
    assert len(of_the_run(launcher.folder)) >= 8, (
        "launcher, guard, owner, two servers with an engine each, the training"
    )
    first.kill()
    first.wait()
    end = time.monotonic() + 60
    while of_the_run(launcher.folder) and time.monotonic() < end:
        time.sleep(0.2)
    assert not of_the_run(launcher.folder), "no process outlives a launcher that was killed"

    second = started(launcher, "--resume")
    said, _ = second.communicate(timeout=600)
    assert second.returncode == 0, said[-4000:]
    assert "resuming from checkpoint-2" in said
    assert said.index("server 1: up") < said.index("step 3/4"), "no training before the servers are healthy"
    assert not of_the_run(launcher.folder)

    made = rows(run_dir)
    assert [row["step"] for row in made] == list(range(1, 5))
    assert launcher.ranks("served") == 2 and sum(row["groups/resampled"] for row in made) > 0
    for row in made:
        assert row["mismatch/mean"] < 1e-3, "the servers sample from the weights of the step, and from its prompts"
        assert row["engine/smallest_share"] > 0.2 and 0 <= row["engine/idle_share"] < 1
    table = launcher.completions("served")
    assert table.groupby(["step", "prompt_id"]).prompting.nunique().max() > 1, "prompts differ inside a group"
    assert table.text.nunique() > len(table) / 4 and table.correct.sum() > 2
    logs = sorted(path.name for path in (run_dir / "logs").iterdir())
    assert logs == ["attempt-1.log", "attempt-2.log"] + [f"server-{i}-attempt-{n}.log" for i in (0, 1) for n in (1, 2)]
    for path in [*(run_dir / "logs").iterdir(), *run_dir.glob("*.json"), *run_dir.glob("*.yaml")]:
        assert "served-test-key-0123456789" not in path.read_text(), path
    assert not list((run_dir / "served_weights").glob("*")), "weights that were exchanged are not kept"
