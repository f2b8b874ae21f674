"""Rolls back to the last good checkpoint inside a running process.

Code that detects a failing run calls `trainer.rollback.ask(reason)`, on any rank, at any point of a step. At the end of the
generation batch, before anything is logged or saved, all ranks go back together:

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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast_object_list

from tersely.core.errors import ConfigError
from tersely.rl.checkpoints import manifest
from tersely.rl.guards import RunStopped
from tersely.rl.update.batch_size import updates_of_a_batch

if TYPE_CHECKING:
    from trl import GRPOTrainer as _Base
else:
    _Base = object


class RollBack:
    """The requests of this rank, and what all ranks make of them. One per trainer."""

    def __init__(self, trainer: Any, limit: int):
        self.trainer, self.limit = trainer, limit
        self.count = 0
        self._reason: str | None = None
        self._good_until = math.inf

    def ask(self, reason: str, good_until: int | None = None) -> None:
        """Go back at the end of this generation batch. `good_until` is the last step of this stage whose checkpoint may
        be taken; None for any. Of several requests the first reason and the earliest step count."""
        self._reason = self._reason or reason
        self._good_until = min(self._good_until, math.inf if good_until is None else good_until)

    def act(self) -> None:
        """Collective. Raises `RunStopped` where there is nothing to go back to, or the limit is reached."""
        trainer, step = self.trainer, self.trainer.state.global_step
        if step % updates_of_a_batch(trainer.args):
            return
        wanted = min(self._good_until, step) if self._reason else math.inf
        until = _smallest(wanted, trainer.args.device)
        if until == math.inf:
            return
        plan = [self._decide(int(until), step) if trainer.accelerator.is_main_process else None]
        reason, path = broadcast_object_list(plan)[0]
        self._reason, self._good_until = None, math.inf
        if path is None:
            raise RunStopped(reason)
        self.count += 1
        restore(trainer, path)
        trainer.control.should_save = True
        self._tell(step, path, reason)
        for callback in trainer.callback_handler.callbacks:
            if hasattr(callback, "on_roll_back"):
                callback.on_roll_back(trainer.args, trainer.state, trainer.control, int(path.rpartition("-")[2]))

    def _decide(self, until: int, step: int) -> tuple[str, str | None]:
        """(reason, checkpoint), or (why the run stops, None). Checkpoints behind the one taken are marked."""
        reason = self._reason or "another rank asked for it"
        advice = "Lower learning_rate or the length term's weight, and start again from the checkpoint that you trust"
        if self.count >= self.limit:
            return f"step {step}: {reason}; it went back {self.count} times already (max_rollbacks). {advice}", None
        path = manifest.latest_whole(self.trainer.args.output_dir, until)[0]
        if path is None:
            said = f"there is no whole checkpoint up to step {until} to go back to; lower save_steps or raise save_total_limit"
            return f"step {step}: {reason}; {said}. {advice}", None
        manifest.mark_behind(path, f"the run went back behind it at step {step}: {reason}")
        return reason, str(path)

    def _tell(self, step: int, path: str, reason: str) -> None:
        from tersely.rl.recording.callbacks import RunFiles

        if not self.trainer.accelerator.is_main_process:
            return
        first, back = self.trainer.first_step, int(path.rpartition("-")[2])
        print(f"step {step}: {reason}; back to {Path(path).name} ({self.count} of {self.limit})", flush=True)
        for callback in self.trainer.callback_handler.callbacks:
            if isinstance(callback, RunFiles):
                event = {"event": "roll_back", "reason": reason, "to_step": first + back, "rollbacks": self.count}
                callback.metrics.write(step, event)


class RollsBack(_Base):
    """Mixed into the trainer: the end of a step is where it goes back, after every callback has spoken."""

    rollback: RollBack

    def _maybe_log_save_evaluate(self, *args, **kwargs):
        self.rollback.act()
        return super()._maybe_log_save_evaluate(*args, **kwargs)


def restore(trainer: Any, path: str) -> None:
    """Weights, optimiser and learnt state of a checkpoint, into a running trainer; the schedule stays where it is."""
    controllers = trainer.objective.controllers
    before = [controller.state_dict() for controller in controllers]
    schedule = trainer.lr_scheduler.state_dict()
    if trainer.is_deepspeed_enabled:
        from transformers.integrations.deepspeed import deepspeed_load_checkpoint

        strict = not hasattr(trainer.accelerator.unwrap_model(trainer.model), "peft_config")
        deepspeed_load_checkpoint(trainer.model_wrapped, path, load_module_strict=strict)
    else:
        trainer._load_from_checkpoint(path)
    trainer._synced_step = -1  # an evaluation at this very step may have pushed the weights that led astray
    trainer._load_optimizer_and_scheduler(path)
    trainer._load_scaler(path)
    trainer.lr_scheduler.load_state_dict(schedule)
    for group, rate in zip(trainer.optimizer.param_groups, trainer.lr_scheduler.get_last_lr(), strict=True):
        group["lr"] = rate
    for controller, state in zip(controllers, before, strict=True):
        controller.rolled_back(state)


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
