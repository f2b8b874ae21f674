"""`tersely launch slurm`, submitted for real: a time limit that strikes on two nodes, and an array whose second task fails."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import slurm_cluster

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.slurm]

HOSTILE = "a; rm -rf ~"
LEAD = 30  # seconds from the signal to the limit: a checkpoint is saved in them
SLOW = """
import os, time
from dataclasses import dataclass

@dataclass(frozen=True)
class SlowAtFirst:
    \"\"\"All groups; in the first attempt of a job some seconds later, so that it does not finish within the time limit.\"\"\"

    def __call__(self, rollouts):
        import torch

        time.sleep(4.0 if os.environ.get("SLURM_RESTART_COUNT", "0") == "0" else 0.0)
        return torch.ones(len(rollouts.prompt_id) // rollouts.group_size, dtype=torch.bool)
"""
# launchers and servers are processes of the job, which SLURM signals; evaluations, like ranks, start with the libraries loaded
PYTHON = """#!/bin/sh
[ "$2" = tersely ] && exec "{warm}" "$@"
exec "{real}" "$@"
"""
SMALL = {"prompts_per_step": 2, "group_size": 4, "micro_batch": 4, "save_steps": 100}


@pytest.fixture(scope="module")
def cluster():
    if reason := slurm_cluster.why_not():
        pytest.skip(reason)
    with slurm_cluster.cluster() as made:
        yield made
    assert not made.processes() and not made.root.exists()


@pytest.fixture
def launch(cluster, launcher):
    """`launch(name, *options, **changes) -> (run_dir, ids of the jobs)`: `tersely launch slurm` on a tiny recipe."""

    python = launcher.folder / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON.format(warm=launcher.python, real=sys.executable))
    python.chmod(0o755)

    def make(name: str, *options: str, **changes):
        launcher.command(name, **SMALL, **changes)  # writes the recipe
        environment = {**cluster.env, **launcher.warm_environment(), "SLURM_CONF": cluster.env["SLURM_CONF"]}
        environment["PYTHONPATH"] = f"{launcher.folder}:{environment['PYTHONPATH']}"
        done = subprocess.run(
            [launcher.python, "-m", "tersely", "launch", "slurm", f"{name}.yaml", "--venv", "venv", *options],
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,  # each recipe is checked with TRL, which takes long to import on a busy machine
            cwd=launcher.folder,
        )
        assert done.returncode == 0, done.stderr
        return launcher.folder / name, [line.split()[1].rstrip(":") for line in done.stdout.splitlines()]

    return make


def said(run_dir: Path) -> str:
    logs = sorted((run_dir / "launch" / "logs").iterdir())
    return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in logs)


def test_the_time_limit_strikes_on_two_nodes_and_the_run_finishes(cluster, launch, launcher):
    (launcher.folder / "slow_at_first.py").write_text(SLOW)
    run_dir, (train, evaluation) = launch(
        "limited",
        *("--nodes", "2", "--gpus-per-node", "0", "--time", "20", "--lead", str(LEAD), "--job-name", HOSTILE),
        *("--accelerate", "zero2", "--cpus-per-task", "1", "--sbatch", "--comment=a comment"),
        *("--eval", "testbed", "--eval-options", "--limit 4"),
        max_steps=25,
        max_completion_length=32,
        # short completions: harder ones, truncated by chance, would stop the run
        dataset={"name": "testbed", "limit": 512, "parameters": {"levels": [1]}},
        filter="slow_at_first:SlowAtFirst",
    )
    assert cluster("squeue", "-h", "-j", train, "-o", "%j") == HOSTILE
    metrics = run_dir / "metrics.jsonl"
    slurm_cluster.wait(lambda: metrics.exists() and '"loss"' in metrics.read_text(), 300, lambda: said(run_dir))
    hours, minutes, seconds = map(int, cluster.fact(train, "RunTime").split(":"))
    limit = math.ceil((hours * 3600 + minutes * 60 + seconds + LEAD + 5) / 60)  # minutes: the unit of a limit
    cluster("scontrol", "update", f"JobId={train}", f"TimeLimit={limit}")  # near, however long the start took
    slurm_cluster.wait(lambda: cluster.fact(train, "Restarts") == "1", 240, lambda: said(run_dir))
    cluster("scontrol", "update", f"JobId={train}", "TimeLimit=20")  # one requeue is enough to have seen
    logs = run_dir / "launch" / "logs"
    first = (logs / f"train-{train}-attempt-1.log").read_text()
    saved = sorted(int(path.name.rpartition("-")[2]) for path in run_dir.glob("checkpoint-*"))
    assert len(saved) == 1 and 0 < saved[0] < 25 and not (run_dir / "final").exists()
    assert f"saved checkpoint-{saved[0]} in {run_dir} and stopped: requested by SIGUSR1" in first

    assert cluster.finished(train, 240, lambda: said(run_dir)) == "COMPLETED", said(run_dir)
    assert cluster.fact(train, "NodeList") == "node[1-2]" and cluster.fact(train, "Restarts") == "1"
    second = (logs / f"train-{train}-attempt-2.log").read_text()
    assert f"resuming from checkpoint-{saved[0]}" in second and (run_dir / "final" / "model.safetensors").exists()
    assert "finished in attempt 2" in (logs / f"train-{train}.out").read_text()
    assert launcher.ranks("limited") == 2
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 26)), "every step once"

    assert cluster.finished(evaluation, 180, lambda: said(run_dir)) == "COMPLETED", said(run_dir)
    assert (run_dir / "report" / "report.html").exists() and list((run_dir / "eval").rglob("records.jsonl"))


def test_an_array_of_seeds_and_a_task_that_fails(cluster, launch, launcher):
    """A crash is not requeued, and the evaluation waits for its own task alone."""
    broken = launcher.folder / "broken.jsonl"  # only its first row is read before the job
    broken.write_text('{"problem": "1+1", "answer": "2"}\n{"problem": \n')
    run_dir, (train, evaluation) = launch(
        "seeds",
        *("--gpus-per-node", "0", "--time", "30", "--seeds", "5", "--sweep", f"dataset=testbed,{broken}"),
        *("--eval", "testbed", "--eval-options", "--limit 2"),
        max_steps=1,
        max_completion_length=16,
    )
    tasks = {name: [cluster.finished(f"{job}_{task}", 180, lambda: said(run_dir)) for task in (0, 1)] for name, job in
             {"train": train, "eval": evaluation}.items()}  # fmt: skip
    assert tasks == {"train": ["COMPLETED", "FAILED"], "eval": ["COMPLETED", "CANCELLED"]}, said(run_dir)
    assert cluster.fact(f"{train}_1", "Restarts") == "0" and cluster.fact(f"{train}_1", "ExitCode") != "0:0"
    folder = run_dir / "seed_5-dataset_testbed"
    assert yaml.safe_load((folder / "config.yaml").read_text())["seed"] == 5
    assert (folder / "final").is_dir() and (folder / "report" / "report.html").exists()
    failure = next((run_dir / "launch" / "logs").glob(f"train-{train}_1.out")).read_text()
    assert "broken.jsonl" in failure and "line 2" in failure


@pytest.mark.vllm
@pytest.mark.usefixtures("warm_servers")
def test_one_node_trains_and_another_serves(cluster, launch, launcher):
    pytest.importorskip("vllm", reason="vLLM is not installed: make engines")
    run_dir, (train,) = launch(
        "served",
        *("--gpus-per-node", "0", "--rollout-nodes", "1", "--time", "30"),
        engine="vllm_server",
        vllm_max_model_length=256,
        max_completion_length=32,
        max_steps=2,
    )
    assert cluster.finished(train, 420, lambda: said(run_dir)) == "COMPLETED", said(run_dir)
    assert cluster.fact(train, "NodeList") == "node[1-2]" and launcher.ranks("served") == 1
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    gaps = [row["mismatch/mean"] for row in rows if "mismatch/mean" in row]
    assert len(gaps) == 2 and max(gaps) < 1e-3, "the server samples from the weights of the step"
    assert (run_dir / "launch" / "logs" / f"servers-{train}-attempt-1.log").exists()
    key = re.compile(r"\b[0-9a-f]{32}\b")
    assert not [path for path in (run_dir / "launch").rglob("*") if path.is_file() and key.search(path.read_text())]
