"""RLPR and VeriFree, which see no verdict, against GRPO on verified rewards: same base, problems, steps and rollouts.

    python benchmarks/verifier_free.py --seeds 0,1,2 --record

writes benchmarks/results/verifier_free.json: every seed's accuracy and tokens of the base and of each method with intervals
over held-out problems, each method against the base and against GRPO, the same over all seeds; of the training, verified
accuracy, likelihood of the reference answers and share of kept groups in the first and the last tenth of the steps. The recipes
(configs/recipes/testbed) differ in the method alone. About 11 minutes per seed on one core; what is there is kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seeds import ends, main, parser

METHODS = ("grpo", "rlpr", "verifree")
PAIRS = (*(("base", name) for name in METHODS), ("grpo", "rlpr"), ("grpo", "verifree"))
METRICS = {
    "grpo": ("verify/accuracy", "groups/kept"),
    "rlpr": ("verify/accuracy", "groups/kept", "reference/score", "reference/base"),
    "verifree": ("verify/accuracy", "groups/kept", "reference/logp"),
}


def training(folder: Path) -> dict[str, Any]:
    return {"training": {name: {m: ends(folder / name, m) for m in metrics} for name, metrics in METRICS.items()}}


if __name__ == "__main__":
    main(parser(__doc__, __file__, steps=45).parse_args(), __file__, METHODS, PAIRS, more=training)
