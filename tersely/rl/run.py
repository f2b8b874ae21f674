"""Runs a recipe, stage by stage: `train(recipe)` builds data, model, engine and trainer, and trains."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tersely.core.errors import ConfigError
from tersely.engines.factory import make_engine


def check_stage(stage: Any, tell: Any, ranks: int | None = None) -> tuple[Any, Any, Any]:
    """(run, objective, TRL's config) of a stage; what the user should see of them goes to `tell`.

    `ranks` are those that the run will have, where they are not those of this launch.
    """
    from tersely.rl.stages import StageError

    try:
        return _checked(stage, tell, ranks)
    except StageError:
        raise
    except ConfigError as error:
        if stage.name is None:
            raise
        raise StageError(stage.name, str(error)) from error


def _checked(stage: Any, tell: Any, ranks: int | None) -> tuple[Any, Any, Any]:
    from tersely.algorithms.checks import ignored_warmup, warnings_of
    from tersely.algorithms.trial import require_budgets, trial_score
    from tersely.data.columns import first_values
    from tersely.engines.registry import capabilities_of
    from tersely.rl.checkpoints.rollback import require_for_controllers
    from tersely.rl.config import grpo_config, ratio_is_one, split_recipe, world_size
    from tersely.rl.config.build_check import check_build
    from tersely.rl.config.sections import check_data
    from tersely.rl.guards.callback import require_for_guards
    from tersely.rl.update.micro_batches import notice

    if stage.kind == "sft":
        from tersely.rl.sft.spec import ColdStart

        tell(ColdStart.of(stage).table())
        return None, None, None
    run, trl_values = split_recipe(stage.recipe)
    objective = run.objective(trl_values)
    batch = run.batch_layout(ranks or world_size())
    tell(batch_table(batch))
    args = grpo_config(run, trl_values, objective, world_size())
    row = first_values(check_data(run, args.seed), objective.columns, args.seed)
    check_build(run, args)
    require_for_guards(run, args)
    require_for_controllers(run, objective, args)
    trial_score(objective, run.group_size, args.max_completion_length, row)
    require_budgets(objective, run.group_size)
    stated = {"updates_per_batch", "num_iterations"} & stage.recipe.keys()
    once = not stated and ratio_is_one(batch, int(trl_values.get("num_iterations", 1)))
    top_p = float(trl_values.get("top_p", 1.0))
    found = warnings_of(
        objective,
        ratio_is_one=once,
        sampler_logprobs=capabilities_of(run.engine).sampler_logprobs,
        top_p=top_p,
        group_size=run.group_size,
    )
    for line in [*found, *ignored_warmup(trl_values)]:
        tell(f"warning: {line}")
    if said := notice(run, trl_values, objective.loss):
        tell(said)
    return run, objective, args


def check_recipe(recipe: dict[str, Any], ranks: int | None) -> None:
    """Raise `ConfigError` for a recipe that `tersely train` would refuse. For launchers, which may have no GPU themselves."""
    import torch

    from tersely.engines.registry import needs_servers
    from tersely.rl.config import split_recipe
    from tersely.rl.config.prompt_check import check_first_rows
    from tersely.rl.stages import stages_of

    needs_gpu = () if torch.cuda.is_available() else ("fp16", "tf32")
    recipe = {key: value for key, value in recipe.items() if key not in needs_gpu}
    if needs_servers(recipe):
        recipe["servers"] = ["http://127.0.0.1:8000"]  # the launcher starts them
    split_recipe(recipe)
    for stage in stages_of(recipe):
        run, _, args = check_stage(stage, lambda text: None, ranks)
        if run is not None:
            check_first_rows(run, args.seed)


def train(recipe: dict[str, Any], resume: bool = False) -> Any:
    """One run, from the recipe to the last weights, stage by stage. Returns the last stage's trainer.

    Raises `SavedAndStopped` where it was asked to save and stop.
    """
    from accelerate.utils.memory import clear_device_cache

    from tersely.core.heartbeat import now
    from tersely.rl.checkpoints.resume import Start, from_main
    from tersely.rl.checkpoints.safe_load import weights_only
    from tersely.rl.config import split_recipe
    from tersely.rl.cpu_ranks import load_as_cpu
    from tersely.rl.recording.run_dir import prepare
    from tersely.rl.stages import publish, stages_of
    from tersely.rl.watchdog import watched

    load_as_cpu()
    weights_only()
    main_process = os.environ.get("RANK", "0") == "0"
    run = split_recipe(recipe)[0]
    run_dir = Path(run.run_dir)
    stages = stages_of(recipe)
    with watched(run_dir, run.deadline_seconds):
        now("joining the other ranks")  # TRL's config makes the process group
        for stage in stages:
            check_stage(stage, lambda text: None)
        start = from_main(lambda: prepare(run_dir, recipe, resume))
        if main_process:
            for line in start.lines():
                say(line)
        trainer = previous = None
        for stage in stages:
            if start.resume and from_main(stage.finished):
                say(f"{stage.title}: done before") if main_process else None
            else:
                if trainer is not None:  # or its model and optimiser would stay in memory with this stage's
                    trainer.accelerator.free_memory()
                    trainer = None
                    clear_device_cache(garbage_collection=True)
                trainer = train_stage(stage.after(previous), previous, run_dir, start)
                start = Start(start.resume)  # the changes are recorded once
            previous = stage
        if main_process:
            publish(stages, run_dir)
    return trainer


def train_stage(stage: Any, previous: Any, run_dir: Path, start: Any) -> Any:
    """One stage, from what `previous` left to its own `final`."""
    from tersely.algorithms.trial import unread_memory
    from tersely.core.heartbeat import now
    from tersely.data import load_problems_with_card
    from tersely.engines.models import load_model, load_tokenizer
    from tersely.rl.config.prompt_check import check_prompts
    from tersely.rl.update.batch_size import updates_of_a_batch

    main_process = os.environ.get("RANK", "0") == "0"
    if main_process and stage.name:
        say(stage.title)
    if stage.kind == "sft":
        from tersely.rl.sft.cold_start import train_cold_start

        return train_cold_start(stage, previous, run_dir, start)
    shown: list[str] = []
    run, objective, args = check_stage(stage, shown.append)
    if main_process:
        say("\n".join(shown))
        (run_dir / "batch.txt").write_text(shown[0] + "\n")
    now("reading the dataset")
    tokenizer = load_tokenizer(run.model_name_or_path, args.trust_remote_code)
    dataset, card = load_problems_with_card(
        run.dataset,
        seed=args.seed,
        instruction=run.instruction,
        system_prompt=run.system_prompt,
        columns=objective.columns,
    )
    check_prompts(card, dataset, tokenizer, run, objective, args, say if main_process else None)
    if main_process:
        (run_dir / "data.json").write_text(card.to_json() + "\n")
    now("loading the model")
    model, tokenizer = load_model(run.model_name_or_path, args)
    now("starting the engine")
    planned_steps(args, len(dataset), run)
    if main_process:
        visits = args.max_steps / updates_of_a_batch(args) * run.prompts_per_step / len(dataset)
        for line in unread_memory(objective, visits, previous is not None and previous.kind == "rl"):
            say(f"warning: {line}")
    return _run(stage, previous, run_dir, start, run, objective, args, model, tokenizer, dataset)


def _run(stage, previous, run_dir, start, run, objective, args, model, tokenizer, dataset) -> Any:
    from transformers import PrinterCallback, ProgressCallback

    from tersely.core.heartbeat import now
    from tersely.data.ids import data_fingerprint
    from tersely.rewards.verify.build import make_verifier
    from tersely.rl.checkpoints import manifest
    from tersely.rl.checkpoints.resume import Start, changed_ranks, from_main, launch_facts, require_same_data
    from tersely.rl.checkpoints.save_on_signal import SaveOnSignal
    from tersely.rl.held_out_evaluation import held_out_evaluation
    from tersely.rl.recording.callbacks import Phases, RunFiles, StepLines
    from tersely.rl.stages import carried_state
    from tersely.rl.trainer import TerselyTrainer

    main_process = os.environ.get("RANK", "0") == "0"
    last, passed_over = from_main(lambda: manifest.latest_whole(stage.folder)) if start.resume else (None, [])
    moved = Start(start.resume)
    if last:
        state = manifest.component_state(last)
        require_same_data(state, data_fingerprint(dataset), len(dataset))
        moved = Start(True, changed_ranks(state, launch_facts(args)))
        start = Start(True, start.changes | moved.changes)
    if main_process:
        for line in passed_over:
            say(line)
        for line in moved.lines():
            say(line)
        if start.resume:
            say(f"going on from {last.name}" if last else "no whole checkpoint: starting from step 0")
    trainer = TerselyTrainer(
        run=run,
        objective=objective,
        verifier=make_verifier(run.verifier),
        engine=make_engine(run, args, tokenizer, objective.sampling),
        first_step=stage.first_step,
        model=model,
        args=args,
        train_dataset=dataset,
        processing_class=tokenizer,
    )
    now("preparing the model and the optimizer")
    trainer.carry_over(carried_state(previous))
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(StepLines())
    trainer.add_callback(Phases())
    saver = SaveOnSignal()
    trainer.add_callback(saver)
    metrics = None
    if main_process:
        step = int(last.name.rpartition("-")[2]) if last else 0
        files = RunFiles(run_dir, trainer, step, stage.name, stage.first_step)
        if start.changes:
            files.metrics.write(step, start.event())
        trainer.add_callback(files)
        metrics = files.metrics
    if (held_out := held_out_evaluation(run, trainer, args.seed, metrics)) is not None:
        trainer.add_callback(held_out)
    try:
        trainer.train(resume_from_checkpoint=str(last) if last else None)
        saver.raise_if_stopped(stage.folder)
        trainer.save_final(stage.final)
    finally:
        trainer.grader.close()
        trainer.engine.close()
    return trainer


def planned_steps(args: Any, rows: int, run: Any) -> None:
    """Epochs as steps: progress, schedules and the prompt stream need the planned number."""
    if args.max_steps > 0:
        return
    batches = max(1, int(rows // run.prompts_per_step * args.num_train_epochs))
    args.max_steps = batches * run.updates_per_batch * args.num_iterations


def batch_table(batch: Any) -> str:
    return "\n".join(f"{name:>18} {value:>8}  {origin}" for name, value, origin in batch.table())


def say(text: str) -> None:
    print(text, flush=True)
