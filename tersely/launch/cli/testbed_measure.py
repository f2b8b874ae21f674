"""`tersely testbed measure`: measures accuracy and lengths of the embedded model."""

from __future__ import annotations

from tersely.core.paths import place_option
from tersely.launch.cli.parser import Parser, whole
from tersely.testbed import model_path
from tersely.testbed.measure import CAP, attempts, level_table, show, style_table


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="tersely testbed measure", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", type=place_option, default=str(model_path()), help="model folder (default: the shipped one)"
    )
    parser.add_argument("--problems", type=whole(1), default=288)
    parser.add_argument("--samples", type=whole(1), default=16)
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument("--cap", type=whole(1), default=CAP, help="maximum new tokens (default: %(default)s)")
    options = parser.parse_args(argv)
    found = attempts(options.model, options.problems, options.samples, options.seed, cap=options.cap)
    print(show(level_table(found)), show(style_table(found)), sep="\n\n")
    return 0
