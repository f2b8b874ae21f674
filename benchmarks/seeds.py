"""Recipes of the embedded model trained and evaluated for several seeds: what the benchmarks of methods share."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

RUN_KEYS = ("accuracy", "accuracy_ci", "tokens_mean", "tokens_ci", "truncated", "adaptation_ratio", "by_level")
CHANGE_KEYS = ("tokens_change", "tokens_change_ci", "accuracy_change", "accuracy_change_ci", "verdict")


def of_seed(out: Path, seed: int, methods: Sequence[str], pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Train and evaluate what is missing, and the figures of one seed; `pairs` are (base, run)."""
    from tersely.eval.compare import compare
    from tersely.launch.cli import quickstart

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


def main(
    description: str,
    file: str,
    methods: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    more: Callable[[Path], dict[str, Any]] = lambda folder: {},
) -> None:
    """The command line of such a benchmark; `more` takes a seed's folder and returns what else is recorded of it."""
    name = Path(file).stem
    results = Path(file).parent / "results" / f"{name}.json"
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", default=f"runs/{name}-seeds", type=Path)
    parser.add_argument("--record", action="store_true", help=f"write {results}")
    options = parser.parse_args()
    seeds = []
    for seed in map(int, options.seeds.split(",")):
        found = of_seed(options.out, seed, methods, pairs)
        seeds.append({**found, **more(options.out / f"seed-{seed}")})
    result = {
        "command": f"python benchmarks/{name}.py --seeds {options.seeds} --record",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread a process",
        "over_seeds": over_seeds(seeds),
        "seeds": seeds,
    }
    print(json.dumps(result["over_seeds"], indent=1))
    if options.record:
        results.write_text(json.dumps(result, indent=1) + "\n")
