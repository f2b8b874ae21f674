"""`tersely testbed make`: makes the testbed's model from nothing, by a cold start and plain GRPO."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tersely.core.paths import path_option
from tersely.launch.cli.parser import Parser, whole
from tersely.launch.make_testbed import STEPS, make
from tersely.testbed.cold_start import TOKENS


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="tersely testbed make",
        description="Train the testbed's model from nothing: supervised on solutions of varied redundancy, "
        "then by plain GRPO without a length term. The same command resumes a run that was stopped.",
    )
    parser.add_argument("--out", type=path_option, required=True, help="output folder; the model is in OUT/model")
    parser.add_argument("--seed", type=whole(0), default=0, help="random seed (default: %(default)s)")
    parser.add_argument(
        "--tokens", type=whole(1), default=TOKENS, help="tokens of the cold start (default: %(default)s)"
    )
    parser.add_argument("--steps", type=whole(1), default=STEPS, help="steps of GRPO (default: %(default)s)")
    options = parser.parse_args(argv)
    started = time.time()
    made = make(options.out, options.seed, options.tokens, options.steps)
    print(f"{made}: made in {time.time() - started:.0f} s")
    return 0
