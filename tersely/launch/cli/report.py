"""`tersely report RUN... [--base BASE] [--out DIR]`: writes report.json, report.md and report.html of evaluated runs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tersely.core.paths import fault_of, place_option
from tersely.eval.report.write import write_report
from tersely.launch.cli.parser import Parser, number, whole


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="tersely report",
        description="Report accuracy and tokens of evaluated runs, with intervals, as report.html, report.md, report.json.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="run directory with records.jsonl; NAME=A,B,C are the seeds of one run (runs whose configurations differ only "
        "in the seed are grouped automatically)",
    )
    parser.add_argument("--base", type=place_option, help="name or directory of the base run (default: the first run)")
    parser.add_argument("--out", type=place_option, default="report", help="output folder (default: %(default)s)")
    parser.add_argument(
        "--watch",
        type=whole(1),
        metavar="SECONDS",
        help="check every SECONDS and rewrite the report when a run has new records, until Ctrl-C",
    )
    add_comparing(parser)
    args = parser.parse_args(argv)
    from tersely.eval.report.conclusion import margin_of

    if args.watch is not None and args.watch < 1:
        parser.error(f"--watch: got {args.watch}; expected at least 1 second")
    try:
        how = {"margin": margin_of(args.margin), "anyway": args.anyway}
        path = write_report(args.runs, args.base, args.out, refresh=args.watch, **how)
        print_verdicts(path)
        if args.watch:
            watch(args.runs, args.base, args.out, args.watch, **how)
    except (ValueError, OSError) as error:
        print(f"error: {fault_of(error) if isinstance(error, OSError) else error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print()
    return 0


def add_comparing(parser: Parser) -> None:
    """Add the options that every comparison has."""
    parser.add_argument(
        "--margin",
        type=number(at_least=0, at_most=100),
        default=1.0,
        metavar="POINTS",
        help='accuracy loss that counts as "not worse" (default: 1 point)',
    )
    parser.add_argument(
        "--anyway", action="store_true", help="compare evaluations with different settings and list the differences"
    )


def watch(
    runs: Sequence[str], base: str | None, out: str, seconds: float, times: int | None = None, **how: Any
) -> None:
    """Rewrite the report when records or metrics have grown; checks every `seconds`, `times` times or forever."""
    before = _sizes(runs)
    while times is None or times > 0:
        time.sleep(seconds)
        now = _sizes(runs)
        if now != before:
            write_report(runs, base, out, refresh=max(1, int(seconds)), **how)
            print(f"{time.strftime('%H:%M:%S')} {Path(out) / 'report.html'}", flush=True)
        before = now
        times = None if times is None else times - 1


def _sizes(runs: Sequence[str]) -> dict[Path, int]:
    from tersely.eval.seed_runs import split_places

    places = [place for run in runs for place in split_places(str(run))[1]]
    files = [
        Path(place) / name for place in places for name in ("records.jsonl", "eval/records.jsonl", "metrics.jsonl")
    ]
    return {file: file.stat().st_size for file in files if file.is_file()}


def print_verdicts(path: Path) -> None:
    """Print the conclusions of a written report, and its path."""
    from tersely.eval.report.conclusion import ended_text, problems_text, settings_notes

    for c in json.loads(path.read_text(encoding="utf-8"))["comparisons"]:
        print(f"{c['run']} against {c['base']} on {c['benchmark']} ({problems_text(c)}): {c['verdict']}")
        if text := ended_text(c):
            print(f"  {text}")
        for line in settings_notes(c):
            print(f"  {line}")
    for name in ("report.html", "report.md", "report.json"):
        if path.with_name(name).exists():
            print(path.with_name(name))
