"""The token-level methods against DAPO on the embedded model: same problems, completions, updates and learning rate.

    python benchmarks/token_methods.py --seeds 0,1,2 --record

writes benchmarks/results/token_methods.json: every seed's runs, each method against DAPO and against the base with its
intervals over problems, the same over all seeds, and the policy's entropy at both ends of training (nats per token).
Nothing is tuned for any of them: the recipes (configs/recipes/testbed) differ in the method alone. What is there is kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seeds import ends, main, parser

METHODS = ("dapo", "hapo", "sapo", "ktae", "ares", "tea_rl")
PAIRS = (*(("dapo", name) for name in METHODS[1:]), *(("base", name) for name in METHODS))


def entropies(folder: Path) -> dict[str, Any]:
    return {"entropy": {name: ends(folder / name, "entropy") for name in METHODS}}


if __name__ == "__main__":
    main(parser(__doc__, __file__).parse_args(), __file__, METHODS, PAIRS, more=entropies)
