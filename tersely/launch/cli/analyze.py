"""`tersely analyze RUN`: what the traces of a run consist of, and how much of them follows the first correct answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from tersely.core.errors import ConfigError
from tersely.core.paths import path_option
from tersely.launch.cli.parser import Parser, require_jsonl


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="tersely analyze",
        description="Split the recorded traces of a run into segments and report their number, the position of the first "
        "correct answer, the tokens after it, reflection markers and loops, in total and by level, pass rate, family and step.",
    )
    parser.add_argument(
        "run",
        type=path_option,
        help="directory that `tersely eval`, `tersely rollouts` or a training run wrote, or one of its record files",
    )
    parser.add_argument("--json", action="store_true", help="print every number as JSON")
    parser.add_argument(
        "--export",
        type=path_option,
        metavar="FILE",
        help="also write the correct, complete traces to FILE (.jsonl); a cold start reads it as its `traces`",
    )
    options = parser.parse_args(argv)
    export: Path | None = options.export
    if export is not None:
        require_jsonl("--export", export)
    from tersely.eval.analysis.read import sample_records
    from tersely.eval.analysis.table import tables_of
    from tersely.eval.report.data import clean
    from tersely.eval.run_arrays import default_name

    records = sample_records(options.run)
    if export is None:
        tables = tables_of(records, default_name(options.run))
    else:
        part = export.with_name(f"{export.name}.part")
        try:
            with part.open("w", encoding="utf-8") as file:
                tables = tables_of(copied(records, file), default_name(options.run))
            part.replace(export)
        finally:
            part.unlink(missing_ok=True)
    if not tables:
        raise ConfigError(f"{options.run} has no complete record; the run may have stopped before its first sample")
    found = {name: clean(table.summary()) for name, table in tables.items()}
    if options.json:
        print(json.dumps(found, indent=1, allow_nan=False))
    else:
        for name, summary in found.items():
            print_summary(name, summary)
    if export is not None:
        with export.open("rb") as written:
            print(f"{export}: {sum(1 for _ in written)} correct, complete traces", file=sys.stderr)
    return 0


def copied(records: Iterable[dict[str, Any]], file: TextIO) -> Iterator[dict[str, Any]]:
    """The records; those that a cold start can train on are written to `file`."""
    from tersely.eval.analysis.read import good_trace

    for record in records:
        if good_trace(record):
            file.write(json.dumps(record) + "\n")
        yield record


def print_summary(name: str, summary: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tersely.eval.analysis.table import MEASURES
    from tersely.eval.report.svg import short

    console = Console(width=None if sys.stdout.isatty() else 130)
    estimated = f", first answers estimated from characters in {summary['estimated']}" if summary["estimated"] else ""
    console.print(Text(f"{name}: {summary['traces']} traces of {summary['problems']} problems{estimated}"))
    total, *groups = summary["groups"]
    table = Table(box=box.SIMPLE, pad_edge=False)
    for head in ("measure", "mean", "95 %", "traces"):
        table.add_column(head, justify="left" if head == "measure" else "right")
    for key, what in MEASURES.items():
        cell = total[key]
        ends = f"{shown(cell['low'], key)} to {shown(cell['high'], key)}"
        table.add_row(Text(what.replace(", share", ", %")), shown(cell["mean"], key), ends, str(cell["traces"]))
    console.print(table)
    if not groups:
        return
    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    heads = ("by", "", "traces", "correct %", "tokens", "segments", "first", "after", "after % [95 %]", "marks")
    for i, head in enumerate((*heads, "loop %", "none %", "cut %")):
        table.add_column(head, justify="left" if i < 2 else "right", no_wrap=True)
    for place, row in enumerate(groups):
        first = not place or groups[place - 1]["by"] != row["by"]
        low, high = (shown(row["redundant_share"][end], "redundant_share", 0) for end in ("low", "high"))
        value = {key: shown(row[key]["mean"], key) for key in MEASURES}
        table.add_row(
            row["by"] if first else "",
            Text(short(" ".join(row["name"].split()), 24)),
            str(row["traces"]),
            *(value[key] for key in ("accuracy", "tokens", "segments", "first_correct", "redundant")),
            Text(f"{value['redundant_share']} [{low}, {high}]"),
            *(value[key] for key in ("markers", "loops", "no_answer", "truncated")),
            end_section=place + 1 < len(groups) and groups[place + 1]["by"] != row["by"],
        )
    console.print(table)
    console.print(
        "first: tokens up to the first correct answer; after: tokens after it, both of correct traces.\n"
        "marks: reflection markers per 1,000 tokens; loop: traces that loop; none: no answer; cut: stopped by the cap."
    )


def shown(value: float | None, key: str, digits: int = 1) -> str:
    """A measure, a share as a percentage."""
    from tersely.eval.analysis.table import SHARES

    return "-" if value is None else f"{100 * value if key in SHARES else value:,.{digits}f}"
