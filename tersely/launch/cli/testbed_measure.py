"""`tersely testbed measure`: measures whether the testbed's model is worth shortening."""

from __future__ import annotations

from collections.abc import Sequence

from tersely.core.paths import path_option, place_option
from tersely.launch.cli.parser import Parser, whole


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="tersely testbed measure",
        description="Sample a model on held-out problems of the testbed, and print whether thinking pays, how much of it is "
        "waste, and how its need varies, with 95 % intervals. Samples in --out are used again.",
    )
    parser.add_argument(
        "model",
        nargs="?",
        type=place_option,
        default="testbed",
        help="model folder, such as DIR/model of `tersely testbed make` (default: the embedded model)",
    )
    parser.add_argument(
        "--out", type=path_option, default="runs/testbed-measure", help="folder for the samples (default: %(default)s)"
    )
    parser.add_argument("--problems", type=whole(5), default=85, help="problems of each family (default: %(default)s)")
    parser.add_argument("--samples", type=whole(2), default=16, help="samples of each problem (default: %(default)s)")
    parser.add_argument("--seed", type=whole(0), default=0, help="random seed of problems and samples")
    options = parser.parse_args(argv)
    from rich.console import Console
    from rich.table import Table

    from tersely.eval.testbed_properties import properties, sample_model

    found = sample_model(str(options.model), options.out, options.problems, options.samples, options.seed)
    table = Table("property", "value", "95 % interval", "wanted", "holds")
    for item in properties(found):
        wanted = [f">= {item.low:g}"] * (item.low > float("-inf")) + [f"<= {item.high:g}"] * (item.high < float("inf"))
        value = item.value
        table.add_row(
            item.name,
            f"{value.estimate:.3f}",
            f"{value.low:.3f} to {value.high:.3f}",
            " and ".join(wanted),
            item.verdict,
        )
    Console(width=120).print(table)
    return 0
