"""Runs the checks of `tersely preflight` in order and plans the run; `launch/cli/preflight.py` is the command.

recipe, versions, paths      the same checks as at the start of every run
model, tokenizer, data       template, pad and EOS, lengths, memory, disk
--rollouts rollouts          truncation, pass rate, groups, reward terms, verifier; time and cost from measurements
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.core.findings import Finding, failed
from tersely.launch.preflight import time_estimate
from tersely.launch.preflight.cold_estimate import ColdEstimate, cold_estimate
from tersely.rl.check import RLStage, SFTStage, check_stage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import GRPOConfig

PROMPTS = 32
"""Groups of trial rollouts; fewer give a poor estimate of the pass rate."""


FEW = 4
"""Groups of trial rollouts for each later stage."""


def examine(recipe: Recipe, options: Any) -> tuple[list[Finding], list[str]]:
    """(findings, lines of the plan). Raises `ConfigError` for an invalid recipe."""
    from tersely.launch.preflight.static import cheap
    from tersely.rl.config import checked

    recipe = checked(recipe)
    there = time_estimate.target(options, recipe, options.processes)
    stages = [check_stage(stage, there.gpus) for stage in recipe.stages]
    found = [finding for finding in cheap(recipe, there.gpus) if not (there.elsewhere and finding.subject == "gpu")]
    try:
        table = " ".join(" ".join(line.split()[:2]) for line in stages[0].table.splitlines()[:6])
        found.append(Finding("ok", "recipe", f"{len(stages)} stage(s); {table}"))
        found += [finding for stage in stages for finding in stage.findings]
        if failed(found):
            return found, []
        training = [stage for stage in stages if isinstance(stage, RLStage)]
        lines = _with_model(training, [one for one in stages if isinstance(one, SFTStage)], options, found, there)
    except ConfigError as error:
        return [*found, Finding("fail", "recipe", str(error))], []
    return found, lines


def _with_model(
    stages: list[RLStage],
    cold: list[SFTStage],
    options: Any,
    found: list[Finding],
    there: time_estimate.Target,
) -> list[str]:
    """Check model, data, lengths, memory and disk of every stage, then rollouts. `cold`: the supervised stages."""
    from tersely.data import load_problems_with_card
    from tersely.engines.chat import variable_warnings
    from tersely.engines.model_checks import check_template, check_vocabulary, model_config
    from tersely.engines.models import load_tokenizer
    from tersely.launch.preflight import model as about
    from tersely.rl.config.budget_check import check_marker, largest_written
    from tersely.rl.config.prompt_check import prompt_lengths
    from tersely.rl.rollouts.rollout import Template
    from tersely.rl.run import planned_steps
    from tersely.rl.trained_prompting import trained_prompting

    run, objective, args = stages[0].run, stages[0].objective, stages[0].args
    tokenizer = load_tokenizer(run.model_name_or_path, args.trust_remote_code)
    config = model_config(run.model_name_or_path, args.trust_remote_code)
    dataset, card = load_problems_with_card(
        run.dataset,
        seed=args.seed,
        instruction=run.instruction,
        system_prompt=run.system_prompt,
        columns=sorted({name for stage in stages for name in stage.objective.columns}),
    )
    planned_steps(args, len(dataset), run)
    found.append(Finding("ok", "data", f"{card.rows} problems, fingerprint {card.fingerprint}"))
    found += variable_warnings(tokenizer, args.chat_template_kwargs)
    found += about.tokenizer_findings(tokenizer, Template.of(tokenizer, args.chat_template_kwargs))
    prompting = trained_prompting(run, args, objective.prompting)
    check_template(tokenizer, args.chat_template_kwargs, run.system_prompt)
    check_vocabulary(run.model_name_or_path, tokenizer, config)
    longest = max(prompt_lengths(tokenizer, dataset, prompting))
    first = dataset[0]["prompt"]
    found.append(Finding("note", "prompt", repr(prompting.text(tokenizer, first))))
    if options.show_tokens:
        found.append(Finding("note", "prompt", f"as tokens: {prompting.ids(tokenizer, first)}"))
    shape = about.shape_of(config, run.peft)
    how = options.sharding or (("zero2" if there.gpus > 1 else "none") if there.elsewhere else about.sharding())
    for one in stages:
        check_marker(one.run, one.objective, tokenizer)
        name, most = one.stage.name, longest + largest_written(one.run, one.objective, tokenizer)
        length = most + one.args.max_completion_length
        judged = [
            *about.length_findings(most, one.args, config),
            *about.memory_findings(shape, one.run, one.args, length, how, there),
        ]
        found += [replace(finding, text=f"stage {name}: {finding.text}") if name else finding for finding in judged]
    warm = [cold_estimate(one, len(dataset)) for one in cold]
    for plan in warm:
        room = longest + plan.args.max_completion_length
        for finding in about.memory_findings(shape, plan.run, plan.args, room, how, there, plan):
            found.append(replace(finding, text=f"stage {plan.name}: {finding.text}"))
    args.max_steps = sum(stage.args.max_steps for stage in stages)
    folder = Path(run.run_dir).absolute()
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    found.append(about.disk_finding(shape, args, there.half, how, None if there.elsewhere else free))
    if options.rollouts != 0 and not failed(found):
        return _with_rollouts(stages, warm, options, tokenizer, dataset, found, there, shape, how)
    return [plan.line() for plan in warm]


def _with_rollouts(
    stages: list[RLStage],
    warm: list[ColdEstimate],
    options: Any,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Any,
    found: list[Finding],
    there: time_estimate.Target,
    shape: Any,
    how: str,
) -> list[str]:
    """Sample rollouts of the first stage, for the plan of all stages, and a few of each other stage, for reward sizes."""
    from tersely.engines.adapter import trained_parts
    from tersely.engines.factory import make_engine, own_engine
    from tersely.engines.models import load_model
    from tersely.launch.preflight.estimates import estimated_lines, measured_lines, update_seconds
    from tersely.launch.preflight.outline import deadline_findings, slowest, waits_without_progress
    from tersely.launch.preflight.trial_rollouts import judge, size_findings, try_rollouts

    run, objective, args = stages[0].run, stages[0].objective, stages[0].args
    model: Any = None
    engine = make_engine(run, args, tokenizer, objective.sampling)
    if engine is None:
        model = _loaded(load_model, run, args)
        engine = own_engine(run, args, tokenizer, model)
    number = PROMPTS * run.group_size if options.rollouts is None else options.rollouts
    try:
        trial = try_rollouts(run, objective, args, tokenizer, dataset, engine, number)
        judged = judge(trial, run, args.max_completion_length)
        found += [before_cold_start(one) for one in judged] if warm else judged
        for stage in stages[1:]:
            few = min(number, FEW * stage.run.group_size)
            sizes = try_rollouts(stage.run, stage.objective, stage.args, tokenizer, dataset, engine, few)
            where = f"stage {stage.stage.name}, {few} rollouts of the untrained model"
            for finding in size_findings(sizes.sizes, sizes.divides):
                found.append(replace(finding, text=f"{where}: {finding.text}"))
    finally:
        engine.close()
    for record in trial.records[: options.show]:
        print(f"--- {record.status}, {record.length} tokens\n{record.problem}\n> {record.text}\n", file=sys.stderr)
    rows = len(dataset)
    if there.elsewhere:
        work = time_estimate.Workload.of(run, args, there, trial.mean_tokens, trial.prompt_tokens, trial.kept)
        backward_s = slowest(shape, work, there.kinds)["backward"]
        waits = waits_without_progress(run, shape, there.half, how, backward_s)
        found += deadline_findings(run.deadline_seconds, waits, " there")
        colds = [plan.hours(shape, there, trial.mean_tokens, trial.prompt_tokens) for plan in warm]
        more = {name: sum(hours[name] for hours in colds) for name in (colds[0] if colds else ())}
        lines = estimated_lines(trial, shape, work, run, args, there, rows, options.price_per_hour, more)
        return [*(plan.line() for plan in warm), *lines]
    model = trained_parts(_loaded(load_model, run, args) if model is None else model, run.peft)
    update_s = update_seconds(model.train(), trial, run, args, tokenizer, dataset)
    to_the_cap = (trial.prompt_tokens + args.max_completion_length) / (trial.prompt_tokens + trial.mean_tokens)
    waits = waits_without_progress(run, shape, there.half, how, update_s * to_the_cap)
    found += deadline_findings(run.deadline_seconds, waits, "")
    more_s = sum(plan.seconds_here(trial, update_s, run.micro_batch, there.gpus) for plan in warm)
    lines, _ = measured_lines(trial, update_s, run, args, there.gpus, rows, options.price_per_hour, more_s)
    return [*(plan.line() for plan in warm), *lines]


def before_cold_start(one: Finding) -> Finding:
    """Downgrade findings about the model before its cold start to notes, because the cold start changes the model."""
    if one.level not in ("fail", "warn"):
        return one
    text = f"{one.text} (before the cold start, which changes the model)"
    return replace(one, level="note", text=text, fix="")


def _loaded(load_model: Any, run: Recipe, args: GRPOConfig) -> Any:
    model, _ = load_model(run.model_name_or_path, args, run.peft)
    return model.to(args.device)
