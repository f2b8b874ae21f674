"""The token-level methods against DAPO on the embedded model: same problems, completions, updates and learning rate.

    python benchmarks/token_methods.py --seeds 0,1,2 --record

writes benchmarks/results/token_methods.json: every seed's runs, each method against DAPO and against the base with its
intervals over problems, over the seeds the mean and the extremes, and the policy's entropy at both ends of training.
Nothing is tuned for any of them: the recipes (configs/recipes/testbed) differ in the method alone. What is there is kept.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from seeds import main

METHODS = ("dapo", "hapo", "sapo", "ktae", "ares", "tea_rl")
PAIRS = (*(("dapo", name) for name in METHODS[1:]), *(("base", name) for name in METHODS))


def entropy_of(run: Path, share: float = 0.1) -> dict[str, float]:
    """Mean entropy (nats a token) over the first and the last tenth of the logged steps."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    values = [row["entropy"] for row in rows if "entropy" in row]
    n = max(int(len(values) * share), 1)
    return {"first": statistics.fmean(values[:n]), "last": statistics.fmean(values[-n:])}


def entropies(folder: Path) -> dict[str, Any]:
    return {"entropy": {name: entropy_of(folder / name) for name in METHODS}}


if __name__ == "__main__":
    main(__doc__, __file__, METHODS, PAIRS, entropies)
