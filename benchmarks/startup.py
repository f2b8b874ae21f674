"""Seconds until `tersely --help` and the dry runs have answered, beside an interpreter that does nothing.

python benchmarks/startup.py            prints the times, records them in benchmarks/results/startup.json
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS, LIMIT, DRY_RUN_LIMIT = 20, 0.3, 1.0
CALLS = {
    "python -c pass": ["-c", "pass"],
    "tersely --help": ["-m", "tersely", "--help"],
    "tersely train --help": ["-m", "tersely", "train", "--help"],
    "tersely methods --names": ["-m", "tersely", "methods", "--names"],
    "tersely launch local --dry-run": ["-m", "tersely", "launch", "local", "testbed/alp", "--dry-run"],
    "tersely launch slurm --dry-run": [
        *("-m", "tersely", "launch", "slurm", "testbed/alp", "--nodes", "2", "--gpus-per-node", "8"),
        *("--prompts_per_step", "16", "--eval", "math500", "--dry-run"),
    ],
}


def limit(name: str) -> float:
    return DRY_RUN_LIMIT if name.endswith("--dry-run") else LIMIT


def seconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> int:
    times: dict[str, list[float]] = {name: [] for name in CALLS}
    for _ in range(ROUNDS):  # in turn, so that whatever else the machine does falls on all of them
        for name, arguments in CALLS.items():
            times[name].append(seconds(arguments))
    medians = {name: round(statistics.median(taken), 4) for name, taken in times.items()}
    for name, median in medians.items():
        print(f"{name:32s}{median:8.3f} s{'   above the limit' if median > limit(name) else ''}")
    record = {
        "command": "python benchmarks/startup.py",
        "rounds": ROUNDS,
        "limit_s": {name: limit(name) for name in CALLS},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "median_s": medians,
    }
    path = Path(__file__).parent / "results" / "startup.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(f"recorded in {path.relative_to(Path(__file__).parents[1])}")
    return int(any(median > limit(name) for name, median in medians.items()))


if __name__ == "__main__":
    sys.exit(main())
