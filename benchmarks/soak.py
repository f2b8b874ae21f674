"""Runs that are killed by SIGKILL at random moments and resumed, again and again, against one that is never disturbed.

python benchmarks/soak.py --rounds 50        prints a line a round, records benchmarks/results/soak.json

A round starts the run (with --resume from the second on), kills it, and looks at what is on disk. The moment is drawn: while
it starts, between any two steps, inside the saving of a checkpoint, or inside that of the final weights. After every kill
the newest whole checkpoint must be at least as new as before. A run that came through must equal the undisturbed one:
every step once, the same prompts and texts, losses within 1e-5, the same weights.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tersely.rl.checkpoints import manifest

STEPS, SAVE_STEPS, TOLERANCE = 24, 2, 1e-5
RECIPE: dict[str, Any] = {
    "model_name_or_path": "testbed",
    "dataset": {"path": "testbed", "split": "train", "limit": 256},
    "reward": [{"name": "alp", "beta": 0.3, "normalizer": 64}, {"name": "hapo_history", "weight": 0.2}],
    "advantage": "group_mean",
    "prompts_per_step": 4,
    "group_size": 4,
    "micro_batch": 8,
    "max_steps": STEPS,
    "max_completion_length": 64,
    "learning_rate": 1e-3,
    "gradient_checkpointing": False,
    "save_steps": SAVE_STEPS,
    "save_total_limit": 2,
    "seed": 7,
}
MOMENTS = ("start",) * 2 + ("step",) * 4 + ("saving",) * 5 + ("final",)
PATIENCE_S = 600
"""For one round; a machine that others use is slow."""


class Run:
    """One run directory and the attempts at it."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.path, self.log = folder, folder / name, folder / f"{name}.log"
        self.began = 0.0
        self.whole = 0
        """Step of the newest whole checkpoint that was seen."""

    def start(self) -> subprocess.Popen:
        recipe = self.folder / f"{self.path.name}.yaml"
        recipe.write_text(json.dumps({**RECIPE, "run_dir": str(self.path)}))  # JSON is YAML
        command = [sys.executable, "-m", "tersely.launch.train", "--config", str(recipe), "--resume"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.began = time.time()
        with open(self.log, "a") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder, env=environment)

    def finish(self) -> None:
        """One attempt that nobody disturbs."""
        process = self.start()
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()
        self.require_success(process)

    def require_success(self, process: subprocess.Popen) -> None:
        if process.returncode != 0:
            raise SystemExit(f"an attempt failed:\n{self.log.read_text()[-4000:]}")

    def being_saved(self) -> bool:
        """Is this attempt writing a checkpoint just now?"""
        for path in self.path.glob("checkpoint-*"):
            with contextlib.suppress(OSError):
                if not (path / manifest.MANIFEST).exists():
                    return any(file.stat().st_mtime >= self.began for file in path.iterdir())
        return False

    def steps(self) -> int:
        """The last step in metrics.jsonl."""
        file = self.path / "metrics.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return max((row["step"] for row in map(_row, lines) if "loss" in row), default=0)

    def check_kept(self) -> int:
        """Raise where a whole checkpoint has been lost; returns how many folders a resume would pass over."""
        last, passed_over = manifest.latest_whole(self.path)
        step = int(last.name.rpartition("-")[2]) if last else 0
        if step < self.whole:
            raise SystemExit(f"LOST: checkpoint-{self.whole} was whole, now the newest is {last}; {passed_over}")
        self.whole = step
        return len(passed_over)

    def facts(self) -> dict[str, Any]:
        """What must be the same in an undisturbed run."""
        import pandas as pd
        from safetensors.torch import load_file

        rows = [_row(line) for line in (self.path / "metrics.jsonl").read_text().splitlines()]
        rows = [row for row in rows if "loss" in row]
        frames = [pd.read_parquet(file) for file in sorted((self.path / "completions").glob("*.parquet"))]
        table = pd.concat(frames, ignore_index=True)
        return {
            "steps": [row["step"] for row in rows],
            "losses": [row["loss"] for row in rows],
            "texts": list(zip(table.step, table.prompt_id, table.text, strict=True)),
            "weights": load_file(self.path / "final" / "model.safetensors"),
            "state": manifest.component_state(self.path / "final"),
            "whole": manifest.fault(self.path / "final"),
        }


def _row(line: str) -> dict[str, Any]:
    try:
        return json.loads(line)
    except ValueError:
        return {}


def kill_at(run: Run, moment: str, draw: random.Random) -> str:
    """Start an attempt and kill it; returns where it was: start, step, saving, final, or `done` where it was too late."""
    skip, first = draw.randint(0, 3), run.whole
    happened = {
        "start": lambda: False,
        "step": lambda: run.steps() > first + skip,
        "saving": lambda: run.being_saved() and run.steps() > first + skip,
        "final": (run.path / "final").exists,
    }[moment]
    process = run.start()
    until = time.monotonic() + (draw.uniform(0.5, 12.0) if moment == "start" else PATIENCE_S)
    try:
        while process.poll() is None and not happened() and time.monotonic() < until:
            time.sleep(0.02 if moment == "step" else 0.001)
        time.sleep(draw.uniform(0, {"start": 0.0, "step": 0.6}.get(moment, draw.choice((0.0, 0.02, 0.15)))))
        if process.poll() is not None:
            run.require_success(process)
            return "done"
    finally:
        process.kill()
        process.wait()
    if (run.path / "final").exists() and manifest.fault(run.path / "final"):
        return "final"
    return "saving" if run.being_saved() else ("start" if moment == "start" else "step")


def difference(expected: dict[str, Any], found: dict[str, Any]) -> dict[str, float]:
    """Largest differences of losses and weights. Raises where anything else is not the same."""
    if found["steps"] != list(range(1, STEPS + 1)) or found["whole"] is not None:
        raise SystemExit(f"LOST: steps {found['steps']}; the final weights: {found['whole'] or 'whole'}")
    if found["texts"] != expected["texts"] or found["state"] != expected["state"]:
        raise SystemExit("NOT THE SAME: prompts, texts, or the state of the components")
    losses = max(abs(a - b) for a, b in zip(expected["losses"], found["losses"], strict=True))
    weights = max((expected["weights"][k] - v).abs().max().item() for k, v in found["weights"].items())
    if max(losses, weights) > TOLERANCE:
        raise SystemExit(f"NOT THE SAME: losses differ by {losses:g}, weights by {weights:g}")
    return {"losses": losses, "weights": weights}


def play(run: Run, rounds: int, draw: random.Random, killed: Counter[str]) -> int:
    """Kill and resume one run until it comes through or `rounds` are over; returns the partial folders on the way."""
    passed_over = 0
    while killed.total() < rounds:
        where = kill_at(run, draw.choice(MOMENTS), draw)
        if where == "done":
            return passed_over
        passed_over += run.check_kept()
        killed[where] += 1
        print(f"{killed.total():3d}  killed in {where:7s} newest whole checkpoint {run.whole}", flush=True)
    run.finish()
    return passed_over


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill and resume at random moments.")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "soak.json")
    options = parser.parse_args()
    draw, began = random.Random(options.seed), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="tersely-soak-"))
    undisturbed = Run(folder, "undisturbed")
    undisturbed.finish()
    expected = undisturbed.facts()
    killed: Counter[str] = Counter()
    passed_over, finished, worst = 0, 0, {"losses": 0.0, "weights": 0.0}
    while killed.total() < options.rounds:
        run = Run(folder, f"run-{finished}")
        passed_over += play(run, options.rounds, draw, killed)
        found = difference(expected, run.facts())
        worst = {key: max(worst[key], found[key]) for key in worst}
        finished += 1
        print(f"     run {finished} finished; largest difference of losses {found['losses']:g}", flush=True)
        shutil.rmtree(run.path)
    record = {
        "command": f"python benchmarks/soak.py --rounds {options.rounds} --seed {options.seed}",
        "rounds": killed.total(),
        "killed_in": dict(killed),
        "partial_checkpoints_passed_over": passed_over,
        "runs_finished": finished,
        "checkpoints_lost": 0,
        "largest_difference": worst,
        "steps_a_run": STEPS,
        "seconds": round(time.monotonic() - began),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared",
        "python": platform.python_version(),
    }
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
