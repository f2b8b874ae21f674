"""Real runs in real processes, on the embedded model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

ROOT = Path(__file__).parents[2]

RECIPE = {
    "model_name_or_path": "testbed",
    "dataset": {"path": "testbed", "split": "train", "limit": 64},
    "reward": {"name": "alp", "beta": 0.3, "normalizer": 64},
    "advantage": "group_mean",
    "prompts_per_step": 4,
    "group_size": 4,
    "micro_batch": 8,
    "max_steps": 4,
    "max_completion_length": 64,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "constant",
    "gradient_checkpointing": False,
    "save_steps": 2,
    "seed": 3,
}


class Launcher:
    """Writes a recipe and starts `-m tersely.launch.train` on it, alone or under accelerate, with the interpreter `python`."""

    def __init__(self, folder: Path, python: str = sys.executable):
        self.folder, self.python = folder, python

    def command(
        self,
        name: str,
        *,
        processes: int = 1,
        accelerate: tuple = (),
        resume: bool = False,
        **changes,
    ):
        recipe = {**RECIPE, "run_dir": str(self.folder / name), **changes}
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(recipe))
        start = [self.python]
        if processes > 1 or accelerate:
            options = (
                accelerate
                or (
                    "--multi_gpu",  # under --cpu accelerate starts one process, whatever it is told; without GPUs this is gloo
                    "--mixed_precision",
                    "no",
                    "--dynamo_backend",
                    "no",
                    "--num_machines",
                    "1",
                )
            )
            start += ["-m", "accelerate.commands.launch", *options, "--num_processes", str(processes)]
            if processes > 1 and "--main_process_port" not in options:
                start += ["--main_process_port", "0"]  # accelerate takes one that is free: tests run beside each other
        return [*start, "-m", "tersely.launch.train", "--config", str(path), *(["--resume"] if resume else [])]

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}

    def warm_environment(self) -> dict[str, str]:
        """With torchrun's name for the interpreter of its ranks."""
        return {**self.environment(), "PYTHON_EXEC": self.python}

    def run(self, name: str, timeout: float = 240, **changes) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(name, **changes),
            env=self.warm_environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self.folder,
        )

    def ranks(self, name: str) -> int:
        """As the run itself saw them: a launcher can start fewer than it was told."""
        table = (self.folder / name / "batch.txt").read_text().splitlines()
        return next(int(line.split()[1]) for line in table if line.split()[:1] == ["ranks"])

    def losses(self, name: str) -> list[float]:
        return self.logged(name, "loss")

    def logged(self, name: str, metric: str) -> list[float]:
        lines = (self.folder / name / "metrics.jsonl").read_text().splitlines()
        return [row[metric] for row in map(json.loads, lines) if metric in row]

    def completions(self, name: str) -> pd.DataFrame:
        files = sorted((self.folder / name / "completions").glob("*.parquet"))
        return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
