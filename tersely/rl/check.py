"""Checks each stage of a recipe before anything is loaded. Training, dry runs and preflight reuse the parts that it builds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from tersely.configs.recipe import Recipe, Stage
from tersely.configs.stages import StageError
from tersely.core.errors import ConfigError
from tersely.core.findings import Finding
from tersely.rl.update.batch_size import BatchLayout

if TYPE_CHECKING:  # torch and TRL are imported only for the check
    from trl import GRPOConfig

    from tersely.algorithms.objective import Objective
    from tersely.configs.cold_start import ColdStart

Self = TypeVar("Self", bound="CheckedStage")


@dataclass(frozen=True)
class CheckedStage:
    """A stage whose settings fit together."""

    stage: Stage
    """Its recipe has TRL's fields in their types."""
    table: str
    """The batch sizes, or the settings of a cold start; one per line."""
    findings: tuple[Finding, ...]
    """Warnings and notes."""

    @property
    def run(self) -> Recipe:
        return self.stage.recipe

    def after(self: Self, previous: Stage | None) -> Self:
        """The same stage, starting from the weights of `previous`."""
        return replace(self, stage=self.stage.after(previous))


@dataclass(frozen=True)
class RLStage(CheckedStage):
    """A stage of kind `rl`."""

    objective: Objective
    args: GRPOConfig


@dataclass(frozen=True)
class SFTStage(CheckedStage):
    """A stage of kind `sft`."""

    cold_start: ColdStart


def check_stage(stage: Stage, ranks: int | None = None) -> RLStage | SFTStage:
    """Check a stage of a recipe that `tersely.rl.config.checked` returned. Raises `ConfigError`.

    `ranks` are those that the run will have, where they are not those of this launch.
    """
    try:
        return _cold_start(stage) if stage.kind == "sft" else _training(stage, ranks)
    except StageError:
        raise
    except ConfigError as error:
        if stage.name is None:
            raise
        raise StageError(stage.name, str(error)) from error


def _cold_start(stage: Stage) -> SFTStage:
    from tersely.rl.config.adapter_check import check_adapter
    from tersely.rl.sft.settings import checked

    check_adapter(stage.recipe)
    assert stage.cold_start is not None
    cold_start = checked(stage.cold_start)
    return SFTStage(stage, cold_start.table(), (), cold_start)


def _training(stage: Stage, ranks: int | None) -> RLStage:
    from tersely.algorithms.checks import ignored_warmup, warnings_of
    from tersely.algorithms.pair_checks import check_pairs
    from tersely.algorithms.trial import require_budgets, trial_score
    from tersely.data.columns import first_values
    from tersely.engines.registry import capabilities_of
    from tersely.rl.checkpoints.rollback import require_for_controllers
    from tersely.rl.config import grpo_config, objective_of, ratio_is_one, world_size
    from tersely.rl.config.adapter_check import adapter_notes, check_adapter
    from tersely.rl.config.budget_check import check_budgets
    from tersely.rl.config.build_check import check_build
    from tersely.rl.config.sections import check_data
    from tersely.rl.config.teacher_check import check_teachers
    from tersely.rl.guards.callback import require_for_guards
    from tersely.rl.update.micro_batches import notices

    run = stage.recipe
    objective = objective_of(run)
    batch = BatchLayout.of(run, ranks or world_size())
    args = grpo_config(run, objective, world_size())
    check_data(run, args.seed)
    row = first_values(run.dataset, objective.columns, args.seed)
    check_adapter(run)
    check_teachers(run, objective)
    check_build(run, args)
    require_for_guards(run, args)
    require_for_controllers(run, objective, args)
    trial_score(objective, run.group_size, args.max_completion_length, row)
    require_budgets(objective, run.group_size)
    unreached = check_budgets(run, objective, args.max_completion_length)
    stated = run.states("updates_per_batch") or run.states("num_iterations")
    once = not stated and ratio_is_one(batch, int(run.trl.get("num_iterations", 1)))
    found = warnings_of(
        objective,
        ratio_is_one=once,
        sampler_logprobs=capabilities_of(run.engine).sampler_logprobs,
        top_p=float(run.trl.get("top_p", 1.0)),
        group_size=run.group_size,
    )
    found += check_pairs(run, objective, args.max_completion_length)
    found = [
        *found,
        *unreached,
        *ignored_warmup(run.trl),
        *notices(run, objective.loss),
        *adapter_notes(run, args.learning_rate),
    ]
    table = "\n".join(f"{name:>18} {value:>8}  {origin}" for name, value, origin in batch.table())
    return RLStage(stage, table, tuple(found), objective, args)


def check_recipe(recipe: Recipe, ranks: int | None) -> None:
    """Raise `ConfigError` for a recipe that `tersely train` would reject. For launchers, which may have no GPU."""
    import torch

    from tersely.engines.registry import needs_servers
    from tersely.rl.config import checked
    from tersely.rl.config.prompt_check import check_first_rows

    needs_gpu = () if torch.cuda.is_available() else ("fp16", "tf32")
    values = {key: value for key, value in recipe.to_dict().items() if key not in needs_gpu}
    if needs_servers(recipe):
        values["servers"] = ["http://127.0.0.1:8000"]  # the launcher starts the servers
    for stage in checked(Recipe.of(values)).stages:
        one = check_stage(stage, ranks)
        if isinstance(one, RLStage):
            check_first_rows(one.run, one.args.seed)
