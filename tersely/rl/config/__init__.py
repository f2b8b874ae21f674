"""Configuration of a training run: TRL's GRPOConfig under its own names, plus our keys (`RunConfig`)."""

from __future__ import annotations

import dataclasses
import os
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from trl import GRPOConfig

from tersely.algorithms.objective import SLOT_DEFAULTS, Objective
from tersely.core.errors import ConfigError, check_fields, renamed, require_range
from tersely.core.protocols import loss_chain
from tersely.engines.activation_checkpointing import by_installed_names
from tersely.engines.registry import DEFAULT, capabilities_of, require_training_engine
from tersely.engines.sampling import check_sampling
from tersely.rl.config.field_values import check_together, field_value
from tersely.rl.config.sections import check_env
from tersely.rl.guards.registry import guards_of
from tersely.rl.recording.model_card import recorded
from tersely.rl.rollouts.sampling_state import SamplingState
from tersely.rl.trl.unused_fields import require_read
from tersely.rl.update.batch_size import PLANNED_WORLD_SIZE, BatchLayout

DERIVED = {
    "num_generations": "group_size",
    "per_device_train_batch_size": "micro_batch",
    "gradient_accumulation_steps": "updates_per_batch",
    "steps_per_generation": "micro_batch",
    "generation_batch_size": "prompts_per_step",
    "output_dir": "run_dir",
    "loss_type": "aggregate and loss",
    "epsilon": "loss {name: clip, clip_low}",
    "epsilon_high": "loss {name: clip, clip_high}",
    "delta": "loss {name: clip, dual_clip}",
    "scale_rewards": "advantage",
    "importance_sampling_level": "loss {name: clip, importance}",
    "reward_weights": "reward [{name, weight}]",
    "use_vllm": "engine",
    "temperature": "sampling {name: fixed, temperature}",
    "top_entropy_quantile": "loss {name: high_entropy_mask}",
    "gap_limit": "guards {mismatch: {threshold}}",
    "undecided_limit": "guards {undecided: {threshold}}",
}
"""TRL fields that a recipe states under our names; the value is where to state them."""

TRL_LOSS_TYPES = ("luspo", "vespo")
"""Values of `loss_type` that run TRL's own loss in place of the loss and the aggregate."""

LARGEST_BATCH = 2**20
"""Of each part of a batch; more is a slip."""


@dataclass
class RunConfig:
    """What a recipe says beside GRPOConfig's fields."""

    model_name_or_path: str
    """Hub id, local folder, or `testbed`, the embedded tiny model."""
    dataset: Any = "testbed"
    """One dataset spec or a list of them."""
    run_dir: str = "runs/run"
    method: str | None = None
    """The preset the slots came from; recorded, not read."""
    prompting: Any = None
    sampling: Any = None
    reward: Any = None
    advantage: Any = None
    loss: Any = None
    filter: Any = None
    aggregate: str = "token"
    controllers: list = field(default_factory=list)
    stages: list = field(default_factory=list)
    """See `tersely.rl.stages`; empty for a run of one stage."""
    prompts_per_step: int = 8
    group_size: int = 8
    micro_batch: int = 8
    updates_per_batch: int = 1
    max_resample_rounds: int = 0
    """How often a batch may replace the groups that the filter refuses by fresh prompts; 0 trains with fewer groups."""
    max_rollbacks: int = 2
    """How often a stage may go back to its last good checkpoint (`tersely.rl.checkpoints.rollback`) before the run stops."""
    micro_batching: Literal[True, False, "always"] = True
    """Micro-batches by length, rows without signal left out; `always` also where the loss's statistics are theirs."""
    engine: str = DEFAULT
    """`transformers`, `vllm` (in the trainer's process) or `vllm_server` (those that `servers` names)."""
    servers: list = field(default_factory=list)
    """Addresses of vLLM servers (http://127.0.0.1:8000) that see run_dir under the same path; the launchers start some."""
    max_num_seqs: int = 256
    """Sequences that a vLLM engine or server decodes at once; more of them need more cache."""
    instruction: str | None = None
    """Appended to every problem."""
    system_prompt: str | None = None
    verifier: dict = field(default_factory=dict)
    """Parameters of `tersely.rewards.Verifier`."""
    guards: dict = field(default_factory=dict)
    """What watches the run, see `tersely.rl.guards.registry`; every guard is on at its defaults unless it is false here."""
    deadline_seconds: float = 1800.0
    """Longest that the run may make no progress: no finished request, no micro-batch, no new phase on any rank."""
    preflight: bool = True
    """The checks of the first half second, see `tersely.launch.preflight.static`."""
    evaluation: dict = field(default_factory=dict)
    """Held-out problems at set steps, see `tersely.rl.held_out_evaluation.EvaluationSpec`; empty for none."""
    env: dict = field(default_factory=dict)
    """Environment variables exported before anything is loaded."""

    def batch_layout(self, ranks: int) -> BatchLayout:
        return BatchLayout(self.prompts_per_step, self.group_size, self.micro_batch, self.updates_per_batch, ranks)

    def objective(self, trl_values: Mapping[str, Any] | None = None) -> Objective:
        """The six slots. TRL's `beta` becomes the wrapper `kl_penalty` around the loss."""
        specs = {slot: getattr(self, slot) for slot in SLOT_DEFAULTS}
        trl_values = trl_values or {}
        if beta := float(trl_values.get("beta") or 0.0):
            weighted = bool(trl_values.get("use_bias_correction_kl", True))
            base = specs["loss"] or SLOT_DEFAULTS["loss"]
            specs["loss"] = {"name": "kl_penalty", "beta": beta, "importance_weighted": weighted, "base": base}
        objective = Objective.from_specs(specs)
        check_sampling(capabilities_of(self.engine), SamplingState(objective.sampling).temperature)
        needs = objective.filter.needs
        if self.max_resample_rounds and needs:
            raise ConfigError(
                f"max_resample_rounds is {self.max_resample_rounds}, and filter {type(objective.filter).__name__} reads "
                f"{', '.join(needs)}, which are known only once the batch is complete; it must be 0 with this filter"
            )
        return objective


def split_recipe(recipe: Mapping[str, Any]) -> tuple[RunConfig, dict[str, Any]]:
    """Check every key of a recipe and part it into our config and GRPOConfig's arguments."""
    ours = {f.name for f in dataclasses.fields(RunConfig)}
    trl = {f.name for f in dataclasses.fields(GRPOConfig) if f.init}
    run_values, trl_values = {}, {}
    recipe = by_installed_names(recipe, trl)
    for key, value in recipe.items():
        if key in DERIVED and not (key == "loss_type" and value in TRL_LOSS_TYPES):
            raise ConfigError(f"{key} is derived here; state {DERIVED[key]} instead")
        if key in ours:
            run_values[key] = value
        elif key in trl:
            require_read(key, trl_loss=recipe.get("loss_type") in TRL_LOSS_TYPES)
            trl_values[key] = value
        else:
            raise ConfigError(f"a recipe has no key {key!r}; {_nearest_key(key, ours | trl - DERIVED.keys())}")
    run = RunConfig(**check_fields(RunConfig, run_values, where="recipe"))
    if "loss_type" in trl_values and (run.loss or run.aggregate != "token"):
        raise ConfigError(
            f"loss_type {trl_values['loss_type']} is TRL's own loss and aggregate; leave loss and aggregate out"
        )
    require_range("max_resample_rounds", run.max_resample_rounds, at_least=0)
    require_range("max_num_seqs", run.max_num_seqs, at_least=1)
    guards_of(run.guards)
    check_env(run.env)
    served = require_training_engine(run.engine).servers
    if run.servers and not served:
        raise ConfigError(
            f"servers: got {run.servers}; expected none with engine: {run.engine}. Remove servers, or use engine: vllm_server"
        )
    if served and not run.servers:
        raise ConfigError(
            f"servers: got none; expected addresses with engine: {run.engine}, such as [http://host:8000]. `tersely launch "
            "local`, and slurm with --rollout-nodes, start servers and fill this in"
        )
    for address in run.servers:
        if not re.fullmatch(r"https?://[^/\s]+(/.*)?", str(address)):
            raise ConfigError(f"servers: got {address!r}; expected an address such as http://host:8000")
    require_range("deadline_seconds", run.deadline_seconds, above=0, at_most=10**8)
    for key in ("prompts_per_step", "group_size", "micro_batch", "updates_per_batch"):
        require_range(key, getattr(run, key), at_least=1, at_most=LARGEST_BATCH)
    require_range("max_rollbacks", run.max_rollbacks, at_least=0)
    if run.evaluation:
        from tersely.rl.config.evaluation import EvaluationSpec

        EvaluationSpec.of(run.evaluation)
    typed_values = _typed_trl(trl_values)
    check_together(typed_values)
    return run, typed_values


def grpo_config(run: RunConfig, trl_values: Mapping[str, Any], objective: Objective, ranks: int) -> GRPOConfig:
    """The GRPOConfig that TRL's trainer gets: the user's fields, the batch arithmetic, and what our seams rely on."""
    import torch

    batch = run.batch_layout(ranks)
    values: dict[str, Any] = {
        "logging_steps": 1,
        "save_steps": 50,
        "save_total_limit": 3,
        "hub_strategy": "end",
        "report_to": "none",
        "run_name": run.run_dir,  # reporters make up a name otherwise, and another one at each --resume
        "num_iterations": 1,
        "beta": 0.0,
        "remove_unused_columns": False,
        "disable_tqdm": None,
        "logging_first_step": True,
        "ddp_timeout": max(86_400, 2 * int(run.deadline_seconds)),  # `tersely.rl.watchdog` ends a wait without progress
        **trl_values,
        **batch.trl_arguments(),
        "output_dir": run.run_dir,
        "temperature": base_temperature(objective),
        "mask_truncated_completions": False,
    }
    if not torch.cuda.is_available():
        values.setdefault("bf16", False)
        if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
            values.setdefault("ddp_backend", "gloo")  # with use_cpu accelerate would leave DeepSpeed out
        else:
            values.setdefault("use_cpu", True)
    _check_saving(values, batch.updates_per_batch * int(values["num_iterations"]))
    if values.get("loss_type") == "luspo":
        values["importance_sampling_level"] = "sequence"
    if needs_reference(objective) and not values["beta"]:
        values["beta"] = 1.0  # our loss never reads it; TRL builds the reference model where it is not 0
    try:
        args = RunArguments(**values)
    except (ValueError, TypeError, ImportError, RuntimeError, KeyError, AttributeError, OSError) as error:
        text = " ".join(str(error).split())
        named = [key for key in trl_values if key.replace("_", "") in text.lower().replace("_", "") and key not in text]
        named += [key for key, value in trl_values.items() if value == getattr(error, "filename", "")]
        where = f" ({', '.join(named)})" if named else ""
        raise ConfigError(f"TRL refuses the configuration{where}: {text}") from error
    args.run_record = recorded(run, trl_values)
    return args


class RunArguments(GRPOConfig):
    """TRL's arguments, with the recipe for the services that mirror a run (wandb, trackio): they all read `to_dict`."""

    run_record: Mapping[str, Any] = MappingProxyType({})

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), **self.run_record}


def _check_saving(values: dict[str, Any], updates: int) -> None:
    """Checkpoints that resume exactly and are whole, and no pickle on the hub. `updates` of a generation batch.

    Sets a fractional `save_steps`, a share of `max_steps`, to whole generation batches.
    """
    limit, every, steps = values["save_total_limit"], values["save_steps"], values.get("max_steps") or -1
    if limit is not None and limit < 2:
        raise ConfigError(
            f"save_total_limit is {limit}; it must be at least 2 or null, so that a whole checkpoint stays on disk while "
            "the next is written"
        )
    if values.get("save_only_model"):
        raise ConfigError(
            "save_only_model is true; a checkpoint without the optimizer cannot be resumed exactly. Leave it out: "
            "save_total_limit bounds the disk that checkpoints take, and final/ holds the weights alone"
        )
    if steps > 0 and steps % updates:
        raise ConfigError(
            f"max_steps is {steps}; it must be a multiple of updates_per_batch * num_iterations = {updates}, so that the run "
            f"ends between two generation batches and can be extended exactly: {steps - steps % updates or updates} or "
            f"{steps - steps % updates + updates}"
        )
    if 0 < every < 1:
        if steps < 1:
            raise ConfigError(
                f"save_steps is {every}, a share of max_steps, which is not set; state save_steps as a number"
            )
        every = values["save_steps"] = max(1, round(every * steps / updates)) * updates
    if every < 1 or int(every) != every or every % updates:
        raise ConfigError(
            f"save_steps is {every}; it must be a multiple of updates_per_batch * num_iterations = "
            f"{updates}, so that a checkpoint falls between two generation batches and resumes exactly"
        )
    if str(values.get("save_strategy", "steps")) == "best":
        raise ConfigError(
            "save_strategy is 'best'; use steps, epoch or no. `evaluation: {keep_best: true}` keeps the best weights in "
            "run_dir/best"
        )
    if values.get("push_to_hub") and values["hub_strategy"] != "end":
        raise ConfigError(
            f"hub_strategy is {values['hub_strategy']!r}; it must be end: between, transformers pickles every argument into "
            "the folder that it uploads, and a checkpoint is uploaded before it is whole"
        )


def base_temperature(objective: Objective) -> float:
    """The temperature that the trainer's log-probs are taken at."""
    return objective.sampling.base_temperature


def needs_reference(objective: Objective) -> bool:
    """Does the loss, or one it wraps, read `ref_logp`?"""
    return any(part.needs_ref_logp for part in loss_chain(objective.loss))


def ratio_is_one(batch: BatchLayout, num_iterations: int) -> bool:
    """One optimiser step a generation batch: old and current policy are the same, every ratio is 1."""
    return batch.updates_per_batch * num_iterations == 1


def world_size() -> int:
    """Ranks of this launch, from the launcher's environment. `ConfigError` where the launcher planned another number.

    Otherwise the nodes of a job that do not find each other would each run alone, in one run directory.
    """
    found, planned = os.environ.get("WORLD_SIZE", "1"), os.environ.get(PLANNED_WORLD_SIZE)
    if planned and planned != found:
        raise ConfigError(
            f"WORLD_SIZE is {found}; {planned} ranks were planned ({PLANNED_WORLD_SIZE}). The nodes did not join one group: "
            "check num_machines, num_processes and deepspeed_multinode_launcher (standard) of the accelerate file"
        )
    return int(found)


def _nearest_key(key: str, valid: typing.Iterable[str]) -> str:
    """Only the close ones: GRPOConfig alone has two hundred fields."""
    import difflib

    valid = list(valid)
    if new := renamed(key, valid):
        return new
    close = difflib.get_close_matches(key, valid, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else "see docs/concepts.md for the keys"


@cache
def _trl_hints() -> dict[str, Any]:
    return typing.get_type_hints(GRPOConfig)


def _typed_trl(values: dict[str, Any]) -> dict[str, Any]:
    """YAML reads `1e-6` as text: numbers that GRPOConfig declares as numbers become numbers, or an error."""
    hints = _trl_hints()
    return {key: field_value(key, value, hints.get(key)) for key, value in values.items()}
