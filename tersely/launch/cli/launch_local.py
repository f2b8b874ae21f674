"""`tersely launch local RECIPE`: command-line options; `launch/local.py` runs and restarts the training."""

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
    """Run the command; returns the training's exit status: 75 saved and stopped, 130 or 143 killed without saving."""
    parser = Parser(
        prog="tersely launch local",
        description="Train a recipe on this machine's GPUs (or CPU). Any recipe key is also an option.",
        allow_abbrev=False,
    )
    parser.add_argument("recipe", type=place_option, help="recipe file, or name of a shipped recipe")
    parser.add_argument(
        "--processes",
        type=whole(1),
        help="number of ranks (default: one per visible GPU, or the largest number that divides the batch)",
    )
    parser.add_argument(
        "--accelerate-config",
        type=place_option,
        help="zero2, zero3, fsdp2, multi_gpu, single_gpu, or a config file",
    )
    parser.add_argument(
        "--rollout-servers",
        type=whole(1),
        help="number of servers for engine: vllm_server without `servers` (default: the fewest with which the ranks "
        "divide the batch)",
    )
    parser.add_argument(
        "--retries",
        type=whole(0),
        default=0,
        help="number of restarts with --resume after a failure (default: %(default)s)",
    )
    parser.add_argument("--resume", action="store_true", help="resume from the last complete checkpoint of run_dir")
    parser.add_argument(
        "--grace", type=whole(0), default=600, help="seconds to save after Ctrl-C or SIGTERM (default: %(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the command and exit")
    sweep.add_options(parser)
    parser.add_argument("--eval", metavar="BENCHMARKS", help="evaluate each run on these benchmarks after training")
    parser.add_argument("--eval-options", default="", help="more options for `tersely eval`, as one string")
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
