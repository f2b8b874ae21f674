"""The plan that `--dry-run` prints before anything is loaded: steps, epochs, tokens, memory, disk, hours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.core.findings import Finding
from tersely.engines.registry import capabilities_of
from tersely.launch.preflight import time_estimate
from tersely.launch.preflight.memory_estimate import checkpoint_bytes
from tersely.launch.preflight.time_estimate import GIB, Gpu, Target, Workload, amount, duration, known_rows, seconds
from tersely.rl.check import RLStage, SFTStage, check_stage

if TYPE_CHECKING:
    from trl import GRPOConfig

PROMPT_TOKENS = 200
"""Assumed prompt tokens if no prompt was read."""
CALM = 0.5
"""Share of deadline_seconds that a phase may take without a warning."""
DISK_RATE = 0.2e9
"""Assumed read and write rate of a shared file system, bytes per second."""


def dry_run(recipe: Recipe, options: Any) -> int:
    """Run all checks that need no model, and print the plan of the run."""
    import yaml

    from tersely.core.redact import redacted
    from tersely.launch.preflight.model import sharding
    from tersely.launch.preflight.static import require_writable, unread_steps
    from tersely.rl.config import checked, world_size
    from tersely.rl.config.prompt_check import check_first_rows, example_prompt

    recipe = checked(recipe)
    require_writable(recipe.run_dir)
    there = time_estimate.target(options, recipe, world_size())
    shown = redacted(recipe.written)
    print(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True), end="")
    stages: list[RLStage | SFTStage] = []
    for stage in recipe.stages:
        if stage.name:
            print(f"\n# {stage.title}")
            print(yaml.safe_dump(stage.changes(shown), sort_keys=False, allow_unicode=True), end="")
        stages.append(check_stage(stage, there.gpus))
        print(stages[-1].table)
        for finding in stages[-1].findings:
            print(leveled(finding))
    for finding in unread_steps(recipe):
        print(leveled(finding))
    how = ("zero2" if there.gpus > 1 else "none") if there.elsewhere else sharding()
    for line in dry_run_lines(stages, there, how, options.mean_tokens):
        print(line)
    if training := [one for one in stages if isinstance(one, RLStage)]:
        first = training[0]
        check_first_rows(first.run, first.args.seed)
        print(example_prompt(first.run, first.objective, first.args, tokens=options.show_tokens))
    return 0


def dry_run_lines(
    checks: Sequence[RLStage | SFTStage], there: Target, how: str, mean_tokens: float | None = None
) -> Iterator[str]:
    """Plan of all stages together."""
    from tersely.launch.preflight.cold_estimate import cold_estimate
    from tersely.rl.run import planned_steps

    stages = [(one.run, one.args) for one in checks if isinstance(one, RLStage)]
    hours: dict[str, float] = {}
    tokens = 0.0
    warm = [cold_estimate(one) for one in checks if isinstance(one, SFTStage)]
    for plan in warm:
        yield plan.line()
        tokens += plan.rollouts * (mean_tokens or plan.args.max_completion_length / 2)
    for run, args in stages:
        rows = known_rows(run.dataset)
        if args.max_steps <= 0 and rows is None:
            yield "plan: no max_steps, and the size of the dataset is not known before it is read"
            return
        planned_steps(args, rows or 0, run)
        if mean_tokens and mean_tokens > args.max_completion_length:
            raise ConfigError(
                f"--mean-tokens: got {mean_tokens:g}; expected at most the cap of {args.max_completion_length}"
            )
        mean = mean_tokens or args.max_completion_length / 2
        yield steps_line(run, args, there.gpus, rows, read=False)
        tokens += batches_of(run, args) * run.prompts_per_step * run.group_size * mean
    basis = f"{mean_tokens:g} tokens per answer" if mean_tokens else "answers of half the cap"
    hint = "" if mean_tokens else " (--mean-tokens N changes it, `tersely preflight` measures it)"
    yield f"tokens: about {amount(tokens)} sampled, at {basis}{hint}"
    if there.memory is None:
        yield "memory, disk, hours: add --gpus 8 --gpu-memory 80 for a machine with GPUs"
        return
    try:
        shape = read_shape(stages[0][0], stages[0][1])
    except ConfigError as error:
        yield f"memory, disk, hours: not estimated ({error})"
        return
    from tersely.launch.preflight.model import disk_finding, memory_findings

    for run, args in stages:
        mean = mean_tokens or args.max_completion_length / 2
        length = PROMPT_TOKENS + args.max_completion_length
        for finding in memory_findings(shape, run, args, length, how, there):
            yield leveled(finding)
        work = Workload.of(run, args, there, mean, PROMPT_TOKENS)
        for name, value in hours_of(run, args, shape, work, there).items():
            hours[name] = hours.get(name, 0) + value
    for plan in warm:
        length = PROMPT_TOKENS + plan.args.max_completion_length
        for finding in memory_findings(shape, plan.run, plan.args, length, how, there, plan):
            yield leveled(finding, f"stage {plan.name}: ")
        mean = mean_tokens or plan.args.max_completion_length / 2
        for name, value in plan.hours(shape, there, mean, PROMPT_TOKENS).items():
            hours[name] = hours.get(name, 0) + value
    yield disk_finding(shape, stages[-1][1], there.half, how, None).line
    yield time_line(hours, there, basis)


def leveled(finding: Finding, where: str = "") -> str:
    """The line of a finding; warnings and failures start with their level."""
    return ("" if finding.level in ("ok", "note") else f"{finding.level}: ") + where + finding.line


def read_shape(run: Recipe, args: GRPOConfig) -> Any:
    """The model's shape from its config file, without reading weights."""
    from tersely.engines.model_checks import model_config
    from tersely.launch.preflight.model import shape_of

    return shape_of(model_config(run.model_name_or_path, args.trust_remote_code), run.peft)


def batches_of(run: Recipe, args: GRPOConfig) -> int:
    """Number of generation batches."""
    return math.ceil(args.max_steps / (run.updates_per_batch * args.num_iterations))


def steps_line(run: Recipe, args: GRPOConfig, ranks: int, rows: int | None, read: bool = True) -> str:
    """Line about steps and epochs. `rows`: problems of the dataset; if not `read`, an upper bound (with duplicates)."""
    batches, prompts = batches_of(run, args), run.prompts_per_step
    least, most = ("", "") if read else ("at least ", "at most ")
    epochs = (
        f"{least}{batches * prompts / rows:.2f} epochs of {most}{rows} problems" if rows else "dataset of unknown size"
    )
    return (
        f"plan: {args.max_steps} steps in {batches} generation batches of {prompts * run.group_size} rollouts "
        f"({prompts} prompts x {run.group_size}) on {ranks} rank{'s' * (ranks > 1)}; {epochs}"
    )


def hours_of(run: Recipe, args: GRPOConfig, shape: Any, work: Workload, there: Target) -> dict[str, float]:
    """GPU name -> hours of the stage."""
    batches = batches_of(run, args)
    return {gpu.name: batches * batch_seconds(seconds(shape, work, gpu)) / 3600 for gpu in there.kinds}


def batch_seconds(parts: Mapping[str, float]) -> float:
    return parts["generate"] + parts["old_logps"] + parts["update"]


def time_line(hours: Mapping[str, float], there: Target, basis: str) -> str:
    each = ", ".join(f"{duration(value)} on {there.gpus} x {name}" for name, value in hours.items())
    return f"time: about {each} (arithmetic at {basis}, within a factor of two; saving and evaluating not counted)"


def waits_without_progress(run: Recipe, shape: Any, half: bool, how: str, backward_s: float) -> dict[str, float]:
    """Phases without progress -> seconds.

    Each forward pass (of the update or of a log-prob pass) counts as progress and is shorter than the backward pass. Each
    decoding step counts too, also on a server, so long answers are no problem.
    """
    saved = checkpoint_bytes(shape, half, how)
    waits = {
        "the backward pass of a micro-batch at the cap": backward_s,
        f"a checkpoint of {saved / GIB:.1f} GiB at {DISK_RATE / 1e9:g} GB/s": saved / DISK_RATE,
    }
    if capabilities_of(run.engine).servers:
        waits[f"weight transfer to the servers through files at {DISK_RATE / 1e9:g} GB/s"] = (
            4 * shape.parameters / DISK_RATE
        )
    return waits


def deadline_findings(deadline_s: float, waits: Mapping[str, float], machine: str) -> Iterator[Finding]:
    """Compare the longest time without progress with deadline_seconds."""
    what = max(waits, key=lambda name: waits[name])
    wait = waits[what]
    text = f"{what} takes about {wait:.0f} s{machine}, the longest phase without progress; deadline_seconds is {deadline_s:g}"
    if wait > deadline_s:
        yield Finding("fail", "deadline", text, f"set deadline_seconds to at least {math.ceil(2 * wait)}")
    elif wait > CALM * deadline_s:
        yield Finding("warn", "deadline", text, f"set deadline_seconds to {math.ceil(2 * wait)}")
    else:
        yield Finding("ok", "deadline", text)


def slowest(shape: Any, work: Workload, kinds: Sequence[Gpu]) -> dict[str, float]:
    """Seconds of one batch on the slowest GPU of the list, which a deadline must allow."""
    return max((seconds(shape, work, gpu) for gpu in kinds), key=batch_seconds)
