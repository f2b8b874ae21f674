"""`tersely compare A B`: is B, on the same problems, shorter than A, and at what price? A table and a sentence."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tersely.launch.options import Parser
from tersely.places import fault_of

if TYPE_CHECKING:
    from tersely.eval.runs import RunRecords


def compare(a: RunRecords | str | Path, b: RunRecords | str | Path) -> list[dict[str, Any]]:
    """Comparisons of every run in b with the (first) run in a, as in report.json. ValueError: nothing shared."""
    from tersely.eval.report import load_all
    from tersely.eval.report_data import clean, compare_runs

    first = load_all([a])
    runs = load_all([*first, b])
    found = [clean(c) for run in runs[len(first) :] for c in compare_runs(run, runs[0])]
    if not found:
        raise ValueError(
            f"{runs[0].name} and {runs[-1].name} share no benchmark: "
            f"{', '.join(runs[0].benchmarks)} against {', '.join(runs[-1].benchmarks)}"
        )
    if not any(c["problems"] for c in found):
        name = found[0]["benchmark"]
        ids = [", ".join(run.benchmarks[name].problem_ids[:3]) for run in (runs[0], runs[-1])]
        raise ValueError(
            f"{runs[0].name} and {runs[-1].name} share no problem of {name}: problem_id is {ids[0]}, ... against {ids[1]}, "
            "...; a comparison needs the same problems under the same ids"
        )
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="tersely compare",
        description="B against A on the same problems: tokens, accuracy, intervals, and a verdict.",
    )
    parser.add_argument("a", metavar="A", help="the run to compare with (a directory with records.jsonl)")
    parser.add_argument("b", metavar="B", help="the run in question")
    args = parser.parse_args(argv)
    try:
        found = compare(args.a, args.b)
    except (ValueError, OSError) as error:
        print(f"error: {fault_of(error) if isinstance(error, OSError) else error}", file=sys.stderr)
        return 2
    from tersely.eval.verdict import problems_text

    print_table(found)
    for c in found:
        print(f"{c['run']} against {c['base']} on {c['benchmark']} ({problems_text(c)}): {c['verdict']}")
    return 0


def print_table(found: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tersely.eval.verdict import interval_text

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
