"""The result on the embedded model: base, plain GRPO, truncation, DLER and ALP under one budget, for several seeds.

    python benchmarks/quickstart.py --seeds 0,1,2 --record

writes benchmarks/results/quickstart.json: every seed's runs, each method against the base and against plain GRPO with its
intervals over problems, and the same over all seeds. About 20 minutes a seed; what is there already is kept.
"""

from __future__ import annotations

from seeds import main, parser

METHODS = ("alp", "grpo", "truncation", "dler")
PAIRS = (*(("base", name) for name in METHODS), ("grpo", "alp"), ("truncation", "alp"), ("dler", "alp"))

if __name__ == "__main__":
    main(parser(__doc__, __file__).parse_args(), __file__, METHODS, PAIRS)
