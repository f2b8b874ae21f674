"""Saves a complete checkpoint and stops at the next step boundary, after a request on any rank."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from tersely.rl.checkpoints.stopping import SavedAndStopped, request
from tersely.rl.update.batch_size import updates_of_a_batch

MARGIN = 1.5
"""Safety factor: this times the slowest step plus save is kept free before the job's end."""


class SaveOnSignal(TrainerCallback):
    """Callback: all ranks decide together, only between generation batches, where a checkpoint resumes exactly."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.stopped_at: int | None = None
        self._began = time.monotonic()
        self._step_s = self._save_s = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        now = time.monotonic()
        self._step_s, self._began = max(self._step_s, now - self._began), now
        updates = updates_of_a_batch(args)
        if state.global_step % updates or state.global_step >= state.max_steps:
            return
        self.reason = request(MARGIN * (updates * self._step_s + self._save_s))
        if any_rank(self.reason is not None, args.device):
            control.should_save = control.should_training_stop = True
            self.stopped_at = state.global_step

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._save_s = max(self._save_s, time.monotonic() - self._began)

    def raise_if_stopped(self, folder: str | Path) -> None:
        """Raise `SavedAndStopped` if this callback ended the training."""
        if self.stopped_at is not None:
            why = self.reason or "requested on another rank"
            raise SavedAndStopped(
                f"saved checkpoint-{self.stopped_at} in {folder} and stopped: {why}. Continue with `--resume`"
            )


def any_rank(flag: bool, device: Any) -> bool:
    """True if the flag is set on any rank; the same on all."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return flag
    value = torch.tensor([float(flag)], device=device)
    torch.distributed.all_reduce(value, op=torch.distributed.ReduceOp.MAX)
    return bool(value.item())
