"""How often a comparison concludes wrongly: simulated evaluations, through the functions that make a report's conclusions.

    python benchmarks/conclusions.py --draws 1000 --record

For 2, 8 and 30 problems, with 1 and 4 samples: the share of comparisons that say "fewer tokens" where both runs spend the same,
and the share that say "not worse by more than the margin" where the run's true loss is the margin or more. Both should be at
most 5 %. Without any loss the second share is what a comparison of that size can show; it has no limit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from tersely.eval.report.compare import changes
from tersely.eval.report.conclusion import conclude
from tersely.eval.run_arrays import BenchmarkRecords

RESULTS = Path(__file__).parent / "results" / "conclusions.json"
PROBLEMS = (2, 8, 30)
SAMPLES = (1, 4)
CASES = ((0.01, 0.01), (0.05, 0.05), (0.01, 0.05), (0.01, 0.0), (0.05, 0.0))  # margin, true loss


def records(correct: np.ndarray, tokens: np.ndarray) -> BenchmarkRecords:
    """A run with these (Q, n) values."""
    shape = correct.shape
    nothing = np.full(shape, np.nan)
    return BenchmarkRecords(
        [str(q) for q in range(shape[0])],
        [None] * shape[0],
        correct.astype(float),
        tokens.astype(float),
        nothing,
        nothing,
        nothing,
        1 - correct,
        np.full(shape, None, dtype=object),
        np.full(shape, -1, dtype=np.int64),
        nothing,
    )


def conclusions(rng: np.random.Generator, problems: int, samples: int, loss: float, margin: float) -> tuple[str, str]:
    """(tokens, accuracy) conclusion of one simulated comparison: equal lengths, accuracy lower by `loss`."""
    shape = (problems, samples)
    difficulty = rng.beta(4, 1, (problems, 1))  # mean accuracy 0.8
    length = rng.lognormal(4, 0.8, (problems, 1))
    base, run = (
        records(
            rng.random(shape) < difficulty * (1 - lost / 0.8),
            np.ceil(length * rng.lognormal(0, 0.4, shape)),
        )
        for lost in (0.0, loss)
    )
    comparison = {"problems": problems, **changes(run, base, margin)}
    conclude([comparison], margin)
    return comparison["tokens_conclusion"], comparison["accuracy_conclusion"]


def share(problems: int, samples: int, loss: float, margin: float, draws: int) -> dict[str, float]:
    """Shares of "fewer" and of "not worse" (or better) among `draws` comparisons."""
    rng = np.random.default_rng([problems, samples, int(1000 * loss)])
    found = [conclusions(rng, problems, samples, loss, margin) for _ in range(draws)]
    return {
        "fewer": float(np.mean([tokens == "fewer" for tokens, _ in found])),
        "not_worse": float(np.mean([accuracy in ("not_worse", "better") for _, accuracy in found])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000, help="simulated comparisons per row")
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS}")
    options = parser.parse_args()
    print("problems  samples  margin  true loss  'fewer tokens'  'not worse'")
    rows: list[dict[str, Any]] = []
    began = time.process_time()
    for problems in PROBLEMS:
        for samples in SAMPLES:
            for margin, loss in CASES:
                found = share(problems, samples, loss, margin, options.draws)
                rows.append({"problems": problems, "samples": samples, "margin": margin, "true_loss": loss, **found})
                print(
                    f"{problems:8}  {samples:7}  {100 * margin:3.0f} pt  {100 * loss:6.0f} pt  "
                    f"{100 * found['fewer']:12.1f} %  {100 * found['not_worse']:9.1f} %",
                    flush=True,
                )
    result = {
        "command": f"python benchmarks/conclusions.py --draws {options.draws} --record",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "processor_seconds": round(time.process_time() - began),
        "highest_fewer": max(row["fewer"] for row in rows),
        "highest_not_worse_at_a_loss": max(row["not_worse"] for row in rows if row["true_loss"]),
        "rows": rows,
    }
    if options.record:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
