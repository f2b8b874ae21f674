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
    """The recipe of each array task, as `tersely train --dry-run` checks it: a job may wait for days before it starts."""
    import yaml

    from tersely.launch.preflight.recipe_check import check_in_process

    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, task in enumerate(tasks):
            # the addresses of servers on rollout nodes are known only in the job
            served = {"servers": ["http://127.0.0.1:1"]} if options.rollout_nodes else {}
            files.append(str(Path(folder) / f"recipe-{number}.yaml"))
            Path(files[-1]).write_text(yaml.safe_dump({**task.to_dict(), **served}, allow_unicode=True))
        ranks = options.nodes * max(1, options.gpus_per_node)
        check_in_process([*files, "--ranks", str(ranks)])


def base_model(recipe: Recipe) -> str:
    """The model that the training starts from, as the job finds it."""
    return expanded(recipe.model_name_or_path, "model_name_or_path")


def no_secrets(options: argparse.Namespace, recipe: Recipe) -> None:
    """Scripts and recipes of jobs lie where others can read them, and stay."""
    from tersely.core.redact import ENV_NAME, secrets_of

    held = [f"--env {name}" for pair in options.env if ENV_NAME.search(name := pair.partition("=")[0])]
    words = [part for text in (*options.sbatch, *shlex.split(options.eval_options)) for part in text.split(",")]
    held += [name for word in words if "=" in word and ENV_NAME.search(name := word.rpartition("=")[0])]
    held += secrets_of(recipe.written)
    if held:
        raise ConfigError(
            f"{', '.join(held)} would be written into the job's files; export it instead, sbatch hands your environment on"
        )


def no_secret_values(scripts: Mapping[str, str]) -> None:
    """No file may hold the value of a secret of this environment, whichever option or file it came from."""
    from tersely.core.redact import ENV_NAME, SHORTEST

    for name, value in os.environ.items():
        if len(value) >= SHORTEST and ENV_NAME.search(name):
            for file, text in scripts.items():
                if value in text:
                    raise ConfigError(
                        f"{name}: its value would be written into {file}. Leave it out; sbatch passes it on"
                    )


def sbatch_options(options: argparse.Namespace, *, training: bool) -> list[tuple[str, str | None]]:
    """(name, value) of each `--sbatch`. The GPUs of --gres must be as many as --gpus-per-node; an evaluation gets one."""
    found = [_sbatch_option(text) for text in options.sbatch]
    for name, value in found:
        for match in GPU_COUNT.finditer(value or "") if name == "gres" else ():
            if (count := int(match[2] or 1)) != options.gpus_per_node:
                raise ConfigError(
                    f"--sbatch --gres={value}: got {count} GPUs per node; expected {options.gpus_per_node}, as --gpus-per-node"
                )
    if training:
        return found
    return [(name, GPU_COUNT.sub(r"\1:1", value) if name == "gres" and value else value) for name, value in found]


def _sbatch_option(text: str) -> tuple[str, str | None]:
    """(name, value) of one option as sbatch takes it: `--gres=gpu:a100:4`, `--exclusive`."""
    match = re.fullmatch(r"--([a-z][a-z0-9-]*)(?:[= ](.*))?", text.strip(), re.DOTALL)
    if not match:
        raise ConfigError(f"--sbatch: got {text!r}; expected one long option of sbatch, such as --gres=gpu:a100:4")
    return match[1], match[2]


def own_accelerate_file(path: Path, nodes: int) -> str:
    """A user's own file. DeepSpeed's other launchers start ranks over SSH and write the environment, keys included, to
    `.deepspeed_env`; srun has started one launcher on each node, so `standard` is set where nothing else is stated."""
    import yaml

    from tersely.configs.load import read_yaml
    from tersely.core.redact import ENV_NAME

    text, values = path.read_text(), read_yaml(path)
    inner = [pair for value in values.values() if isinstance(value, Mapping) for pair in value.items()]
    held = [str(key) for key, value in [*values.items(), *inner] if value is not None and ENV_NAME.search(str(key))]
    if held:
        raise ConfigError(
            f"{path}: {', '.join(held)} would be written into the job's files; remove it and export it instead"
        )
    if nodes < 2 or str(values.get("distributed_type")).rpartition(".")[2] != "DEEPSPEED":
        return text
    deepspeed = values.get("deepspeed_config") or {}
    stated = deepspeed.get("deepspeed_multinode_launcher")
    if stated not in (None, "standard"):
        raise ConfigError(
            f"{path}: deepspeed_config.deepspeed_multinode_launcher is {stated!r}; it must be standard under SLURM, where "
            "srun starts a launcher on every node"
        )
    values["deepspeed_config"] = {**deepspeed, "deepspeed_multinode_launcher": "standard"}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
