"""Rolls back to the last good checkpoint inside a running process.

Code that detects a failing run calls `trainer.rollback.ask(reason)`, on any rank, at any point of a step. At the end of the
generation batch, before anything is logged or saved, all ranks decide together, and the trainer goes back:

    as in the checkpoint   weights, optimiser, gradient scaler, prompt memory, state of components and controllers
    unchanged              step counter, learning rate schedule, progress, order of prompts, seeds of samples, metrics

So the planned number of steps holds, and the batches since the last good checkpoint are skipped, not repeated. The lost
steps are in `metrics.jsonl`, followed by a line with `event: roll_back`. A controller with `rolled_back(before)` is called
after it was restored; `before` is its earlier `state_dict()`. Checkpoints in between are marked and never used again, and a
new one is saved at once, so that a later resume does what this run does. The number of roll-backs of a run (of a stage,
where it has stages) is bounded: after `max_rollbacks` the run stops.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from tersely.core.errors import ConfigError
from tersely.rl.checkpoints import manifest
from tersely.rl.guards import RunStopped


class RollBackListener(TrainerCallback):
    """A callback that has to know of a roll-back."""

    def on_roll_back(self, args: Any, state: Any, control: Any, to_step: int) -> None:
        """After weights and state of the checkpoint of `to_step` were loaded."""


@dataclass(frozen=True)
class RollBackDecision:
    """All ranks go back from `step` to the checkpoint at `path`."""

    step: int
    reason: str
    path: str
    number: int
    """1 for the first roll-back of the run."""

    @property
    def to_step(self) -> int:
        return int(self.path.rpartition("-")[2])

    def event(self, first_step: int) -> dict[str, Any]:
        """The line of `metrics.jsonl`; `first_step` is the number of steps that earlier stages took."""
        to_step = first_step + self.to_step
        return {"event": "roll_back", "reason": self.reason, "to_step": to_step, "rollbacks": self.number}


class RollBack:
    """The requests of this rank, and what all ranks make of them. One per trainer.

    `folder` holds the checkpoints, `updates` is the number of optimizer steps of a generation batch.
    """

    def __init__(self, folder: str, limit: int, updates: int, *, main: bool = True):
        self.folder, self.limit, self.updates, self.main = folder, limit, updates, main
        self.count = 0
        self._reason: str | None = None
        self._good_until = math.inf

    def ask(self, reason: str, good_until: int | None = None) -> None:
        """Go back at the end of this generation batch. `good_until` is the last step of this stage whose checkpoint may
        be taken; None for any. Of several requests the first reason and the earliest step count."""
        self._reason = self._reason or reason
        self._good_until = min(self._good_until, math.inf if good_until is None else good_until)

    def decide(self, step: int, device: Any) -> RollBackDecision | None:
        """Collective. Raises `RunStopped` where there is nothing to go back to, or the limit is reached."""
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
            print(f"step {step}: {reason}; back to {Path(path).name} ({self.count} of {self.limit})", flush=True)
        return RollBackDecision(step, reason, path, self.count)

    def _choose(self, until: int, step: int) -> tuple[str, str | None]:
        """(reason, checkpoint), or (why the run stops, None). Checkpoints behind the one taken are marked."""
        reason = self._reason or "another rank asked for it"
        advice = "Lower learning_rate or the length term's weight, and start again from the checkpoint that you trust"
        if self.count >= self.limit:
            return f"step {step}: {reason}; it went back {self.count} times already (max_rollbacks). {advice}", None
        path = manifest.latest_whole(self.folder, until)[0]
        if path is None:
            said = f"there is no whole checkpoint up to step {until} to go back to; lower save_steps or raise save_total_limit"
            return f"step {step}: {reason}; {said}. {advice}", None
        manifest.mark_behind(path, f"the run went back behind it at step {step}: {reason}")
        return reason, str(path)


def require_rollback(who: str, run: Any, args: Any) -> None:
    """`ConfigError` where `who` may ask for a roll-back and this run could not do it. Needs no model."""
    why = None
    if args.fsdp or os.environ.get("ACCELERATE_USE_FSDP") == "true":
        why = "FSDP's shards cannot be restored inside a running process here; use DeepSpeed or plain data parallelism"
    elif str(getattr(args.save_strategy, "value", args.save_strategy)) != "steps":
        why = "that takes checkpoints: save_strategy: steps"
    elif run.max_rollbacks < 1:
        why = "max_rollbacks is 0; it must be at least 1"
    if why:
        raise ConfigError(f"{who} may go back to the last good checkpoint: {why}")


def require_for_controllers(run: Any, objective: Any, args: Any) -> None:
    """The same for every controller that may raise an alarm."""
    from tersely.rl.controllers import controller_names

    for name, controller in zip(controller_names(objective.controllers), objective.controllers, strict=True):
        if controller.may_alarm:
            require_rollback(name, run, args)


def _smallest(value: float, device: Any) -> float:
    """The smallest of all ranks' values."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    tensor = torch.tensor([value], dtype=torch.float32, device=device)
    torch.distributed.all_reduce(tensor, op=torch.distributed.ReduceOp.MIN)
    return float(tensor.item())
