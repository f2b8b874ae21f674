"""Rolls back to the last good checkpoint inside a running process.

Code that detects a failing run calls `trainer.rollback.ask(reason)`, on any rank, at any point of a step. At the end of the
generation batch, before anything is logged or saved, all ranks decide together, and the trainer goes back:

    as in the checkpoint   weights, optimizer, gradient scaler, prompt memory, state of components and controllers
    unchanged              step counter, learning rate schedule, progress, order of prompts, seeds of samples, metrics

So the planned number of steps is kept, and the batches since the last good checkpoint are skipped, not repeated. The lost
steps are in `metrics.jsonl`, followed by a line with `event: roll_back`. A controller with `rolled_back(before)` is called
after it was restored; `before` is its earlier `state_dict()`. Checkpoints in between are marked and never used again, and a
new one is saved at once, so that a later resume continues like this run. After `max_rollbacks` rollbacks of a run (of a
stage, if it has stages) the run stops.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.core.logging import get_logger
from tersely.rl.checkpoints import manifest
from tersely.rl.guards import RunStopped

if TYPE_CHECKING:
    from trl import GRPOConfig

    from tersely.algorithms.objective import Objective

logger = get_logger(__name__)


class RollBackListener(TrainerCallback):
    """A callback that is notified of a rollback."""

    def on_roll_back(self, args: GRPOConfig, state: Any, control: Any, to_step: int) -> None:
        """Called after weights and state of the checkpoint of `to_step` were loaded."""


@dataclass(frozen=True)
class RollBackDecision:
    """A rollback of all ranks from `step` to the checkpoint at `path`."""

    step: int
    reason: str
    path: str
    number: int
    """Number of the rollback, from 1."""

    @property
    def to_step(self) -> int:
        return int(self.path.rpartition("-")[2])

    def event(self, first_step: int) -> dict[str, Any]:
        """The line of `metrics.jsonl`; `first_step`: number of steps of earlier stages."""
        to_step = first_step + self.to_step
        return {"event": "roll_back", "reason": self.reason, "to_step": to_step, "rollbacks": self.number}


class RollBack:
    """Collects rollback requests of this rank and decides with all ranks. One per trainer.

    `folder`: folder of the checkpoints. `updates`: optimizer steps per generation batch.
    """

    def __init__(self, folder: str, limit: int, updates: int, *, main: bool = True):
        self.folder, self.limit, self.updates, self.main = folder, limit, updates, main
        self.count = 0
        self._reason: str | None = None
        self._good_until = math.inf

    def ask(self, reason: str, good_until: int | None = None) -> None:
        """Request a rollback at the end of this generation batch. `good_until`: last step of this stage whose checkpoint may be
        used; None for any. Of several requests, the first reason and the earliest step count."""
        self._reason = self._reason or reason
        self._good_until = min(self._good_until, math.inf if good_until is None else good_until)

    def decide(self, step: int, device: Any) -> RollBackDecision | None:
        """Decide on all ranks. Collective. Raises `RunStopped` without a usable checkpoint, or if the limit is reached."""
        if step % self.updates:
            return None
        wanted = min(self._good_until, step) if self._reason else math.inf
        until = _smallest(wanted, device)
        if until == math.inf:
            return None
        decision = [self._choose(int(until), step) if self.main else None]
        reason, path = broadcast_object_list(decision)[0]
        self._reason, self._good_until = None, math.inf
        if path is None:
            raise RunStopped(reason)
        self.count += 1
        if self.main:
            logger.info(f"step {step}: {reason}; rolling back to {Path(path).name} ({self.count} of {self.limit})")
        return RollBackDecision(step, reason, path, self.count)

    def _choose(self, until: int, step: int) -> tuple[str, str | None]:
        """(reason, checkpoint), or (reason to stop the run, None). Marks the checkpoints after the chosen one."""
        reason = self._reason or "requested by another rank"
        advice = "Lower learning_rate or the length term's weight, and restart from a checkpoint that you trust"
        if self.count >= self.limit:
            return f"step {step}: {reason}; already rolled back {self.count} times (max_rollbacks). {advice}", None
        path = manifest.latest_whole(self.folder, until)[0]
        if path is None:
            problem = (
                f"no complete checkpoint up to step {until} to roll back to. Lower save_steps or raise save_total_limit"
            )
            return f"step {step}: {reason}; {problem}. {advice}", None
        manifest.mark_behind(path, f"skipped by the rollback at step {step}: {reason}")
        return reason, str(path)


def require_rollback(who: str, run: Recipe, args: GRPOConfig) -> None:
    """Raise `ConfigError` if `who` can request a rollback that this run does not support. Needs no model."""
    why = None
    if args.fsdp or os.environ.get("ACCELERATE_USE_FSDP") == "true":
        why = "FSDP's shards cannot be restored inside a running process. Use DeepSpeed or plain data parallelism"
    elif str(getattr(args.save_strategy, "value", args.save_strategy)) != "steps":
        why = "that needs checkpoints. Set save_strategy: steps"
    elif run.max_rollbacks < 1:
        why = "max_rollbacks: got 0; expected at least 1"
    if why:
        raise ConfigError(f"{who} may roll back to the last good checkpoint: {why}")


def require_for_controllers(run: Recipe, objective: Objective, args: GRPOConfig) -> None:
    """The same check for every controller that can raise an alarm."""
    from tersely.rl.controllers import controller_names

    for name, controller in zip(controller_names(objective.controllers), objective.controllers, strict=True):
        if controller.may_alarm:
            require_rollback(name, run, args)


def _smallest(value: float, device: Any) -> float:
    """Minimum over all ranks."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    tensor = torch.tensor([value], dtype=torch.float32, device=device)
    torch.distributed.all_reduce(tensor, op=torch.distributed.ReduceOp.MIN)
    return float(tensor.item())
