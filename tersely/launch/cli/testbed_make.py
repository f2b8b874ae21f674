"""`tersely testbed make`: trains the embedded model's weights from scratch."""

from __future__ import annotations

import time

from tersely.core.paths import place_option
from tersely.launch.cli.parser import Parser, number, whole
from tersely.testbed.make import LEARNING_RATE, TOKENS, make


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="tersely testbed make", description="Train the testbed's model from scratch.")
    parser.add_argument("--out", type=place_option, required=True, help="output folder for model and tokenizer")
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument(
        "--tokens",
        type=number(at_least=1),
        default=TOKENS,
        help="training tokens, padding included (default: %(default)s)",
    )
    parser.add_argument("--learning-rate", type=number(above=0), default=LEARNING_RATE)
    parser.add_argument("--start", type=place_option, help="start from the weights in this folder, with a new schedule")
    parser.add_argument("--threads", type=whole(1), default=None, help="torch threads (default: torch's choice)")
    options = parser.parse_args(argv)
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    started = time.time()
    loss = make(
        options.out, options.seed, int(options.tokens), start=options.start, learning_rate=options.learning_rate
    )
    print(f"wrote {options.out}: last loss {loss:.4f} nats per token, {time.time() - started:.0f} s")
    return 0
