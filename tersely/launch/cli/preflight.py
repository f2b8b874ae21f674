"""`tersely preflight RECIPE`: command-line options and output; `launch/preflight/run.py` has the checks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tersely.core.findings import Finding, as_json, failed, show
from tersely.core.paths import place_option
from tersely.launch.cli.parser import Parser, check_keys, note, number, whole
from tersely.launch.preflight import time_estimate
from tersely.launch.preflight.memory_estimate import SHARDING
from tersely.launch.preflight.run import PROMPTS, examine


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 1 if a check fails (0 with --force). Raises `ConfigError` for an invalid recipe."""
    parser = Parser(
        prog="tersely preflight",
        description="Check a recipe and sample a few rollouts. Any recipe key is also an option.",
        allow_abbrev=False,
    )
    parser.add_argument("recipe", type=place_option, help="recipe file, or name of a shipped recipe")
    parser.add_argument(
        "--rollouts",
        type=whole(0),
        help=f"number of rollouts to sample, in whole groups (default: {PROMPTS} groups); 0 samples none",
    )
    parser.add_argument(
        "--processes",
        type=whole(1),
        default=1,
        help="number of ranks of the run, on this machine (default: %(default)s)",
    )
    time_estimate.add_options(parser)
    parser.add_argument("--sharding", choices=sorted(SHARDING), help="sharding for the memory estimate")
    parser.add_argument("--price-per-hour", type=number(at_least=0), help="price of the whole machine; prints the cost")
    parser.add_argument("--show", type=whole(0), default=0, metavar="N", help="print the first N rollouts")
    parser.add_argument("--show-tokens", action="store_true", help="also print the first prompt as token ids")
    parser.add_argument("--force", action="store_true", help="exit with status 0 even if a check fails")
    parser.add_argument("--json", action="store_true", help="print findings and plan as JSON")
    options, rest = parser.parse_known_args(argv)
    from tersely.configs.load import load_recipe
    from tersely.engines.registry import needs_servers
    from tersely.launch.cli.parser import overrides_from
    from tersely.rl.config.sections import export_env

    overrides = overrides_from(rest)
    check_keys(overrides, parser)
    recipe = load_recipe(options.recipe, overrides, note)
    if needs_servers(recipe):
        return with_a_server(options.recipe, rest, sys.argv[2:] if argv is None else argv)
    export_env(recipe)
    findings, lines = examine(recipe, options)
    return result(findings, lines, options)


def result(findings: list[Finding], lines: list[str], options: argparse.Namespace) -> int:
    """Print what was found; returns the exit status."""
    bad = failed(findings)
    if options.json:
        print(as_json(findings, plan=lines))
    else:
        summary = f"{len(bad)} check{'s' if len(bad) > 1 else ''} failed" if bad else "all checks passed"
        show(findings, "\n".join([*lines, summary]))
    return 1 if bad and not options.force else 0


def with_a_server(recipe: str, overrides: Sequence[str], argv: Sequence[str]) -> int:
    """Run this command again with a rollout server, as `tersely launch local` starts it."""
    import subprocess
    import tempfile

    from tersely.launch.local import serving_command
    from tersely.launch.preflight.machine import gpu_names, visible_gpus
    from tersely.launch.ranks import Devices

    names = gpu_names(visible_gpus())
    devices = Devices(1, 1, tuple(names[:-1]), tuple(names[-1:]))
    with tempfile.TemporaryDirectory() as logs:
        start = serving_command(recipe, overrides, devices, Path(logs))
        return subprocess.call([*start, "--", sys.executable, "-m", "tersely", "preflight", *argv])
