"""Where the time of a training step on the testbed goes, with one thread and with more.

    python benchmarks/testbed_step.py --record

trains `testbed/grpo` for some steps, once per number of threads (OMP_NUM_THREADS of the run), and takes medians over the steps
from the second on. The runs differ in floating-point sums only, and so by some of their samples: two figures relate the
generation to its longest completion, and the update to its trained tokens. benchmarks/results/testbed_step.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from seeds import write


def steps_of(threads: int, steps: int) -> list[dict[str, Any]]:
    """The metrics of a new run, by step."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["--config", "testbed/grpo", "--run_dir", f"{folder}/run", "--max_steps", str(steps)]
        subprocess.run(
            [sys.executable, "-m", "tersely", "train", *command],
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "time/generate" in row and "step_time" in row]


def split(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Median seconds of the parts of a step, and of generation per position and the update per 1,000 tokens."""
    parts = []
    for row in rows[1:]:
        update = row["step_time"] - row["time/rollout"] - row["time/log_prob_pass"]
        longest, tokens = row["completions/max_length"], 128 * row["completions/mean_length"]
        parts.append(
            {
                "generate": row["time/generate"],
                "wait_for_verifier": row["time/verify_wait"],
                "rest_of_rollout": row["time/rollout"] - row["time/generate"] - row["time/verify_wait"],
                "log_prob_pass": row["time/log_prob_pass"],
                "update": update,
                "between_steps": row["time/whole_step"] - row["step_time"],
                "whole_step": row["time/whole_step"],
                "generate_per_position_ms": 1000 * row["time/generate"] / longest,
                "update_per_1000_tokens_ms": 1e6 * update / tokens,
                "tokens": tokens,
            }
        )
    return {name: round(statistics.median(part[name] for part in parts), 4) for name in parts[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    found = {threads: split(steps_of(int(threads), options.steps)) for threads in options.threads.split(",")}
    print(json.dumps(found, indent=1))
    if options.record:
        write(__file__, options, {"threads": found})


if __name__ == "__main__":
    main()
