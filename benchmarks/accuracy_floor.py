"""The accuracy floor on the embedded model: a price for each token that no answer is worth, without the floor and with it.

    python benchmarks/accuracy_floor.py --seeds 0 --out runs/accuracy-floor --record

writes benchmarks/results/accuracy_floor.json: held-out accuracy and tokens of the base and of both runs, with intervals over
problems; of the training the accuracy, tokens and the floor's weight every ten steps, and every roll-back. Same problems,
steps and seed; the recipes differ in the controller alone. What is there already is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "accuracy_floor.json"
FLOOR = {"name": "accuracy_floor", "delta": 0.05, "window": 10, "step": 20}
OVER_STRONG = {
    "reward": {"name": "alp", "beta": 20.0, "normalizer": "max_length", "solve_rate_floor": 1.0},
    "lr_scheduler_type": "constant_with_warmup",
    "max_steps": 60,
    "save_steps": 5,
    "save_total_limit": 20,
    "max_rollbacks": 4,
}
RUNS: dict[str, dict[str, Any]] = {"without": {}, "with_floor": {"controllers": [FLOOR]}}
RUN_KEYS = ("accuracy", "accuracy_ci", "tokens_mean", "tokens_ci", "truncated", "by_level")
CHANGE_KEYS = ("tokens_change", "tokens_change_ci", "accuracy_change", "accuracy_change_ci", "verdict")


def of_seed(out: Path, seed: int) -> dict[str, Any]:
    """Train and evaluate what is missing, and the figures of one seed."""
    from tersely.configs.load import load_recipe
    from tersely.eval.report.write import write_report
    from tersely.launch.cli import quickstart
    from tersely.rl.run import train

    folder = out / f"seed-{seed}"
    options = argparse.Namespace(out=folder, samples=4, problems=256, seed=seed)
    evaluated = [quickstart.evaluated(options, "base", "testbed")]
    for name, changes in RUNS.items():
        run_dir = folder / name
        if not (run_dir / "final" / "config.json").exists():
            changes = {**OVER_STRONG, **changes, "run_dir": str(run_dir), "seed": seed}
            train(load_recipe("testbed/alp", changes), resume=run_dir.exists())
        evaluated.append(quickstart.evaluated(options, name, str(run_dir / "final")))
    report = json.loads(write_report(evaluated, evaluated[0], folder).read_text())
    facts = {run["name"]: run["benchmarks"][quickstart.BENCHMARK] for run in report["runs"]}
    return {
        "seed": seed,
        "runs": {name: {key: found[key] for key in RUN_KEYS} for name, found in facts.items()},
        "comparisons": [{"run": c["run"], **{key: c[key] for key in CHANGE_KEYS}} for c in report["comparisons"]],
        "training": {name: course(folder / name / "metrics.jsonl") for name in RUNS},
    }


def course(path: Path, every: int = 10) -> dict[str, Any]:
    """Means over each `every` steps, and the roll-backs."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    names = {
        "accuracy": "verify/accuracy",
        "tokens": "efficiency/tokens_mean",
        "weight": "controllers/accuracy_floor",
    }
    found: dict[str, Any] = {
        name: [
            round(statistics.fmean(values), 4)
            for at in range(0, len(steps), every)
            if (values := [line[key] for line in steps[at : at + every] if line.get(key) is not None])
        ]
        for name, key in names.items()
    }
    found["roll_backs"] = [line for line in lines if line.get("event") == "roll_back"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--out", default="runs/accuracy-floor", type=Path)
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS}")
    options = parser.parse_args()
    result = {
        "command": f"python benchmarks/accuracy_floor.py --seeds {options.seeds} --record",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread a process",
        "recipe": {"base": "testbed/alp", **OVER_STRONG, "with_floor": FLOOR},
        "seeds": [of_seed(options.out, int(seed)) for seed in options.seeds.split(",")],
    }
    print(json.dumps([{key: seed[key] for key in ("runs", "training")} for seed in result["seeds"]], indent=1))
    if options.record:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
