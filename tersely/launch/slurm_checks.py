"""Checks of `tersely launch slurm` before it writes or submits anything: recipes, evaluation, secrets, sbatch options."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.core.paths import expanded

GPU_COUNT = re.compile(r"(?<![\w:])(gpu(?::[^:,()\d][^:,()]*)?)(?::(\d+))?(?=[,(]|$)")
"""One GPU entry of --gres: gpu, gpu:4, gpu:a100:4."""


def check_recipes(tasks: Sequence[Recipe], options: argparse.Namespace) -> None:
    """Check the recipe of each array task like `tersely train --dry-run`: a job may wait for days before it starts."""
    import yaml

    from tersely.launch.preflight.recipe_check import check_in_process

    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, task in enumerate(tasks):
            # server addresses on rollout nodes are known only inside the job
            served = {"servers": ["http://127.0.0.1:1"]} if options.rollout_nodes else {}
            files.append(str(Path(folder) / f"recipe-{number}.yaml"))
            Path(files[-1]).write_text(yaml.safe_dump({**task.to_dict(), **served}, allow_unicode=True))
        ranks = options.nodes * max(1, options.gpus_per_node)
        check_in_process([*files, "--ranks", str(ranks)])


def base_model(recipe: Recipe) -> str:
    """Check the initial model's path, as the job will see it."""
    return expanded(recipe.model_name_or_path, "model_name_or_path")


def no_secrets(options: argparse.Namespace, recipe: Recipe) -> None:
    """Raise if a secret would be written to the job's files, which others can read."""
    from tersely.core.redact import ENV_NAME, secrets_of

    held = [f"--env {name}" for pair in options.env if ENV_NAME.search(name := pair.partition("=")[0])]
    words = [part for text in (*options.sbatch, *shlex.split(options.eval_options)) for part in text.split(",")]
    held += [name for word in words if "=" in word and ENV_NAME.search(name := word.rpartition("=")[0])]
    held += secrets_of(recipe.written)
    if held:
        raise ConfigError(
            f"{', '.join(held)} would be written into the job's files. Export it instead; sbatch passes it on"
        )


def no_secret_values(scripts: Mapping[str, str]) -> None:
    """Raise if any file contains the value of a secret of this environment."""
    from tersely.core.redact import ENV_NAME, SHORTEST

    for name, value in os.environ.items():
        if len(value) >= SHORTEST and ENV_NAME.search(name):
            for file, text in scripts.items():
                if value in text:
                    raise ConfigError(
                        f"{name}: its value would be written into {file}. Remove it; sbatch passes your environment to the job"
                    )


def sbatch_options(options: argparse.Namespace, *, training: bool) -> list[tuple[str, str | None]]:
    """(name, value) of each `--sbatch`. --gres must request --gpus-per-node GPUs; an evaluation gets one GPU."""
    found = [_sbatch_option(text) for text in options.sbatch]
    for name, value in found:
        for match in GPU_COUNT.finditer(value or "") if name == "gres" else ():
            if (count := int(match[2] or 1)) != options.gpus_per_node:
                raise ConfigError(
                    f"--sbatch --gres={value}: got {count} GPUs per node; expected --gpus-per-node, {options.gpus_per_node}"
                )
    if training:
        return found
    return [(name, GPU_COUNT.sub(r"\1:1", value) if name == "gres" and value else value) for name, value in found]


def _sbatch_option(text: str) -> tuple[str, str | None]:
    """(name, value) of one sbatch option: `--gres=gpu:a100:4`, `--exclusive`."""
    match = re.fullmatch(r"--([a-z][a-z0-9-]*)(?:[= ](.*))?", text.strip(), re.DOTALL)
    if not match:
        raise ConfigError(f"--sbatch: got {text!r}; expected one long option of sbatch, such as --gres=gpu:a100:4")
    return match[1], match[2]


def own_accelerate_file(path: Path, nodes: int) -> str:
    """Check a user's accelerate file and set the `standard` DeepSpeed launcher if none is set.

    DeepSpeed's other launchers start ranks over SSH and write the environment, including keys, to `.deepspeed_env`. srun
    has already started one launcher per node.
    """
    import yaml

    from tersely.configs.load import read_yaml
    from tersely.core.redact import ENV_NAME

    text, values = path.read_text(), read_yaml(path)
    inner = [pair for value in values.values() if isinstance(value, Mapping) for pair in value.items()]
    held = [str(key) for key, value in [*values.items(), *inner] if value is not None and ENV_NAME.search(str(key))]
    if held:
        raise ConfigError(
            f"{path}: {', '.join(held)} would be written into the job's files. Remove it and export it instead"
        )
    if nodes < 2 or str(values.get("distributed_type")).rpartition(".")[2] != "DEEPSPEED":
        return text
    deepspeed = values.get("deepspeed_config") or {}
    stated = deepspeed.get("deepspeed_multinode_launcher")
    if stated not in (None, "standard"):
        raise ConfigError(
            f"{path}: deepspeed_config.deepspeed_multinode_launcher: got {stated!r}; expected standard under SLURM, where "
            "srun starts a launcher on every node"
        )
    values["deepspeed_config"] = {**deepspeed, "deepspeed_multinode_launcher": "standard"}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
