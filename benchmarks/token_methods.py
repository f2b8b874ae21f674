"""The token-level methods against DAPO on the embedded model: same problems, completions, updates and learning rate.

    python benchmarks/token_methods.py --seeds 0,1,2 --out runs/token-methods --record

writes benchmarks/results/token_methods.json: every seed's runs, each method against DAPO and against the base with its
intervals over problems, over the seeds the mean and the extremes, and the policy's entropy at both ends of training.
Nothing is tuned for any of them: the recipes (configs/recipes/testbed) differ in the method alone. What is there is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

from quickstart import of_seed, over_seeds

RESULTS = Path(__file__).parent / "results" / "token_methods.json"
METHODS = ("dapo", "hapo", "sapo", "ktae", "ares", "tea_rl")
PAIRS = (*(("dapo", name) for name in METHODS[1:]), *(("base", name) for name in METHODS))


def entropy_of(run: Path, share: float = 0.1) -> dict[str, float]:
    """Mean entropy (nats a token) over the first and the last tenth of the logged steps."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    values = [row["entropy"] for row in rows if "entropy" in row]
    n = max(int(len(values) * share), 1)
    return {"first": statistics.fmean(values[:n]), "last": statistics.fmean(values[-n:])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", default="runs/token-methods", type=Path)
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS}")
    options = parser.parse_args()
    seeds: list[dict[str, Any]] = []
    for seed in map(int, options.seeds.split(",")):
        found = of_seed(options.out, seed, METHODS, PAIRS)
        found["entropy"] = {name: entropy_of(options.out / f"seed-{seed}" / name) for name in METHODS}
        seeds.append(found)
    result = {
        "command": f"python benchmarks/token_methods.py --seeds {options.seeds} --record",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread a process",
        "over_seeds": over_seeds(seeds),
        "seeds": seeds,
    }
    print(json.dumps(result["over_seeds"], indent=1))
    if options.record:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
