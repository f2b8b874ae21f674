"""Estimates the cost of a cold start: the rollouts it samples and its supervised steps.

    sampling    prompts x samples rollouts (plus one per problem where the rewrite keeps lengths), as in time_estimate.py
    training    steps x batch_size sequences on each rank, each as long as a prompt plus an answer

An upper bound: incorrect and truncated attempts are not trained on, and rewrites are often shorter than answers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tersely.configs.recipe import Recipe
from tersely.engines.registry import capabilities_of
from tersely.launch.preflight.memory_estimate import Shape
from tersely.launch.preflight.time_estimate import (
    FLOPS_SHARE,
    Gpu,
    Target,
    Workload,
    forward_flops,
    known_rows,
    seconds,
)
from tersely.rl.check import SFTStage

if TYPE_CHECKING:
    from trl import GRPOConfig


@dataclass(frozen=True)
class ColdEstimate:
    name: str
    steps: int
    batch_size: int
    """Examples per optimizer step on one rank."""
    micro_rows: int
    rollouts: int
    """Rollouts sampled over all ranks."""
    run: Recipe
    args: GRPOConfig
    """TRL's config for the sampling."""
    checkpointing: bool

    def line(self) -> str:
        return (
            f"plan: stage {self.name}: {self.rollouts:,} rollouts are sampled, then {self.steps} supervised steps of "
            f"{self.batch_size} examples on each rank"
        )

    def hours(self, shape: Shape, there: Target, mean: float, prompt: float) -> dict[str, float]:
        """GPU name -> hours of sampling and training."""
        base = Workload.of(self.run, self.args, there, mean, prompt)
        rows = math.ceil(self.rollouts / there.gpus)
        servers = len(self.run.servers) if capabilities_of(self.run.engine).servers else there.gpus
        work = Workload(
            **{**vars(base), "rows": rows, "engine_rows": math.ceil(self.rollouts / max(1, servers)), "draws": 1.0}
        )
        return {
            gpu.name: (seconds(shape, work, gpu)["generate"] + self._training(shape, gpu, mean + prompt)) / 3600
            for gpu in there.kinds
        }

    def seconds_here(self, trial: Any, update_s: float, micro_batch: int, ranks: int) -> float:
        """Seconds on this machine: sampling at the measured rate, training at the measured time per micro-batch."""
        sampling = self.rollouts / ranks * trial.mean_tokens / trial.tokens_per_s
        return sampling + self.steps * self.batch_size / micro_batch * update_s

    def _training(self, shape: Shape, gpu: Gpu, length: float) -> float:
        tokens = self.steps * self.batch_size * length
        return (
            tokens * forward_flops(shape, length) * (4 if self.checkpointing else 3) / (FLOPS_SHARE * gpu.tflops * 1e12)
        )


def cold_estimate(check: SFTStage, rows: int | None = None) -> ColdEstimate:
    """Estimate a stage of kind `sft`. `rows`: problems of the dataset; None counts them if they are local."""
    from tersely.rl.config import grpo_config, objective_of, world_size
    from tersely.rl.sft.rewrites import build_rewrite
    from tersely.rl.sft.trainer import sft_config

    stage, spec, run = check.stage, check.cold_start, check.run
    args = grpo_config(run, objective_of(run), world_size())
    rows = known_rows(run.dataset) if rows is None else rows
    prompts = min(spec.prompts, rows or spec.prompts) if spec.traces is None else 0
    lengths = (rows or 0) if build_rewrite(spec.rewrite, f"stage {stage.name}").memory_field else 0
    config = sft_config(stage, spec, run.trl)
    return ColdEstimate(
        str(stage.name),
        stage.steps,
        spec.batch_size * config.gradient_accumulation_steps,
        spec.batch_size,
        prompts * spec.samples + lengths,
        run,
        args,
        bool(config.gradient_checkpointing),
    )
