"""A few real steps of ALP on SmolLM2-135M-Instruct on this machine's CPU, recorded.

    tersely testbed fetch-smollm2
    tersely train --config smollm2-135m/alp_cpu --run_dir runs/smollm2-alp-cpu
    python benchmarks/smollm2.py runs/smollm2-alp-cpu

writes benchmarks/results/smollm2_alp_cpu.json: every step's metrics, the median step time, versions and hardware.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from pathlib import Path

KEYS = ("step", "verify/accuracy", "verify/no_answer", "verify/undecided", "completions/mean_length")
KEYS += ("completions/clipped_ratio", "groups/mixed", "reward", "entropy", "loss", "grad_norm")
KEYS += ("time/generate", "time/verify", "step_time")


def summary(run_dir: Path) -> dict:
    """The run's record. Raises FileNotFoundError where it has no metrics."""
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    steps = [{key: row.get(key) for key in KEYS} for row in rows if "step_time" in row]
    half = len(steps) // 2
    environment = json.loads((run_dir / "environment.json").read_text())
    return {
        "what": "tersely train --config smollm2-135m/alp_cpu",
        "steps": len(steps),
        "seconds_per_step_median": statistics.median(row["step_time"] for row in steps),
        "seconds_generate_median": statistics.median(row["time/generate"] for row in steps),
        "tokens_mean_first_half": statistics.mean(row["completions/mean_length"] for row in steps[:half]),
        "tokens_mean_second_half": statistics.mean(row["completions/mean_length"] for row in steps[half:]),
        "accuracy_first_half": statistics.mean(row["verify/accuracy"] for row in steps[:half]),
        "accuracy_second_half": statistics.mean(row["verify/accuracy"] for row in steps[half:]),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "environment": {key: environment[key] for key in ("python", "platform", "cpu_count", "versions", "commit")},
        "metrics": steps,
    }


if __name__ == "__main__":
    found = summary(Path(sys.argv[1]))
    target = Path(__file__).parent / "results" / "smollm2_alp_cpu.json"
    target.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({key: value for key, value in found.items() if key not in ("metrics", "environment")}, indent=1))
