"""`tersely quickstart`: evaluates the embedded model, trains it with ALP, evaluates again, and writes a report.

Prints each command that it runs. Another start resumes an interrupted quickstart.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tersely.configs.recipe import Recipe
from tersely.core.paths import path_option
from tersely.launch.cli.parser import Parser, whole

BENCHMARK = "testbed"


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="tersely quickstart", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", default="runs/quickstart", type=path_option, help="output folder (default: %(default)s)"
    )
    parser.add_argument(
        "--methods",
        default="alp",
        help="comma-separated recipes of configs/recipes/testbed, such as alp,grpo (default: %(default)s)",
    )
    parser.add_argument(
        "--samples", default=4, type=whole(1), help="samples per held-out problem (default: %(default)s)"
    )
    parser.add_argument(
        "--problems", default=256, type=whole(1), help="number of held-out problems (default: %(default)s)"
    )
    parser.add_argument("--seed", default=0, type=whole(0))
    options = parser.parse_args(argv)
    began, methods = time.perf_counter(), options.methods.split(",")
    for method in methods:
        recipe_of(options, method)
    runs = [evaluated(options, "base", "testbed")]
    for method in methods:
        folder = trained(options, method)
        runs.append(evaluated(options, method, str(folder / "final")))
    from tersely.eval.report.write import write_report

    report = write_report(runs, runs[0], options.out, anyway=True)  # some methods train with a different prompt
    summarise(json.loads(report.read_text()), report, time.perf_counter() - began)
    return 0


def recipe_of(options: argparse.Namespace, method: str) -> Recipe:
    from tersely.configs.load import load_recipe

    return load_recipe(f"testbed/{method}", {"run_dir": str(options.out / method), "seed": options.seed})


def trained(options: argparse.Namespace, method: str) -> Path:
    """Train one testbed recipe, or resume it; returns the run directory."""
    from tersely.core.logging import log_line
    from tersely.rl.run import train

    folder = options.out / method
    if (folder / "final" / "config.json").exists():
        log_line(f"{method}: already trained, in {folder}")
        return folder
    log_line(f"\n== tersely train --config testbed/{method} --run_dir {folder} --seed {options.seed} --resume")
    train(recipe_of(options, method), resume=folder.exists())
    return folder


def evaluated(options: argparse.Namespace, name: str, model: str) -> Path:
    """Evaluate one model on the held-out problems; existing records are kept."""
    from tersely.core.logging import log_line
    from tersely.launch.cli import eval as evaluation

    folder = options.out / "eval" / name
    arguments = [
        model,
        *("--benchmarks", BENCHMARK),
        *("--samples", str(options.samples)),
        *("--limit", str(options.problems)),
        *("--seed", str(options.seed)),
        *("--out", str(folder)),
        *("--name", name),
    ]
    log_line(f"\n== tersely eval {' '.join(arguments)}")
    status = evaluation.main(arguments)
    if status:
        raise SystemExit(status)
    return folder


def summarise(data: dict[str, Any], report: Path, seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title="held-out problems")
    for column in ("run", "accuracy", "tokens", "truncated"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for run in data["runs"]:
        facts = run["benchmarks"][BENCHMARK]
        low, high = facts["accuracy_ci"]
        table.add_row(
            run["name"],
            f"{facts['accuracy']:.1%} [{low:.1%}, {high:.1%}]",
            f"{facts['tokens_mean']:.1f} [{facts['tokens_ci'][0]:.1f}, {facts['tokens_ci'][1]:.1f}]",
            f"{facts['truncated']:.1%}",
        )
    console.print(table)
    for comparison in data["comparisons"]:
        console.print(f"[bold]{comparison['run']} against {comparison['base']}: {comparison['verdict']}[/bold]")
    page = report.with_suffix(".html")
    console.print(f"report: {page} (also report.md and report.json), {seconds:.0f} s in total", soft_wrap=True)
