"""Runs a recipe, stage by stage: `train(recipe)` builds data, model, engine and trainer, and trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tersely.configs.recipe import Recipe, Stage
from tersely.configs.stages import StageError
from tersely.core.errors import ConfigError
from tersely.core.logging import is_main_process, log_line
from tersely.engines.factory import make_engine
from tersely.rl.update.batch_size import BatchLayout

if TYPE_CHECKING:  # torch and TRL are imported only for training
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import GRPOConfig

    from tersely.algorithms.objective import Objective
    from tersely.rl.checkpoints.resume import Start
    from tersely.rl.checkpoints.save_on_signal import SaveOnSignal
    from tersely.rl.recording.run_files import MetricsFile
    from tersely.rl.sft.trainer import ColdStartTrainer
    from tersely.rl.trainer import TerselyTrainer


def check_stage(stage: Stage, tell: Callable[[str], None], ranks: int | None = None) -> tuple[Any, Any, Any]:
    """(run, objective, TRL's config) of a stage; `tell` receives warnings and notes.

    `ranks` are those that the run will have, where they are not those of this launch.
    """
    try:
        return _checked(stage, tell, ranks)
    except StageError:
        raise
    except ConfigError as error:
        if stage.name is None:
            raise
        raise StageError(stage.name, str(error)) from error


def _checked(stage: Stage, tell: Callable[[str], None], ranks: int | None) -> tuple[Any, Any, Any]:
    from tersely.algorithms.checks import ignored_warmup, warnings_of
    from tersely.algorithms.trial import require_budgets, trial_score
    from tersely.data.columns import first_values
    from tersely.engines.registry import capabilities_of
    from tersely.rl.checkpoints.rollback import require_for_controllers
    from tersely.rl.config import checked, grpo_config, objective_of, ratio_is_one, world_size
    from tersely.rl.config.build_check import check_build
    from tersely.rl.config.sections import check_data
    from tersely.rl.guards.callback import require_for_guards
    from tersely.rl.update.micro_batches import notice

    if stage.kind == "sft":
        from tersely.rl.sft.spec import ColdStart

        tell(ColdStart.of(stage).table())
        return None, None, None
    run = checked(stage.recipe)
    objective = objective_of(run)
    batch = BatchLayout.of(run, ranks or world_size())
    tell(batch_table(batch))
    args = grpo_config(run, objective, world_size())
    check_data(run, args.seed)
    row = first_values(run.dataset, objective.columns, args.seed)
    check_build(run, args)
    require_for_guards(run, args)
    require_for_controllers(run, objective, args)
    trial_score(objective, run.group_size, args.max_completion_length, row)
    require_budgets(objective, run.group_size)
    stated = run.states("updates_per_batch") or run.states("num_iterations")
    once = not stated and ratio_is_one(batch, int(run.trl.get("num_iterations", 1)))
    top_p = float(run.trl.get("top_p", 1.0))
    found = warnings_of(
        objective,
        ratio_is_one=once,
        sampler_logprobs=capabilities_of(run.engine).sampler_logprobs,
        top_p=top_p,
        group_size=run.group_size,
    )
    for line in [*found, *ignored_warmup(run.trl)]:
        tell(f"warning: {line}")
    if said := notice(run, objective.loss):
        tell(said)
    return run, objective, args


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
    recipe = Recipe.of(values)
    checked(recipe)
    for stage in recipe.stages:
        run, _, args = check_stage(stage, lambda text: None, ranks)
        if run is not None:
            check_first_rows(run, args.seed)


def train(recipe: Recipe, resume: bool = False) -> Any:
    """One run, from the recipe to the last weights, stage by stage. Returns the last stage's trainer.

    Raises `SavedAndStopped` after a request to save and stop.
    """
    from accelerate.utils.memory import clear_device_cache

    from tersely.core.heartbeat import now
    from tersely.rl.checkpoints.resume import Start, from_main
    from tersely.rl.checkpoints.safe_load import weights_only
    from tersely.rl.config import checked
    from tersely.rl.cpu_ranks import load_as_cpu
    from tersely.rl.recording.run_dir import prepare
    from tersely.rl.stages import finished, publish
    from tersely.rl.watchdog import watched

    load_as_cpu()
    weights_only()
    main_process = is_main_process()
    checked(recipe)
    run_dir = Path(recipe.run_dir)
    with watched(run_dir, recipe.deadline_seconds):
        now("joining the other ranks")  # TRL's config creates the process group
        checks = [StageCheck.of(stage) for stage in recipe.stages]
        start = from_main(lambda: prepare(recipe, resume))
        if main_process:
            for line in start.lines():
                log_line(line)
        trainer = previous = None
        for stage, check in zip(recipe.stages, checks, strict=True):
            if start.resume and from_main(partial(finished, stage)):
                if main_process:
                    log_line(f"{stage.title}: already finished")
            else:
                if trainer is not None:  # otherwise its model and optimiser would stay in memory
                    trainer.accelerator.free_memory()
                    trainer = None
                    clear_device_cache(garbage_collection=True)
                trainer = train_stage(stage.after(previous), check, previous, run_dir, start)
                start = Start(start.resume)  # the changes are recorded once
            previous = stage
        if main_process:
            publish(recipe.stages, run_dir)
    return trainer


@dataclass(frozen=True)
class StageCheck:
    """What the check of a stage has made, and the lines that the user sees when the stage begins."""

    run: Recipe | None
    """None for a stage of kind `sft`, like the objective."""
    objective: Objective | None
    lines: list[str]

    @classmethod
    def of(cls, stage: Stage) -> StageCheck:
        lines: list[str] = []
        run, objective, _ = check_stage(stage, lines.append)
        return cls(run, objective, lines)


@dataclass(frozen=True)
class StageParts:
    """Checked and loaded parts of a stage."""

    run: Recipe
    objective: Objective
    args: GRPOConfig
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    dataset: Dataset


@dataclass(frozen=True)
class ResumePoint:
    """Checkpoint that a stage resumes from, and lines about it for the user."""

    checkpoint: Path | None
    changes: Start
    """Changes of recipe and launch since the checkpoint."""
    lines: list[str]

    @property
    def step(self) -> int:
        """Of the stage."""
        return int(self.checkpoint.name.rpartition("-")[2]) if self.checkpoint else 0


def train_stage(
    stage: Stage, check: StageCheck, previous: Stage | None, run_dir: Path, start: Start
) -> TerselyTrainer | ColdStartTrainer:
    """Run one stage, from the state of `previous` to its `final` folder."""
    from tersely.core.heartbeat import now
    from tersely.rl.stages import carried_state

    main = is_main_process()
    if main and stage.name:
        log_line(stage.title)
    if stage.kind == "sft":
        from tersely.rl.sft.cold_start import train_cold_start

        return train_cold_start(stage, previous, run_dir, start)
    parts = load_parts(stage, check, previous, run_dir)
    now("starting the engine")
    point = resume_point(stage, parts, start)
    metrics = metrics_file(stage, run_dir, point) if main else None
    for line in point.lines if main else ():
        log_line(line)
    trainer = make_trainer(stage, parts, metrics)
    now("preparing the model and the optimizer")
    trainer.carry_over(carried_state(previous))
    saver = add_callbacks(trainer, parts, metrics)
    try:
        trainer.train(resume_from_checkpoint=str(point.checkpoint) if point.checkpoint else None)
        saver.raise_if_stopped(stage.folder)
        trainer.save_final(stage.final)
    finally:
        trainer.close()
    return trainer


def load_parts(stage: Stage, check: StageCheck, previous: Stage | None, run_dir: Path) -> StageParts:
    """Read the data of a stage and load its model. The main process prints and saves what the user should see."""
    from tersely.algorithms.trial import unread_memory
    from tersely.core.heartbeat import now
    from tersely.data import load_problems_with_card
    from tersely.engines.models import load_model, load_tokenizer
    from tersely.rl.config import grpo_config, world_size
    from tersely.rl.config.prompt_check import check_prompts
    from tersely.rl.update.batch_size import updates_of_a_batch

    main = is_main_process()
    assert check.run is not None and check.objective is not None
    objective = check.objective
    run = replace(check.run, model_name_or_path=stage.recipe.model_name_or_path)
    args = grpo_config(run, objective, world_size())  # made anew: DeepSpeed and transformers take what was made last
    if main:
        for line in check.lines:
            log_line(line)
        (run_dir / "batch.txt").write_text(check.lines[0] + "\n")
    now("reading the dataset")
    tokenizer = load_tokenizer(run.model_name_or_path, args.trust_remote_code)
    dataset, card = load_problems_with_card(
        run.dataset,
        seed=args.seed,
        instruction=run.instruction,
        system_prompt=run.system_prompt,
        columns=objective.columns,
    )
    check_prompts(card, dataset, tokenizer, run, objective, args, log_line if main else None)
    if main:
        (run_dir / "data.json").write_text(card.to_json() + "\n")
    now("loading the model")
    model, tokenizer = load_model(run.model_name_or_path, args)
    planned_steps(args, len(dataset), run)
    if main:
        visits = args.max_steps / updates_of_a_batch(args) * run.prompts_per_step / len(dataset)
        for line in unread_memory(objective, visits, previous is not None and previous.kind == "rl"):
            log_line(f"warning: {line}")
    return StageParts(run, objective, args, model, tokenizer, dataset)


def resume_point(stage: Stage, parts: StageParts, start: Start) -> ResumePoint:
    """The last complete checkpoint of the stage, for `--resume`. Raises `ConfigError` if it does not fit the run."""
    from tersely.data.ids import data_fingerprint
    from tersely.rl.checkpoints import manifest
    from tersely.rl.checkpoints.resume import Start, changed_ranks, from_main, launch_facts, require_same_data

    if not start.resume:
        return ResumePoint(None, start, [])
    last, passed_over = from_main(lambda: manifest.latest_whole(stage.folder))
    if last is None:
        return ResumePoint(None, start, [*passed_over, "no complete checkpoint: starting from step 0"])
    if 0 < parts.args.max_steps < (step := ResumePoint(last, start, []).step):
        raise ConfigError(
            f"max_steps: got {parts.args.max_steps}, but {last.name} has trained {step} steps. Set at least {step}, or "
            "choose another --run_dir"
        )
    state = manifest.component_state(last)
    require_same_data(state, data_fingerprint(parts.dataset), len(parts.dataset))
    moved = Start(True, changed_ranks(state, launch_facts(parts.args)))
    lines = [*passed_over, *moved.lines(), f"resuming from {last.name}"]
    return ResumePoint(last, Start(True, start.changes | moved.changes), lines)


def metrics_file(stage: Stage, run_dir: Path, point: ResumePoint) -> MetricsFile:
    """`metrics.jsonl` of the main process. Its next line records the changes since the checkpoint."""
    from tersely.rl.recording.run_files import MetricsFile

    steps = stage.first_step + point.step
    metrics = MetricsFile(run_dir / "metrics.jsonl", steps, stage.name, stage.first_step)
    if point.changes.changes:
        metrics.write(point.step, point.changes.event())
    return metrics


def make_trainer(stage: Stage, parts: StageParts, metrics: MetricsFile | None) -> TerselyTrainer:
    from tersely.rewards.verify.build import make_verifier
    from tersely.rl.trainer import TerselyTrainer

    verifier = make_verifier(parts.run.verifier)
    verifier.start()  # its imports overlap with loading the model
    return TerselyTrainer(
        run=parts.run,
        objective=parts.objective,
        verifier=verifier,
        engine=make_engine(parts.run, parts.args, parts.tokenizer, parts.objective.sampling),
        first_step=stage.first_step,
        metrics=metrics,
        model=parts.model,
        args=parts.args,
        train_dataset=parts.dataset,
        processing_class=parts.tokenizer,
    )


def add_callbacks(trainer: TerselyTrainer, parts: StageParts, metrics: MetricsFile | None) -> SaveOnSignal:
    """Replace transformers' callbacks by ours. Returns the callback that saves on a signal."""
    from transformers import PrinterCallback, ProgressCallback

    from tersely.rl.checkpoints.save_on_signal import SaveOnSignal
    from tersely.rl.held_out_evaluation import held_out_evaluation
    from tersely.rl.recording.callbacks import Phases, RunFiles, StepLines

    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    saver = SaveOnSignal()
    for callback in (StepLines(), Phases(), saver):
        trainer.add_callback(callback)
    if metrics is not None:
        trainer.add_callback(RunFiles(metrics, trainer.take_logged_rows))
    trained_on, seed = parts.dataset["prompt_id"], parts.args.seed
    held_out = held_out_evaluation(parts.run, seed, trained_on, trainer.trained_model(), metrics, trainer.guards)
    if held_out is not None:
        trainer.add_callback(held_out)
    return saver


def planned_steps(args: Any, rows: int, run: Any) -> None:
    """Convert epochs to steps, because progress, schedules and the prompt stream need the planned number."""
    if args.max_steps > 0:
        return
    batches = max(1, int(rows // run.prompts_per_step * args.num_train_epochs))
    args.max_steps = batches * run.updates_per_batch * args.num_iterations


def batch_table(batch: Any) -> str:
    return "\n".join(f"{name:>18} {value:>8}  {origin}" for name, value, origin in batch.table())
