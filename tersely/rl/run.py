"""Runs a recipe, stage by stage: `train(recipe)` builds data, model, engine and trainer, and trains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tersely.configs.recipe import Recipe, Stage
from tersely.core.errors import ConfigError
from tersely.core.findings import Finding
from tersely.core.logging import is_main_process, log_finding, log_line
from tersely.engines.factory import make_engine
from tersely.rl.check import RLStage, SFTStage, check_stage

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


def train(recipe: Recipe, resume: bool = False) -> TerselyTrainer | ColdStartTrainer | None:
    """One run, from the recipe to the last weights, stage by stage. Returns the last stage's trainer; None if a resumed run
    had already finished.

    Raises `ConfigError` for an invalid recipe, and `SavedAndStopped` after a request to save and stop.
    """
    from tersely.rl.config import checked

    return train_checked(checked(recipe), resume)


def train_checked(recipe: Recipe, resume: bool = False) -> TerselyTrainer | ColdStartTrainer | None:
    """As `train`, for a recipe that `tersely.rl.config.checked` returned."""
    from accelerate.utils.memory import clear_device_cache

    from tersely.core.heartbeat import now
    from tersely.rl.checkpoints.resume import Start, from_main
    from tersely.rl.checkpoints.safe_load import weights_only
    from tersely.rl.cpu_ranks import load_as_cpu
    from tersely.rl.recording.run_dir import prepare
    from tersely.rl.stages import finished, publish
    from tersely.rl.watchdog import watched

    load_as_cpu()
    weights_only()
    main_process = is_main_process()
    run_dir = Path(recipe.run_dir)
    with watched(run_dir, recipe.deadline_seconds):
        now("joining the other ranks")  # TRL's config creates the process group
        checks = [check_stage(stage) for stage in recipe.stages]
        start = from_main(lambda: prepare(recipe, resume))
        for finding in start.findings() if main_process else ():
            log_finding(finding)
        trainer: TerselyTrainer | ColdStartTrainer | None = None
        previous: Stage | None = None
        for check in checks:
            stage = check.stage
            if start.resume and from_main(partial(finished, stage)):
                if main_process:
                    log_line(f"{stage.title}: already finished")
            else:
                if trainer is not None:  # otherwise its model and optimizer would stay in memory
                    trainer.accelerator.free_memory()
                    trainer = None
                    clear_device_cache(garbage_collection=True)
                trainer = train_stage(check.after(previous), previous, run_dir, start)
                start = Start(start.resume)  # the changes are recorded once
            previous = stage
        if main_process:
            publish(recipe.stages, run_dir)
    return trainer


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
    findings: list[Finding]
    """About the changes of the launch."""
    lines: list[str]

    @property
    def step(self) -> int:
        """Of the stage."""
        return int(self.checkpoint.name.rpartition("-")[2]) if self.checkpoint else 0


def train_stage(
    check: RLStage | SFTStage, previous: Stage | None, run_dir: Path, start: Start
) -> TerselyTrainer | ColdStartTrainer:
    """Run one stage, from the state of `previous` to its `final` folder."""
    from tersely.core.heartbeat import now
    from tersely.rl.stages import carried_state

    main, stage = is_main_process(), check.stage
    if main and stage.name:
        log_line(stage.title)
    if isinstance(check, SFTStage):
        from tersely.rl.sft.cold_start import train_cold_start

        return train_cold_start(check, previous, run_dir, start)
    parts = load_parts(check, previous, run_dir)
    now("starting the engine")
    point = resume_point(stage, parts, start)
    metrics = metrics_file(stage, run_dir, point) if main else None
    if main:
        for finding in point.findings:
            log_finding(finding)
        for line in point.lines:
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


def load_parts(check: RLStage, previous: Stage | None, run_dir: Path) -> StageParts:
    """Read the data of a stage and load its model. The main process prints and saves what the user should see."""
    from tersely.algorithms.trial import unread_memory
    from tersely.core.heartbeat import now
    from tersely.data import load_problems_with_card
    from tersely.engines.models import load_model, load_tokenizer
    from tersely.rl.config import grpo_config, world_size
    from tersely.rl.config.prompt_check import check_prompts
    from tersely.rl.update.batch_size import updates_of_a_batch

    main, run, objective = is_main_process(), check.run, check.objective
    args = grpo_config(run, objective, world_size())  # made anew: DeepSpeed and transformers take what was made last
    if main:
        log_line(check.table)
        for finding in check.findings:
            log_finding(finding)
        (run_dir / "batch.txt").write_text(check.table + "\n")
    now("reading the dataset")
    tokenizer = load_tokenizer(run.model_name_or_path, args.trust_remote_code)
    dataset, card = load_problems_with_card(
        run.dataset,
        seed=args.seed,
        instruction=run.instruction,
        system_prompt=run.system_prompt,
        columns=objective.columns,
    )
    check_prompts(card, dataset, tokenizer, run, objective, args, log_finding if main else None)
    if main:
        (run_dir / "data.json").write_text(card.to_json() + "\n")
    now("loading the model")
    model, tokenizer = load_model(run.model_name_or_path, args, run.peft)
    planned_steps(args, len(dataset), run)
    if main:
        visits = args.max_steps / updates_of_a_batch(args) * run.prompts_per_step / len(dataset)
        for finding in unread_memory(objective, visits, previous is not None and previous.kind == "rl"):
            log_finding(finding)
    return StageParts(run, objective, args, model, tokenizer, dataset)


def resume_point(stage: Stage, parts: StageParts, start: Start) -> ResumePoint:
    """The last complete checkpoint of the stage, for `--resume`. Raises `ConfigError` if it does not fit the run."""
    from tersely.data.ids import data_fingerprint
    from tersely.rl.checkpoints import manifest
    from tersely.rl.checkpoints.resume import Start, changed_ranks, from_main, launch_facts, require_same_data

    if not start.resume:
        return ResumePoint(None, start, [], [])
    last, passed_over = from_main(lambda: manifest.latest_whole(stage.folder))
    if last is None:
        return ResumePoint(None, start, [], [*passed_over, "no complete checkpoint: starting from step 0"])
    if 0 < parts.args.max_steps < (step := ResumePoint(last, start, [], []).step):
        raise ConfigError(
            f"max_steps: got {parts.args.max_steps}, but {last.name} has trained {step} steps. Set at least {step}, or "
            "choose another --run_dir"
        )
    state = manifest.component_state(last)
    require_same_data(state, data_fingerprint(parts.dataset), len(parts.dataset))
    moved = Start(True, changed_ranks(state, launch_facts(parts.args)))
    changes = Start(True, start.changes | moved.changes)
    return ResumePoint(last, changes, moved.findings(), [*passed_over, f"resuming from {last.name}"])


def metrics_file(stage: Stage, run_dir: Path, point: ResumePoint) -> MetricsFile:
    """`metrics.jsonl` of the main process. Its next line records the changes since the checkpoint."""
    from tersely.rl.recording.run_files import MetricsFile

    steps = stage.first_step + point.step
    metrics = MetricsFile(run_dir / "metrics.jsonl", steps, stage.name, stage.first_step)
    if point.changes.changes:
        metrics.write(point.step, point.changes.event())
    return metrics


def make_trainer(stage: Stage, parts: StageParts, metrics: MetricsFile | None) -> TerselyTrainer:
    from tersely.engines.adapter import new_adapter
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
        peft_config=new_adapter(parts.run.peft, parts.model),
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


def planned_steps(args: GRPOConfig, rows: int, run: Recipe) -> None:
    """Convert epochs to steps, because progress, schedules and the prompt stream need the planned number."""
    if args.max_steps > 0:
        return
    batches = max(1, int(rows // run.prompts_per_step * args.num_train_epochs))
    args.max_steps = batches * run.updates_per_batch * args.num_iterations
