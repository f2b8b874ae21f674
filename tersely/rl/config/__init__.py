"""Checks a recipe against the installed TRL, and creates its objective and GRPOConfig."""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from trl import GRPOConfig

from tersely.algorithms.objective import SLOT_DEFAULTS, Objective, needs_reference
from tersely.configs.recipe import TRL_LOSS_TYPES, Recipe, Stage
from tersely.configs.stages import StageError
from tersely.core.errors import ConfigError
from tersely.engines.activation_checkpointing import by_installed_names
from tersely.engines.registry import capabilities_of, require_training_engine
from tersely.engines.sampling import check_sampling
from tersely.rl.config.field_values import check_together, field_value
from tersely.rl.recording.model_card import recorded
from tersely.rl.rollouts.sampling_state import SamplingState
from tersely.rl.trl.unused_fields import require_read
from tersely.rl.update.batch_size import PLANNED_WORLD_SIZE, BatchLayout


def checked(recipe: Recipe) -> Recipe:
    """The recipe and its stages with TRL's fields in the types of the installed GRPOConfig.

    Raises `ConfigError` for values that the installed TRL or the recipe's engine does not accept.
    """
    run = _checked(recipe)
    return dataclasses.replace(run, stages=tuple(_checked_stage(stage, run) for stage in recipe.stages))


def _checked_stage(stage: Stage, run: Recipe) -> Stage:
    if stage.name is None:  # the stage's recipe is the run's
        return dataclasses.replace(stage, recipe=dataclasses.replace(run, stages=()))
    try:
        return dataclasses.replace(stage, recipe=_checked(stage.recipe))
    except ConfigError as error:
        raise StageError(stage.name, str(error)) from error


def _checked(recipe: Recipe) -> Recipe:
    fields = {f.name for f in dataclasses.fields(GRPOConfig) if f.init}
    values = by_installed_names(recipe.trl, fields)
    for key in values:
        if key not in fields:
            raise ConfigError(f"{key}: the installed TRL has no such field. Remove it, or install another TRL")
        require_read(key, trl_loss=values.get("loss_type") in TRL_LOSS_TYPES)
    served = require_training_engine(recipe.engine).servers
    if recipe.servers and not served:
        raise ConfigError(
            f"servers: got {list(recipe.servers)}; expected none with engine: {recipe.engine}. Remove servers, or use engine: "
            "vllm_server"
        )
    if served and not recipe.servers:
        raise ConfigError(
            f"servers: got none; expected addresses with engine: {recipe.engine}, such as [http://host:8000]. `tersely launch "
            "local`, and slurm with --rollout-nodes, start servers and fill this in"
        )
    typed_values = _typed_trl(values)
    check_together(typed_values)
    return dataclasses.replace(recipe, trl=typed_values)


def objective_of(recipe: Recipe) -> Objective:
    """Build the slots of a checked recipe. TRL's `beta` becomes the wrapper `kl_penalty` around the loss."""
    specs = {slot: getattr(recipe, slot) for slot in SLOT_DEFAULTS}
    if beta := float(recipe.trl.get("beta") or 0.0):
        weighted = bool(recipe.trl.get("use_bias_correction_kl", True))
        base = specs["loss"] or SLOT_DEFAULTS["loss"]
        specs["loss"] = {"name": "kl_penalty", "beta": beta, "importance_weighted": weighted, "base": base}
    objective = Objective.from_specs(specs)
    check_sampling(capabilities_of(recipe.engine), SamplingState(objective.sampling).temperature)
    needs = objective.filter.needs
    for key, off in (("max_resample_rounds", 0), ("max_oversampling", 1)):
        if needs and (value := getattr(recipe, key)) > off:
            raise ConfigError(
                f"{key}: got {value}; expected {off}, because filter {type(objective.filter).__name__} needs "
                f"{', '.join(needs)}, which is known only for a complete batch"
            )
    return objective


def grpo_config(recipe: Recipe, objective: Objective, ranks: int) -> GRPOConfig:
    """The GRPOConfig for TRL's trainer: the user's fields, the batch sizes, and the values that our overrides need."""
    import torch

    batch = BatchLayout.of(recipe, ranks)
    values: dict[str, Any] = {
        "logging_steps": 1,
        "save_steps": 50,
        "save_total_limit": 3,
        "hub_strategy": "end",
        "report_to": "none",
        "run_name": recipe.run_dir,  # otherwise reporters choose a new name at each --resume
        "num_iterations": 1,
        "beta": 0.0,
        "remove_unused_columns": False,
        "disable_tqdm": None,
        "logging_first_step": True,
        "ddp_timeout": max(
            86_400, 2 * int(recipe.deadline_seconds)
        ),  # `tersely.rl.watchdog` handles waits without progress
        **recipe.trl,
        **batch.trl_arguments(),
        "output_dir": recipe.run_dir,
        "temperature": base_temperature(objective),
        "mask_truncated_completions": False,
    }
    if not torch.cuda.is_available():
        values.setdefault("bf16", False)
        if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
            values.setdefault("ddp_backend", "gloo")  # with use_cpu accelerate would skip DeepSpeed
        else:
            values.setdefault("use_cpu", True)
    _check_saving(values, batch.updates_per_batch * int(values["num_iterations"]))
    if values.get("loss_type") == "luspo":
        values["importance_sampling_level"] = "sequence"
    if needs_reference(objective) and not values["beta"]:
        values["beta"] = 1.0  # our loss never reads it; TRL builds the reference model if it is not 0
    try:
        args = RunArguments(**values)
    except (ValueError, TypeError, ImportError, RuntimeError, KeyError, AttributeError, OSError) as error:
        text = " ".join(str(error).split())
        named = [key for key in recipe.trl if key.replace("_", "") in text.lower().replace("_", "") and key not in text]
        named += [key for key, value in recipe.trl.items() if value == getattr(error, "filename", "")]
        where = f" ({', '.join(named)})" if named else ""
        raise ConfigError(f"TRL rejects the configuration{where}: {text}") from error
    args.run_record = recorded(recipe)
    return args


class RunArguments(GRPOConfig):
    """TRL's arguments plus the recipe in `to_dict`, which loggers (wandb, trackio) read."""

    run_record: Mapping[str, Any] = MappingProxyType({})

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), **self.run_record}


def _check_saving(values: dict[str, Any], updates: int) -> None:
    """Check the settings of saving: exact resume, complete checkpoints, no pickle on the hub. `updates`: per generation batch.

    Rounds a fractional `save_steps`, a share of `max_steps`, to whole generation batches.
    """
    limit, every, steps = values["save_total_limit"], values["save_steps"], values.get("max_steps") or -1
    if limit is not None and limit < 2:
        raise ConfigError(
            f"save_total_limit: got {limit}; expected at least 2 or null, so that a complete checkpoint is on disk while the "
            "next one is written"
        )
    if values.get("save_only_model"):
        raise ConfigError(
            "save_only_model: got true; expected false, because a checkpoint without the optimizer cannot be resumed exactly. "
            "Remove it: save_total_limit limits the disk space, and final/ has only the weights"
        )
    if steps > 0 and steps % updates:
        raise ConfigError(
            f"max_steps: got {steps}; expected a multiple of updates_per_batch * num_iterations = {updates}, so that the run "
            f"ends between two generation batches and can be extended exactly: {steps - steps % updates or updates} or "
            f"{steps - steps % updates + updates}"
        )
    if 0 < every < 1:
        if steps < 1:
            raise ConfigError(
                f"save_steps: got {every}, a share of max_steps, which is not set. Set save_steps to a number of steps"
            )
        every = values["save_steps"] = max(1, round(every * steps / updates)) * updates
    if every < 1 or int(every) != every or every % updates:
        raise ConfigError(
            f"save_steps: got {every}; expected a multiple of updates_per_batch * num_iterations = "
            f"{updates}, so that a checkpoint falls between two generation batches and resumes exactly"
        )
    if str(values.get("save_strategy", "steps")) == "best":
        raise ConfigError(
            "save_strategy: got 'best'; expected steps, epoch or no. `evaluation: {keep_best: true}` keeps the best weights in "
            "run_dir/best"
        )
    if values.get("push_to_hub") and values["hub_strategy"] != "end":
        raise ConfigError(
            f"hub_strategy: got {values['hub_strategy']!r}; expected end. During training, transformers pickles every "
            "argument into the uploaded folder, and uploads a checkpoint before it is complete"
        )


def base_temperature(objective: Objective) -> float:
    """Temperature of the trainer's log-probs."""
    return objective.sampling.base_temperature


def ratio_is_one(batch: BatchLayout, num_iterations: int) -> bool:
    """True for one optimizer step per generation batch: old and current policy are the same, and every ratio is 1."""
    return batch.updates_per_batch * num_iterations == 1


def world_size() -> int:
    """Number of ranks, from the launcher's environment. Raises `ConfigError` if the launcher planned another number.

    Without this check, nodes that fail to connect would each run alone in the same run directory.
    """
    found, planned = os.environ.get("WORLD_SIZE", "1"), os.environ.get(PLANNED_WORLD_SIZE)
    if planned and planned != found:
        raise ConfigError(
            f"WORLD_SIZE: got {found}; expected {planned} ({PLANNED_WORLD_SIZE}). The nodes did not join one group. "
            "Check num_machines, num_processes and deepspeed_multinode_launcher (standard) in the accelerate file"
        )
    return int(found)


@cache
def _trl_hints() -> dict[str, Any]:
    return typing.get_type_hints(GRPOConfig)


def _typed_trl(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert numeric text to the numbers that GRPOConfig declares, because YAML reads `1e-6` as text."""
    hints = _trl_hints()
    return {key: field_value(key, value, hints.get(key)) for key, value in values.items()}
