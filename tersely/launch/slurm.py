"""Renders and submits the sbatch scripts of `tersely launch slurm`.

It writes to `<run_dir>/launch`: the resolved recipe of each array task, `accelerate.yaml`, `train.sbatch` and,
with `--eval`, `eval.sbatch`. No shell reads YAML, and every user value is quoted. See docs/slurm.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError, nearest
from tersely.engines.registry import needs_servers
from tersely.launch import sweep
from tersely.launch.slurm_checks import (
    base_model,
    no_secret_values,
    no_secrets,
    own_accelerate_file,
    sbatch_options,
)

TIME = re.compile(r"\d+|\d+:\d{1,2}(:\d{1,2})?|\d+-\d{1,2}(:\d{1,2}){0,2}")
ACCELERATE = ("multi_gpu", "zero2", "zero3", "fsdp2")
FIXED = frozenset({"nodes", "ntasks", "ntasks-per-node", "array", "output", "open-mode", "signal", "requeue"})
"""sbatch options that the script depends on."""
GPU_OPTIONS = frozenset({"gres", "gpus", "gpus-per-task"})


def render(recipe: Recipe, options: argparse.Namespace, tasks: Sequence[Recipe] | None = None) -> dict[str, str]:
    """Render file name -> text. `tasks`: recipe of each array task (default: from the options). No heavy imports."""
    import jinja2
    import yaml

    from tersely.launch.ranks import check_batch

    check(options, recipe)
    if tasks is None:
        tasks = [variant.recipe for variant in sweep.variants(recipe, sweep.axes_of(options), {})]
    tasks = [task.replaced(run_dir=str(Path(task.run_dir).absolute())) for task in tasks]
    ranks = options.nodes * max(1, options.gpus_per_node)
    for task in tasks:
        no_secrets(options, task)
        check_batch(task, ranks)
    loader = jinja2.FileSystemLoader(str(files("tersely.launch") / "templates"))
    jinja = jinja2.Environment(loader=loader, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    jinja.filters["sh"] = quoted
    name = options.job_name or Path(recipe.run_dir).name
    common = {
        "tasks": len(tasks),
        "run_dirs": [task.run_dir for task in tasks],
        "launch_dir": str(launch_dir(recipe)),
        "workdir": os.getcwd(),
        "environment": environment(options),
    }
    train = jinja.get_template("train.sbatch.j2").render(
        **common,
        directives=directives(recipe, options, name, len(tasks), options.nodes + options.rollout_nodes, training=True),
        nodes=options.nodes,
        rollout_nodes=options.rollout_nodes,
        servers_per_node=max(1, options.gpus_per_node),
        gpus=options.gpus_per_node,
        ranks=ranks,
        threads=max(1, (options.cpus_per_task or 1) // max(1, options.gpus_per_node)),
        # srun does not inherit it from sbatch since SLURM 22.05
        cpus=f" --cpus-per-task={options.cpus_per_task}" if options.cpus_per_task else "",
        server_cpus=_server_cpus(options),
        requeues=options.requeues,
    )
    scripts = {"train.sbatch": train, "accelerate.yaml": accelerate_file(options)}
    if options.eval:
        scripts["eval.sbatch"] = jinja.get_template("eval.sbatch.j2").render(
            **common,
            directives=directives(recipe, options, f"{name}-eval", len(tasks), 1, training=False),
            benchmarks=options.eval,
            models=[base_model(task) for task in tasks],
            eval_options=shlex.split(options.eval_options),
        )
    for number, task in enumerate(tasks):
        scripts[f"recipe-{number}.yaml"] = yaml.safe_dump(task.to_dict(), sort_keys=False, allow_unicode=True)
    no_secret_values(scripts)
    return scripts


def check(options: argparse.Namespace, recipe: Recipe) -> None:
    if not TIME.fullmatch(options.time):
        raise ConfigError(f"--time: got {options.time!r}; expected minutes, H:MM:SS or D-HH:MM:SS")
    if options.mem and not re.fullmatch(r"\d+[KMGT]?", str(options.mem)):
        raise ConfigError(f"--mem: got {options.mem!r}; expected megabytes, or a number with K, M, G or T such as 200G")
    if options.rollout_nodes and not needs_servers(recipe):
        raise ConfigError(
            f"--rollout-nodes: got {options.rollout_nodes}; expected 0, as this recipe needs no servers. Leave it out, or "
            "use engine: vllm_server without servers"
        )
    if needs_servers(recipe) and not options.rollout_nodes:
        raise ConfigError(
            "servers: got none; expected addresses with this engine. Add --rollout-nodes 1, or servers: [...] to the recipe"
        )


def directives(recipe, options, name: str, tasks: int, nodes: int, *, training: bool) -> list[tuple[str, str | None]]:
    """The #SBATCH lines; sbatch parses them with its own quoting rules."""
    pattern = "%A_%a" if tasks > 1 else "%j"
    log = str(launch_dir(recipe) / "logs").replace("%", "%%") + f"/{'train' if training else 'eval'}-{pattern}.out"
    array = f"0-{tasks - 1}" + (f"%{options.array_limit}" if options.array_limit else "") if tasks > 1 else None
    gpus = min(options.gpus_per_node, 1) if not training else options.gpus_per_node
    values: list[tuple[str, Any]] = [
        ("job-name", name),
        ("nodes", nodes),
        ("ntasks-per-node", 1),
        ("cpus-per-task", options.cpus_per_task),
        ("gpus-per-node", gpus or None),
        ("mem", options.mem),
        ("time", options.time),
        ("partition", options.partition),
        ("account", options.account),
        ("qos", options.qos),
        ("constraint", options.constraint),
        ("array", array),
        ("output", log),
        ("open-mode", "append"),
        ("signal", f"B:USR1@{options.lead}" if training else None),
    ]
    more = sbatch_options(options, training=training)
    replaced = {key for key, _ in more}
    if fixed := replaced & FIXED:
        raise ConfigError(
            f"--sbatch: {', '.join(f'--{key}' for key in sorted(fixed))} is already set by tersely launch slurm. Remove it"
        )
    if replaced & GPU_OPTIONS:
        replaced.add("gpus-per-node")  # the user requests the GPUs with another option
    lines: list[tuple[str, str | None]] = [
        (key, sbatch_word(key, value)) for key, value in values if value is not None and key not in replaced
    ]
    lines += [(key, None if value is None else sbatch_word(key, value)) for key, value in more]
    return [*lines, ("requeue", None)] if training else lines


def environment(options: argparse.Namespace) -> list[str]:
    lines = [f"module load {quoted(module)}" for module in options.module]
    if options.venv:
        lines.append(f"export PATH={quoted(str(Path(options.venv).absolute() / 'bin'))}:$PATH")
    for pair in options.env:
        name, found, value = pair.partition("=")
        if not found or not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise ConfigError(f"--env: got {pair!r}; expected NAME=value")
        lines.append(f"export {name}={quoted(value)}")
    return lines


def _server_cpus(options: argparse.Namespace) -> str:
    """CPUs per task on a server node: one task per GPU, and the tasks share the node's CPUs."""
    if not options.cpus_per_task:
        return ""
    return f" --cpus-per-task={max(1, options.cpus_per_task // max(1, options.gpus_per_node))}"


def accelerate_file(options: argparse.Namespace) -> str:
    """The accelerate configuration. Ranks without GPUs are launched like MULTI_GPU or DeepSpeed, and use gloo."""
    chosen = options.accelerate or ("zero2" if options.gpus_per_node else "multi_gpu")
    if chosen in ACCELERATE:
        return (files("tersely.configs") / "accelerate" / f"{chosen}.yaml").read_text()
    if not Path(chosen).is_file():
        raise ConfigError(
            f"--accelerate: got {chosen!r}; expected a file or a shipped config; {nearest(chosen, ACCELERATE)}"
        )
    return own_accelerate_file(Path(chosen), options.nodes)


def launch_dir(recipe: Recipe) -> Path:
    return Path(recipe.run_dir).absolute() / "launch"


def quoted(value: Any) -> str:
    """Quote one shell word. A line break or a NUL is an error."""
    text = str(value)
    if re.search(r"[\x00\n\r]", text):
        raise ConfigError(f"got {text!r}; expected text without line breaks and NUL, because it goes into a job script")
    return shlex.quote(text)


def sbatch_word(name: str, value: Any) -> str:
    """Quote one word of an #SBATCH line. sbatch splits at an escaped blank, but not inside double quotes."""
    text = str(value)
    if re.search(r"[\x00-\x1f]", text):
        raise ConfigError(f"--{name}: got {text!r}; expected text without control characters")
    if re.fullmatch(r"[\w@%+=:,./-]+", text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def submit(script: Path, *options: str) -> str:
    """Submit a script; returns the job id."""
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", *options, str(script)], capture_output=True, text=True, timeout=60
        )
    except FileNotFoundError:
        raise ConfigError("sbatch not found. Run this on a login node of the cluster, or add --dry-run") from None
    except subprocess.TimeoutExpired:
        raise ConfigError("sbatch: no answer within 60 s. Check that slurmctld is up (`scontrol ping`)") from None
    if done.returncode:
        raise ConfigError(f"sbatch rejected {script}: {done.stderr.strip()}")
    return done.stdout.strip().split(";")[0]
