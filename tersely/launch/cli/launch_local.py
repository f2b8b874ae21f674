"""`tersely launch local RECIPE`: options of the command; `launch/local.py` runs and restarts the training."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tersely.core.paths import place_option
from tersely.launch import sweep
from tersely.launch.cli.parser import Parser, check_keys, note, whole
from tersely.launch.local import check_recipes, start_of


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: the training's; 75 for saved and stopped, 130 or 143 for ended by a signal without saving."""
    parser = Parser(
        prog="tersely launch local",
        description="Train a recipe on this machine's GPUs (or CPU). Any key of the recipe can be given as an option.",
        allow_abbrev=False,
    )
    parser.add_argument("recipe", type=place_option, help="a recipe file, or the name of a shipped one")
    parser.add_argument(
        "--processes", type=whole(1), help="ranks; by default one per visible GPU, or the most that divide the batch"
    )
    parser.add_argument(
        "--accelerate-config",
        type=place_option,
        help="zero2, zero3, fsdp2, multi_gpu, single_gpu, or a file of your own",
    )
    parser.add_argument(
        "--rollout-servers",
        type=whole(1),
        help="of engine: vllm_server, where it names none; by default the fewest with which the ranks divide the batch",
    )
    parser.add_argument("--retries", type=whole(0), default=0, help="restarts, with --resume, after a failure")
    parser.add_argument("--resume", action="store_true", help="go on from the last whole checkpoint of run_dir")
    parser.add_argument("--grace", type=whole(0), default=600, help="seconds for saving after Ctrl-C or SIGTERM")
    parser.add_argument("--dry-run", action="store_true", help="show the command and stop")
    sweep.add_options(parser)
    parser.add_argument("--eval", metavar="BENCHMARKS", help="evaluate each run on these after its training")
    parser.add_argument("--eval-options", default="", help="further options of `tersely eval`, as one text")
    options, rest = parser.parse_known_args(argv)
    from tersely.configs.load import load_recipe
    from tersely.launch.after import check_evaluation, run_all
    from tersely.launch.cli.parser import overrides_from

    rest, found = sweep.split_axes(rest)
    overrides, axes = overrides_from(rest), sweep.axes_of(options, found)
    check_keys([*overrides, *(axis.key for axis in axes)], parser)
    recipe = load_recipe(options.recipe, overrides, note)
    check_evaluation(options)
    variants = sweep.variants(recipe, axes, overrides, note)
    starts = [start_of(variant, options, rest) for variant in variants]
    check_recipes(variants, starts)
    for start in starts:
        print(f"launch: {start.devices.line()}", file=sys.stderr, flush=True)
        print(shlex.join(start.shown), flush=True)
    if options.dry_run:
        return 0
    return run_all(starts, options, Path(recipe.run_dir))
