"""Checks recipes like `tersely train --dry-run`, in a separate process, so that launchers do not import torch.

`python -m tersely.launch.preflight.recipe_check --ranks 8 RECIPES [--key value ...]`: exit status 2 and one line for an error.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tersely.core.errors import ConfigError
from tersely.core.paths import place_option
from tersely.launch.cli.parser import whole

LIMIT_S = 300
NO_INSTALLATION = 3
"""Exit status if this machine lacks packages that the check imports."""


def check_in_process(words: Sequence[str]) -> None:
    """Check recipes with the interpreter of the ranks (torchrun's PYTHON_EXEC); raises `ConfigError`.

    Without torch and TRL (as on some login nodes) it only prints a warning.
    """
    command = [os.environ.get("PYTHON_EXEC", sys.executable), "-m", "tersely.launch.preflight.recipe_check", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        print(f"warning: the recipe was not checked: no answer within {LIMIT_S} s", file=sys.stderr)
        return
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    if done.returncode == NO_INSTALLATION:
        print(f"warning: the recipe was not checked here ({lines[-1]})", file=sys.stderr)
    elif done.returncode:
        raise ConfigError(lines[-1].removeprefix("error: "))


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tersely.launch.preflight.recipe_check", allow_abbrev=False)
    parser.add_argument("recipes", nargs="+", type=place_option)
    parser.add_argument("--ranks", type=whole(1))
    options, rest = parser.parse_known_args(argv)
    from tersely.configs.load import load_recipe
    from tersely.launch.cli.parser import overrides_from
    from tersely.rl.check import check_recipe

    try:
        import trl  # noqa: F401
    except ImportError as error:
        print(error, file=sys.stderr)
        return NO_INSTALLATION
    overrides = overrides_from(rest)
    for name in options.recipes:
        try:
            check_recipe(load_recipe(name, overrides), options.ranks)
        except ConfigError as error:
            raise ConfigError(f"run {Path(name).stem}: {error}" if len(options.recipes) > 1 else str(error)) from error
    return 0


if __name__ == "__main__":
    from tersely.launch.cli.main import run_command

    sys.exit(run_command(main, sys.argv[1:]))
