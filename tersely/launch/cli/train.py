"""`tersely train RECIPE`, or `accelerate launch -m tersely.launch.train --config RECIPE`: runs one training."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.core.logging import is_main_process, log_finding, log_line
from tersely.core.paths import place_option
from tersely.launch.cli.parser import Parser, check_keys, note, number, overrides_from, recipe_and_overrides
from tersely.launch.preflight import time_estimate
from tersely.rl.run import train_checked


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, check, train. Every recipe key is also an option; the command line overrides the recipe.

    Exit status 75: the run saved and stopped on request (`tersely.rl.checkpoints.stopping`).
    """
    from tersely.rl.checkpoints import stopping

    stopping.block()
    parser = Parser(
        prog="tersely train",
        usage="tersely train RECIPE [options] [--any_key_of_a_recipe VALUE ...]",
        description="Train RECIPE: a recipe file, or the name of a shipped recipe (`tersely recipes` lists them). Any recipe "
        "key is also an option (--learning_rate 2e-6), and so is a nested key (--reward.beta 0.3)",
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=place_option, metavar="RECIPE", help="same as RECIPE, for accelerate launch")
    parser.add_argument("--resume", action="store_true", help="resume from the last complete checkpoint of run_dir")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the resolved recipe, the batch table and the plan, and exit"
    )
    parser.add_argument("--show-tokens", action="store_true", help="with --dry-run: also print the prompt as token ids")
    time_estimate.add_options(parser)
    parser.add_argument(
        "--mean-tokens",
        type=number(above=0),
        metavar="N",
        help="mean tokens per answer, for the plan (default: half of the cap)",
    )
    parser.add_argument("--skip-preflight", action="store_true", help="start without the preflight checks")
    options, rest = parser.parse_known_args(argv)
    name, rest = recipe_and_overrides(options.config, rest)
    from tersely.configs.load import load_recipe
    from tersely.launch.supervisor import DIE_WITH_PARENT, die_with_parent
    from tersely.launch.sweep import require_single_values
    from tersely.rl.config import checked
    from tersely.rl.config.sections import export_env

    require_single_values(rest)
    if os.environ.get(DIE_WITH_PARENT):
        die_with_parent()
    overrides = overrides_from(rest)
    check_keys(overrides, parser)
    recipe = load_recipe(name, overrides, note)
    export_env(recipe)
    if options.dry_run:
        from tersely.launch.preflight.outline import dry_run

        return dry_run(recipe, options)
    only_planned = ("gpus", "gpu_memory", "mean_tokens", "show_tokens")
    if given := [name for name in only_planned if getattr(options, name) not in (None, False)]:
        raise ConfigError(f"--{given[0].replace('_', '-')}: only affects the output of --dry-run. Add --dry-run")
    recipe = checked(recipe)
    preflight(recipe, options.skip_preflight)
    try:
        train_checked(recipe, resume=options.resume)
    except stopping.SavedAndStopped as stopped:
        log_line(str(stopped))
        return stopped.exit_code
    return 0


def preflight(recipe: Recipe, skip: bool = False) -> None:
    """Run the checks that need no model, on every rank; rank 0 prints warnings.

    When skipped, remote code is still a warning.
    """
    from tersely.launch.preflight.static import check_run, remote_code

    tell = log_finding if is_main_process() else lambda finding: None
    if not skip and recipe.preflight:
        check_run(recipe, tell)
        return
    for finding in remote_code(recipe.trl):
        tell(finding)
