"""`tersely serve RECIPE`: runs a vLLM server for the recipe's rollouts, in the foreground.

vLLM replaces this process (exec), so the server receives signals and its exit status is that of the command.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from tersely.configs.peft import STEERING
from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError, require_range
from tersely.core.paths import place_option
from tersely.engines.registry import DEFAULT, require_training_engine
from tersely.launch.cli.parser import Parser, check_keys, whole

SHARE = 0.9
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="tersely serve",
        description="Serve the model of a recipe for its rollouts. Any recipe key is also an option.",
    )
    parser.add_argument("recipe", type=place_option, help="recipe file, or name of a shipped recipe")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; other than loopback needs TERSELY_SERVER_KEY (default: %(default)s)",
    )
    parser.add_argument("--port", type=whole(1, 65535), default=8000)
    parser.add_argument("--dry-run", action="store_true", help="print the command and exit")
    options, rest = parser.parse_known_args(argv)
    from tersely.configs.load import load_recipe, resolved_values
    from tersely.engines.server.auth import VARIABLE
    from tersely.engines.server.launch import server_environment
    from tersely.engines.vllm_import import require_vllm
    from tersely.launch.cli.parser import overrides_from
    from tersely.launch.supervisor import DIE_WITH_PARENT, die_with_parent

    if os.environ.get(DIE_WITH_PARENT):
        die_with_parent(signal.SIGTERM)  # stays set after the exec below
    if options.host not in LOOPBACK and not os.environ.get(VARIABLE):
        raise ConfigError(
            f"--host: got {options.host}; a server that other machines can reach needs a key, because its clients can run "
            f"code. Export {VARIABLE} with the same secret here and where the training runs"
        )
    overrides = overrides_from(rest)
    check_keys(overrides, parser)
    recipe = load_recipe(options.recipe, overrides)
    share = memory_share(resolved_values(options.recipe), overrides)
    command = command_of(recipe, options.host, options.port, share)
    if options.dry_run:
        import shlex

        print(shlex.join(command))
        return 0
    require_vllm()
    os.execve(command[0], command, server_environment())


def memory_share(stated: Mapping[str, Any], overrides: Mapping[str, Any]) -> float:
    """GPU memory fraction of a server: `SHARE`, because it has a GPU to itself.

    A recipe that samples in the trainer's process sets the fraction that training leaves; a server ignores it.
    """
    key = "vllm_gpu_memory_utilization"
    served = require_training_engine(stated.get("engine", DEFAULT)).servers
    share = overrides.get(key, stated.get(key, SHARE) if served else SHARE)
    require_range(key, share, above=0, at_most=1)
    return float(share)


def command_of(recipe: Recipe, host: str, port: int, share: float = SHARE) -> list[str]:
    """The command of vLLM's API server, with the model and lengths of a recipe."""
    from tersely.engines import steering
    from tersely.engines.model_checks import model_config
    from tersely.engines.model_folder import base_location
    from tersely.engines.server.launch import server_command

    trusted = recipe.trl.get("trust_remote_code") or (recipe.trl.get("model_init_kwargs") or {}).get(
        "trust_remote_code"
    )
    steered = recipe.peft is not None and recipe.peft.method == STEERING
    config = model_config(recipe.model_name_or_path, bool(trusted)) if steered else None
    return server_command(
        base_location(recipe.model_name_or_path),  # of an adapter; training sends the weights
        host=host,
        port=port,
        max_model_len=recipe.trl.get("vllm_max_model_length"),
        max_num_seqs=recipe.max_num_seqs,
        gpu_memory_utilization=share,
        seed=int(recipe.trl.get("seed", 0)),
        trust_remote_code=bool(trusted),
        processors=_processors(recipe),
        options=steering.vllm_arguments(config) if steered else (),
    )


def _processors(recipe: Recipe) -> list[str]:
    """Logits processors that any stage of the recipe samples with."""
    from tersely import build
    from tersely.engines.sampling import processors_for

    samplings = [build("sampling", stage.recipe.sampling or "fixed") for stage in recipe.stages]
    return list(dict.fromkeys(name for sampling in samplings for name in processors_for(sampling)))


if __name__ == "__main__":
    import sys

    from tersely.launch.cli.main import run_command

    sys.exit(run_command(main, sys.argv[1:]))
