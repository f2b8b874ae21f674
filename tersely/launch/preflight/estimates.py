"""Estimates tokens, hours and cost of a run from preflight's rollouts, for this machine or another."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tersely.configs.recipe import Recipe
from tersely.engines.chat import prompt_ids
from tersely.launch.preflight.outline import batches_of, hours_of, steps_line, time_line
from tersely.launch.preflight.time_estimate import amount, duration, expected_draws, pass_before_update
from tersely.launch.preflight.trial_rollouts import Trial
from tersely.rl.update.batch_size import BatchLayout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import GRPOConfig


def update_seconds(
    model: Any, trial: Trial, run: Recipe, args: GRPOConfig, tokenizer: PreTrainedTokenizerBase, dataset: Any
) -> float:
    """Measured seconds of one forward and backward pass of a micro-batch with the trial's rollout lengths.

    Uses the same fused head, precision and checkpointing as the training (logits in tiles).
    """
    import torch
    from trl.trainer.utils import add_fused_lm_head

    from tersely.engines import activation_checkpointing
    from tersely.engines.models import arithmetic

    add_fused_lm_head(model.get_base_model() if hasattr(model, "peft_config") else model)
    if activation_checkpointing.setting(args, "gradient_checkpointing"):
        activation_checkpointing.enable(model, args)
    prompt = prompt_ids(tokenizer, dataset[0]["prompt"], args.chat_template_kwargs)
    device = next(model.parameters()).device
    tokens = max(2, int(len(prompt) + trial.mean_tokens))
    ids = torch.full((run.micro_batch, tokens), int(prompt[0]), device=device)
    times = []
    for _ in range(2):  # the first pass warms up
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        with arithmetic(args):
            logps = model(input_ids=ids, labels=ids, fused_lm_head=True).log_probs
        logps.mean().neg().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
        model.zero_grad(set_to_none=True)
    return times[-1]


def measured_lines(
    trial: Trial,
    update_s: float,
    run: Recipe,
    args: GRPOConfig,
    ranks: int,
    rows: int,
    price: float | None,
    more_s: float = 0.0,
) -> tuple[list[str], float]:
    """(lines of the plan, hours), with the measured generation rate and update time.

    more_s: seconds of the cold starts.
    """
    plan = BatchLayout.of(run, ranks)
    draws = expected_draws(trial.kept, run)
    generate = plan.rows_per_rank * draws * trial.mean_tokens / trial.tokens_per_s
    # one more forward pass is about a third of an update
    passes = args.num_iterations + (1 / 3 if pass_before_update(run, args) else 0)
    train = plan.micro_batches * passes * update_s
    hours = (batches_of(run, args) * (generate + train) + more_s) / 3600
    time_text = (
        f"time: about {duration(hours)} ({generate:.1f} s generating and {train:.1f} s training per batch, measured here "
        f"on {trial.rollouts} rollouts{_resampled(draws)}{_cold(more_s)}; saving and evaluating not "
    )
    lines = [steps_line(run, args, ranks, rows), tokens_line(trial, run, args, draws), time_text]
    if price is not None:
        lines.append(f"cost: about {hours * price:.2f} at {price:g} per hour")
    return lines, hours


def estimated_lines(
    trial: Trial,
    shape: Any,
    work: Any,
    run: Recipe,
    args: GRPOConfig,
    there: Any,
    rows: int,
    price: float | None,
    more: Mapping[str, float] = MappingProxyType({}),
) -> list[str]:
    """(lines of the plan, hours) for another machine: its estimated speed, with the lengths measured here.

    more: GPU name -> hours of the cold starts.
    """
    hours = {name: value + more.get(name, 0.0) for name, value in hours_of(run, args, shape, work, there).items()}
    basis = f"{trial.mean_tokens:.0f} tokens per answer, from {trial.rollouts} rollouts{_resampled(work.draws)}"
    lines = [steps_line(run, args, there.gpus, rows), tokens_line(trial, run, args, work.draws)]
    lines.append(time_line(hours, there, basis))
    if price is not None:
        costs = ", ".join(f"{value * price:.2f} on {name}" for name, value in hours.items())
        lines.append(f"cost: about {costs} at {price:g} per hour")
    return lines


def tokens_line(trial: Trial, run: Recipe, args: GRPOConfig, draws: float) -> str:
    tokens = batches_of(run, args) * run.prompts_per_step * run.group_size * draws * trial.mean_tokens
    return f"tokens: about {amount(tokens)} sampled, at {trial.mean_tokens:.0f} per answer{_resampled(draws)}"


def _cold(seconds: float) -> str:
    return f", {duration(seconds / 3600)} for the cold start" if seconds else ""


def _resampled(draws: float) -> str:
    return f", {draws:.2f} rollouts sampled per rollout in the batch" if draws > 1 else ""
