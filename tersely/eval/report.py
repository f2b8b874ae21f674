"""`tersely report RUN... [--base BASE] [--out DIR]`: report.json, report.md and report.html of evaluated runs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tersely.launch.options import Parser
from tersely.places import fault_of

if TYPE_CHECKING:
    from tersely.eval.runs import RunRecords


def write_report(
    runs: Sequence[RunRecords | str | Path],
    base: str | Path | None,
    out_dir: str | Path,
    refresh: int | None = None,
) -> Path:
    """Writes report.json, report.md and report.html into out_dir; returns the path of report.json.

    runs: loaded runs, or run directories with records.jsonl (each may hold several runs: one a decoding strategy).
    base: the name of one of the runs, or its directory (read if it is not among them); None takes the first run when
    there are several. refresh: seconds after which an open report.html loads itself again. ValueError: no runs, or a
    base that is none of them.
    """
    from tersely.eval.report_data import report_data
    from tersely.eval.report_html import html
    from tersely.eval.report_md import markdown

    loaded = load_all(runs)
    reference = choose_base(loaded, base)
    loaded.sort(key=lambda run: run.strategy is not None)  # decoding strategies behind the models they decode
    data = report_data(loaded, reference)
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "report.json", json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_whole(out / "report.md", markdown(data))
    write_whole(out / "report.html", html(data, loaded, reference, refresh))
    return out / "report.json"


def write_whole(path: Path, text: str) -> None:
    """Never a half file: written beside, then renamed."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8", errors="backslashreplace")
    part.replace(path)


def load_all(runs: Sequence[RunRecords | str | Path]) -> list[RunRecords]:
    """Loaded runs with names that differ."""
    from tersely.eval.runs import RunRecords, load_runs

    loaded: list[RunRecords] = []
    for run in runs:
        loaded += [run] if isinstance(run, RunRecords) else load_runs(run)
    if not loaded:
        raise ValueError("runs is empty; name at least one run directory that holds records.jsonl")
    return told_apart(loaded)


def told_apart(loaded: list[RunRecords]) -> list[RunRecords]:
    """The same runs, renamed by folder, and by number at last, where two have one name."""
    seen: set[str] = set()
    for run in loaded:
        name, number = run.name, 1
        while run.name in seen:
            run.name = f"{name} ({run.folder.name if run.folder and number == 1 else number})"
            number += 1
        if run.name != name:
            run.notes.append(f"named {name} in its records, as another run is")
        seen.add(run.name)
    return loaded


def choose_base(loaded: list[RunRecords], base: str | Path | None) -> RunRecords | None:
    """The base among the loaded runs; a directory that is not among them is loaded and put in front."""
    if base is None:
        return next((run for run in loaded if run.strategy is None), loaded[0]) if len(loaded) > 1 else None
    wanted = str(base)
    for run in loaded:
        if run.name == wanted or (run.folder is not None and run.strategy is None and _same(run.folder, wanted)):
            return run
    if Path(base).exists():
        loaded[:0] = (added := load_all([base]))
        told_apart(loaded)
        return added[0]
    raise ValueError(
        f"base is {wanted!r}, which is neither a run directory nor one of {', '.join(r.name for r in loaded)}"
    )


def _same(folder: Path, wanted: str) -> bool:
    return Path(wanted).exists() and Path(wanted).resolve() in (folder.resolve(), (folder / "eval").resolve())


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="tersely report",
        description="Accuracy against tokens of evaluated runs, with intervals, as report.html, report.md, report.json.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run directory with records.jsonl")
    parser.add_argument("--base", help="name or directory of the run to compare with (default: the first)")
    parser.add_argument("--out", default="report", help="where to write (default: %(default)s)")
    parser.add_argument(
        "--watch", type=int, metavar="SECONDS", help="write it again whenever a run has grown, until Ctrl-C"
    )
    args = parser.parse_args(argv)
    if args.watch is not None and args.watch < 1:
        parser.error(f"--watch is {args.watch}; it must be 1 second or more")
    try:
        path = write_report(args.runs, args.base, args.out, refresh=args.watch)
        print_verdicts(path)
        if args.watch:
            watch(args.runs, args.base, args.out, args.watch)
    except (ValueError, OSError) as error:
        print(f"error: {fault_of(error) if isinstance(error, OSError) else error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print()
    return 0


def watch(runs: Sequence[str], base: str | None, out: str, seconds: float, times: int | None = None) -> None:
    """Looks every `seconds`, `times` times or for ever, and writes the report again when records or metrics have grown."""
    before = _sizes(runs)
    while times is None or times > 0:
        time.sleep(seconds)
        now = _sizes(runs)
        if now != before:
            write_report(runs, base, out, refresh=max(1, int(seconds)))
            print(f"{time.strftime('%H:%M:%S')} {Path(out) / 'report.html'}", flush=True)
        before = now
        times = None if times is None else times - 1


def _sizes(runs: Sequence[str]) -> dict[Path, int]:
    files = [Path(run) / name for run in runs for name in ("records.jsonl", "eval/records.jsonl", "metrics.jsonl")]
    return {file: file.stat().st_size for file in files if file.is_file()}


def print_verdicts(path: Path) -> None:
    """The verdict lines of a written report, and where it is."""
    from tersely.eval.verdict import problems_text

    for c in json.loads(path.read_text(encoding="utf-8"))["comparisons"]:
        print(f"{c['run']} against {c['base']} on {c['benchmark']} ({problems_text(c)}): {c['verdict']}")
    for name in ("report.html", "report.md", "report.json"):
        if path.with_name(name).exists():
            print(path.with_name(name))


if __name__ == "__main__":
    raise SystemExit(main())
