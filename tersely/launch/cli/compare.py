"""`tersely compare A B`: compares accuracy and tokens of two runs on the same problems, as a table and a sentence."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from tersely.core.paths import fault_of, place_option
from tersely.launch.cli.parser import Parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="tersely compare",
        description="Compare run B with run A on the same problems: tokens, accuracy, intervals, and a conclusion.",
    )
    parser.add_argument(
        "a",
        type=place_option,
        metavar="A",
        help="base run: a directory with records.jsonl (A1,A2 are seeds of one run)",
    )
    parser.add_argument("b", type=place_option, metavar="B", help="run to compare with A")
    from tersely.launch.cli.report import add_comparing

    add_comparing(parser)
    args = parser.parse_args(argv)
    from tersely.eval.compare import compare
    from tersely.eval.report.conclusion import ended_text, margin_of, problems_text, settings_notes

    try:
        found = compare(args.a, args.b, margin=margin_of(args.margin), anyway=args.anyway)
    except (ValueError, OSError) as error:
        print(f"error: {fault_of(error) if isinstance(error, OSError) else error}", file=sys.stderr)
        return 2
    print_table(found)
    for c in found:
        print(f"{c['run']} against {c['base']} on {c['benchmark']} ({problems_text(c)}): {c['verdict']}")
        if text := ended_text(c):
            print(f"  {text}")
        for line in settings_notes(c):
            print(f"  {line}")
    return 0


def print_table(found: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tersely.eval.report.conclusion import interval_text

    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("benchmark", "problems", "tokens", "accuracy", "p (Holm)", "AES(1,3,5)", "P(dominates)"):
        table.add_column(name, justify="left" if name == "benchmark" else "right")
    for c in found:
        table.add_row(
            Text(c["benchmark"]),
            str(c["problems"]),
            Text(interval_text(c["tokens_change"], c["tokens_change_ci"], " %", 0)),
            Text(interval_text(c["accuracy_change"], c["accuracy_change_ci"], " pt", 1)),
            *(
                "-" if x is None else f"{x:.{d}f}"
                for x, d in ((c["accuracy_p_holm"], 3), (c["aes"]["score"], 2), (c["dominance_probability"], 2))
            ),
        )
    Console(width=None if sys.stdout.isatty() else 110).print(table)


if __name__ == "__main__":
    raise SystemExit(main())
