"""`accelerate launch -m tersely.launch.train --config recipe.yaml [--learning_rate 2e-6 ...]`: one training run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tersely.checks import SpecError
from tersely.launch import planning
from tersely.launch.options import Parser, check_keys, note, number
from tersely.places import place_option


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, check, train. Every key of a recipe is also an option; the command line wins.

    Exit status: 75 for a run that saved and stopped because it was asked to (`tersely.rl.stopping`).
    """
    from tersely.rl import stopping

    stopping.block()
    parser = Parser(
        prog="tersely train",
        usage="tersely train RECIPE [options] [--any_key_of_a_recipe VALUE ...]",
        description="Train RECIPE, a recipe file or the name of a shipped one (`tersely recipes` lists them). Any key of "
        "the recipe can be given as an option (--learning_rate 2e-6), and a part of one too (--reward.beta 0.3)",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", type=place_option, metavar="RECIPE", help="the recipe under accelerate launch, in place of RECIPE"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last whole checkpoint of run_dir")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the resolved recipe, the batch table and the plan, and stop"
    )
    parser.add_argument("--show-tokens", action="store_true", help="with --dry-run: the prompt as token ids too")
    planning.add_options(parser)
    parser.add_argument(
        "--mean-tokens", type=number(above=0), metavar="N", help="of an answer, for the plan; half the cap otherwise"
    )
    parser.add_argument("--skip-preflight", action="store_true", help="start without the checks that come first")
    options, rest = parser.parse_known_args(argv)
    name, rest = recipe_and_overrides(options.config, rest)
    from tersely.configs.load import load_recipe
    from tersely.launch.guard import DIE_WITH_PARENT, die_with_parent
    from tersely.launch.sweep import require_single_values
    from tersely.rl.sections import export_env

    require_single_values(rest)
    if os.environ.get(DIE_WITH_PARENT):
        die_with_parent()
    recipe = load_recipe(name, overrides_from(rest), note)
    check_keys(recipe, parser)
    export_env(recipe)
    if options.dry_run:
        from tersely.launch.outline import dry_run

        return dry_run(recipe, options)
    if given := [name for name in ("gpus", "gpu_memory", "mean_tokens") if getattr(options, name) is not None]:
        raise SpecError(f"--{given[0].replace('_', '-')}: it only changes the plan of --dry-run; add --dry-run")
    preflight(recipe, options.skip_preflight)
    try:
        train(recipe, resume=options.resume)
    except stopping.SavedAndStopped as stopped:
        say(str(stopped))
        return stopped.exit_code
    return 0


def recipe_and_overrides(config: str | None, words: Sequence[str]) -> tuple[str, list[str]]:
    """(recipe, the words of its overrides): the recipe is `--config`, or the first word that is no value of an option."""
    words = list(words)
    if config is not None:
        return config, words
    after_key = False
    for index, word in enumerate(words):
        if not word.startswith("--") and not after_key:
            return word, words[:index] + words[index + 1 :]
        after_key = word.startswith("--") and "=" not in word
    raise SpecError("tersely train needs a recipe: a file, or the name of a shipped one (`tersely recipes` lists them)")


def overrides_from(arguments: Sequence[str]) -> dict[str, Any]:
    """`--key value` pairs; a key without a value is true, and a key may be dotted (`reward.beta`)."""
    from tersely.configs.overrides import parse_value

    overrides: dict[str, Any] = {}
    position = 0
    while position < len(arguments):
        key, found, value = arguments[position].partition("=")
        if not key.startswith("--"):
            raise SpecError(f"{arguments[position]!r} stands alone; options look like --learning_rate 2e-6")
        position += 1
        if not found and position < len(arguments) and not arguments[position].startswith("--"):
            value, found = arguments[position], "="
            position += 1
        overrides[key[2:]] = parse_value(key[2:], value) if found else True
    return overrides


def preflight(recipe: dict[str, Any], skip: bool = False) -> None:
    """The checks that cost no model, on every rank; the first one says what should be known.

    Without them it still refuses an adapter, and says whose code will run.
    """
    from tersely.launch.preflight_checks import check_run, remote_code
    from tersely.rl.config import split_recipe
    from tersely.rl.models import require_no_adapter

    tell = say if os.environ.get("RANK", "0") == "0" else lambda text: None
    if not skip and split_recipe(recipe)[0].preflight:
        check_run(recipe, tell)
        return
    require_no_adapter(str(recipe.get("model_name_or_path")))
    for finding in remote_code(recipe):
        tell(f"warning: {finding.line}")


def check_stage(stage: Any, tell: Any, ranks: int | None = None) -> tuple[Any, Any, Any]:
    """(run, objective, TRL's config) of a stage; what the user should see of them goes to `tell`.

    `ranks` are those that the run will have, where they are not those of this launch.
    """
    try:
        return _checked(stage, tell, ranks)
    except SpecError as error:
        if stage.name is None or str(error).startswith("stage "):
            raise
        raise SpecError(f"stage {stage.name}: {error}") from error


def _checked(stage: Any, tell: Any, ranks: int | None) -> tuple[Any, Any, Any]:
    from tersely.rl.build_check import check_build
    from tersely.rl.config import grpo_config, ratio_is_one, split_recipe, world_size
    from tersely.rl.data.columns import first_values
    from tersely.rl.guards.feed import require_for_guards
    from tersely.rl.planned_update import notice
    from tersely.rl.rehearsal import rehearse
    from tersely.rl.rollback import require_for_controllers
    from tersely.rl.sections import check_data
    from tersely.rl.validate import ignored_warmup, warnings_of

    if stage.kind == "sft":
        from tersely.rl.coldstart import ColdStart

        tell(ColdStart.of(stage).table())
        return None, None, None
    run, trl_values = split_recipe(stage.recipe)
    objective = run.objective(trl_values)
    batch = run.batch_plan(ranks or world_size())
    tell(batch_table(batch))
    args = grpo_config(run, trl_values, objective, world_size())
    row = first_values(check_data(run, args.seed), objective.columns, args.seed)
    check_build(run, args)
    require_for_guards(run, args)
    require_for_controllers(run, objective, args)
    rehearse(objective, run.group_size, args.max_completion_length, row)
    stated = {"updates_per_batch", "num_iterations"} & stage.recipe.keys()
    once = not stated and ratio_is_one(batch, int(trl_values.get("num_iterations", 1)))
    top_p = float(trl_values.get("top_p", 1.0))
    found = warnings_of(objective, ratio_is_one=once, engine=run.engine, top_p=top_p, group_size=run.group_size)
    for line in [*found, *ignored_warmup(trl_values)]:
        tell(f"warning: {line}")
    if said := notice(run, trl_values, objective.policy):
        tell(said)
    return run, objective, args


def check_recipe(recipe: dict[str, Any], ranks: int | None) -> None:
    """Raise `SpecError` for a recipe that `tersely train` would refuse. For launchers, which may have no GPU themselves."""
    import torch

    from tersely.rl.config import split_recipe
    from tersely.rl.stages import stages_of

    needs_gpu = () if torch.cuda.is_available() else ("fp16", "tf32")
    recipe = {key: value for key, value in recipe.items() if key not in needs_gpu}
    if recipe.get("engine") == "vllm_server" and not recipe.get("servers"):
        recipe["servers"] = ["http://127.0.0.1:8000"]  # the launcher starts them
    split_recipe(recipe)
    for stage in stages_of(recipe):
        check_stage(stage, lambda text: None, ranks)


def train(recipe: dict[str, Any], resume: bool = False) -> Any:
    """One run, from the recipe to the last weights, stage by stage. Returns the last stage's trainer.

    Raises `SavedAndStopped` where it was asked to save and stop.
    """
    from accelerate.utils.memory import clear_device_cache

    from tersely.rl.config import split_recipe
    from tersely.rl.cpu_ranks import load_as_cpu
    from tersely.rl.deadlines import now, watched
    from tersely.rl.resume import Start, from_main
    from tersely.rl.run_dir import prepare
    from tersely.rl.safe_loading import weights_only
    from tersely.rl.stages import publish, stages_of

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
                if trainer is not None:  # or its model and optimiser would lie beside this stage's
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
    from tersely.rl.batch import updates_of_a_batch
    from tersely.rl.data import load_problems_with_card
    from tersely.rl.deadlines import now
    from tersely.rl.models import load_model, load_tokenizer
    from tersely.rl.prompt_check import check_prompts
    from tersely.rl.rehearsal import unread_memory

    main_process = os.environ.get("RANK", "0") == "0"
    if main_process and stage.name:
        say(stage.title)
    if stage.kind == "sft":
        from tersely.rl.coldstart import train_cold_start

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

    from tersely.rewards.verify.build import make_verifier
    from tersely.rl import checkpoint
    from tersely.rl.callbacks import Phases, RunFiles, StepLines
    from tersely.rl.data.identity import data_fingerprint
    from tersely.rl.deadlines import now
    from tersely.rl.evaluation import held_out_evaluation
    from tersely.rl.resume import Start, changed_ranks, from_main, launch_facts, require_same_data
    from tersely.rl.save_on_signal import SaveOnSignal
    from tersely.rl.stages import carried_state
    from tersely.rl.trainer import TerselyTrainer

    main_process = os.environ.get("RANK", "0") == "0"
    last, passed_over = from_main(lambda: checkpoint.latest_whole(stage.folder)) if start.resume else (None, [])
    moved = Start(start.resume)
    if last:
        state = checkpoint.component_state(last)
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


def make_engine(run: Any, args: Any, tokenizer: Any, sampling: Any = None) -> Any:
    """None for the trained model itself; the servers of the recipe, or a vLLM engine of this rank's own, otherwise."""
    if run.engine == "transformers":
        return None
    if run.engine == "vllm_server":
        from tersely.rl.vllm_server import ServerEngine

        # no progress for this long, like the deadline itself, and before it, so that the server is named
        limit = 0.9 * run.deadline_seconds
        return ServerEngine(
            run.servers,
            tokenizer,
            weights_dir=Path(run.run_dir) / "served_weights",
            start_s=min(600.0, limit),
            sync_s=min(600.0, limit),
            probe_s=min(60.0, limit / 4),
            silent_s=limit,
        )
    from tersely.rl.models import model_location
    from tersely.rl.vllm_engine import VLLMEngine

    return VLLMEngine(
        model_location(run.model_name_or_path),
        tokenizer,
        max_model_len=args.vllm_max_model_length,
        max_num_seqs=run.max_num_seqs,
        gpu_memory_utilization=args.vllm_gpu_memory_utilization,
        enable_sleep_mode=args.vllm_enable_sleep_mode,
        seed=args.seed,
        sampling=sampling,
    )


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


if __name__ == "__main__":
    from tersely.launch.cli import run_command
    from tersely.launch.ending import end_process

    end_process(run_command(main, sys.argv[1:]))
