"""`tersely preflight RECIPE`: options and output of the command; the checks are in `launch/preflight/run.py`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tersely.core.errors import ConfigError
from tersely.core.findings import Finding, as_json, failed, show
from tersely.core.paths import place_option
from tersely.launch.cli.parser import Parser, check_keys, note, number, whole
from tersely.launch.preflight import time_estimate
from tersely.launch.preflight.memory_estimate import SHARDING
from tersely.launch.preflight.run import PROMPTS, examine


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 1 where something cannot work (0 with --force)."""
    parser = Parser(
        prog="tersely preflight",
        description="Check a recipe and draw a few real rollouts. Any key of the recipe can be given as an option.",
        allow_abbrev=False,
    )
    parser.add_argument("recipe", type=place_option, help="a recipe file, or the name of a shipped one")
    parser.add_argument(
        "--rollouts",
        type=whole(0),
        help=f"real rollouts to draw, in whole groups ({PROMPTS} groups by default); 0 for none",
    )
    parser.add_argument("--processes", type=whole(1), default=1, help="ranks that the run will have, on this machine")
    time_estimate.add_options(parser)
    parser.add_argument("--sharding", choices=sorted(SHARDING), help="for the memory estimate")
    parser.add_argument("--price-per-hour", type=number(at_least=0), help="of the whole machine; prints the cost")
    parser.add_argument("--show", type=whole(0), default=0, metavar="N", help="print the first N rollouts")
    parser.add_argument("--show-tokens", action="store_true", help="the first prompt as token ids too")
    parser.add_argument("--force", action="store_true", help="exit status 0 whatever was found")
    parser.add_argument("--json", action="store_true", help="findings and plan as JSON")
    options, rest = parser.parse_known_args(argv)
    from tersely.configs.load import load_recipe
    from tersely.engines.registry import needs_servers
    from tersely.launch.cli.parser import overrides_from
    from tersely.rl.config.sections import export_env

    overrides = overrides_from(rest)
    try:
        check_keys(overrides, parser)
        recipe = load_recipe(options.recipe, overrides, note)
    except ConfigError as error:
        return result([Finding("fail", "recipe", str(error))], [], options)
    try:
        if needs_servers(recipe):
            return with_a_server(options.recipe, rest, sys.argv[2:] if argv is None else argv)
        export_env(recipe)
        findings, lines = examine(recipe, options)
    except ConfigError as error:
        findings, lines = [Finding("fail", "recipe", str(error))], []
    return result(findings, lines, options)


def result(findings: list[Finding], lines: list[str], options: argparse.Namespace) -> int:
    """Print what was found; returns the exit status."""
    bad = failed(findings)
    if options.json:
        print(as_json(findings, plan=lines))
    else:
        verdict = "this run cannot work as it is" if bad else "nothing stands against this run"
        show(findings, "\n".join([*lines, verdict]))
    return 1 if bad and not options.force else 0


def with_a_server(recipe: str, overrides: Sequence[str], argv: Sequence[str]) -> int:
    """The same again, behind a server that `tersely launch local` would start."""
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
