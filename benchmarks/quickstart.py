"""The result on the embedded model: base, plain GRPO, DLER and ALP under one budget, for several seeds.

    python benchmarks/quickstart.py --seeds 0,1,2 --out runs/quickstart-seeds --record

writes benchmarks/results/quickstart.json: every seed's runs, each method against the base and against plain GRPO with its
intervals over problems, and over the seeds the mean and the extremes. About 12 minutes a seed; what is there already is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "quickstart.json"
METHODS = ("alp", "grpo", "dler")
PAIRS = (("base", "alp"), ("base", "grpo"), ("base", "dler"), ("grpo", "alp"), ("grpo", "dler"))
RUN_KEYS = ("accuracy", "accuracy_ci", "tokens_mean", "tokens_ci", "truncated", "adaptation_ratio", "by_level")
CHANGE_KEYS = ("tokens_change", "tokens_change_ci", "accuracy_change", "accuracy_change_ci", "verdict")


def of_seed(
    out: Path, seed: int, methods: Sequence[str] = METHODS, pairs: Sequence[tuple[str, str]] = PAIRS
) -> dict[str, Any]:
    """Train and evaluate what is missing, and the figures of one seed; `pairs` are (base, run)."""
    from tersely.eval.compare import compare
    from tersely.launch import quickstart

    folder = out / f"seed-{seed}"
    quickstart.main(["--methods", ",".join(methods), "--seed", str(seed), "--out", str(folder)])
    report = json.loads((folder / "report.json").read_text())
    found = []
    for base, run in pairs:
        change = compare(folder / "eval" / base, folder / "eval" / run)[0]
        found.append({"base": base, "run": run, **{key: change[key] for key in CHANGE_KEYS}})
    runs = {
        run["name"]: {key: run["benchmarks"][quickstart.BENCHMARK][key] for key in RUN_KEYS} for run in report["runs"]
    }
    return {"seed": seed, "runs": runs, "comparisons": found}


def over_seeds(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and extremes over the seeds of every run's figures and of every comparison's changes."""

    def spread(values: list[float]) -> dict[str, float]:
        return {"mean": statistics.fmean(values), "lowest": min(values), "highest": max(values)}

    runs = {
        name: {
            key: spread([s["runs"][name][key] for s in seeds])
            for key in ("accuracy", "tokens_mean", "adaptation_ratio")
        }
        for name in seeds[0]["runs"]
    }
    comparisons = [
        {
            "base": first["base"],
            "run": first["run"],
            **{key: spread([s["comparisons"][i][key] for s in seeds]) for key in ("tokens_change", "accuracy_change")},
        }
        for i, first in enumerate(seeds[0]["comparisons"])
    ]
    return {"runs": runs, "comparisons": comparisons}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", default="runs/quickstart-seeds", type=Path)
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS}")
    options = parser.parse_args()
    seeds = [of_seed(options.out, int(seed)) for seed in options.seeds.split(",")]
    result = {
        "command": f"python benchmarks/quickstart.py --seeds {options.seeds} --record",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread a process",
        "over_seeds": over_seeds(seeds),
        "seeds": seeds,
    }
    print(json.dumps(result["over_seeds"], indent=1))
    if options.record:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
