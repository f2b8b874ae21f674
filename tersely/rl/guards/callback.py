"""Runs the guards: they get the metrics of every optimiser step, and act before the trainer logs and saves."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import TrainerCallback

from tersely.core.errors import ConfigError
from tersely.rl.errors import StoppedByGuard
from tersely.rl.guards.accuracy import HeldOutLoss
from tersely.rl.guards.base import Counting
from tersely.rl.guards.loss import check_loss
from tersely.rl.guards.registry import guards_of

if TYPE_CHECKING:
    from trl import GRPOTrainer as _Base
else:
    _Base = object


class GuardFeed(TrainerCallback):
    """Hears every recorded metric by `observe`. All ranks see the same values, so all of them decide alike."""

    def __init__(self, trainer: Any, section: Any):
        self.trainer, self.on = trainer, guards_of(section)
        self.heard: dict[str, list[float]] = {}
        self.stopping: str | None = None

    @property
    def cap(self) -> int:
        """The recipe's."""
        return self.trainer.args.max_completion_length

    @property
    def mismatch(self) -> Counting:
        """The guard that the trainer itself asks, whose count is saved with those of the others."""
        return cast(Counting, self.on["mismatch"])

    def observe(self, name: str, value: float) -> None:
        if self.trainer.model.training:  # an evaluation on other problems says nothing of the run
            self.heard.setdefault(name, []).append(float(value))

    def scored(self, scores: Any) -> None:
        """What no metric says of a batch: its mean reward, where that is known."""
        known = scores.reward[~scores.reward.isnan()]
        if known.numel():
            self.observe("reward", known.mean().item())

    def held_out(self, step: int, accuracy: float) -> None:
        """One evaluation on the held-out set; the first, before step 1, is the base's."""
        guard = self.on.get("held_out_loss")
        if isinstance(guard, Counting):
            self._hear(guard, step, accuracy)

    def held_out_before(self, measured: Sequence[tuple[int, float]]) -> None:
        """(step, accuracy) of earlier attempts, for a guard that no checkpoint has told of them. Nothing is done about them."""
        guard = self.on.get("held_out_loss")
        if isinstance(guard, HeldOutLoss) and not guard.first:
            for step, accuracy in measured:
                guard.seen(step, accuracy)

    def on_step_end(self, args, state, control, **kwargs):
        means = {name: statistics.fmean(values) for name, values in self.heard.items()}
        self.heard.clear()
        for guard in self.on.values():
            if not isinstance(guard, Counting) or not guard.statistics:
                continue
            if all(name in means for name in guard.statistics):
                self._hear(guard, state.global_step, *(means[name] for name in guard.statistics))

    def _hear(self, guard: Counting, step: int, *values: float) -> None:
        said = guard.seen(step, *values)
        if said is not None:
            self._act(guard.name, guard.action, said, guard.since)

    def _act(self, name: str, action: str, said: str, since: int) -> None:
        step = self.trainer.state.global_step
        if action == "roll_back":
            self.trainer.rollback.ask(said, good_until=since - 1)
            return
        if self.trainer.accelerator.is_main_process:
            self._tell(step, name, action, said)
        if action == "stop":
            self.stopping = self.stopping or f"step {step}: {said}; the last whole checkpoint stays"

    def _tell(self, step: int, name: str, action: str, said: str) -> None:
        from tersely.rl.recording.callbacks import RunFiles

        if action == "warn":
            print(f"warning: step {step}: {said}", flush=True)
        for callback in self.trainer.callback_handler.callbacks:
            if isinstance(callback, RunFiles):
                callback.metrics.write(step, {"event": "guard", "guard": name, "action": action, "reason": said})

    def check_loss(self, loss: torch.Tensor) -> None:
        """`not_finite`: raise, or go back at the end of the batch. The loss is this rank's own."""
        if torch.isfinite(loss):
            return
        step = self.trainer.state.global_step
        if self.on["not_finite"].action == "stop":
            check_loss(loss, step)
        self.trainer.rollback.ask(f"guard not_finite: the loss is {loss.item()}", good_until=step)

    def state_dict(self) -> dict[str, Any]:
        states = {name: guard.state_dict() for name, guard in self.on.items() if isinstance(guard, Counting)}
        return {"cap": self.cap, **states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """A guard that was off, or another one, begins anew; under another cap all of them do: what they compare with, the
        lengths and truncation of the beginning, is that of the old one."""
        if state.get("cap", self.cap) != self.cap:
            return
        for name, guard in self.on.items():
            if isinstance(guard, Counting) and name in state:
                guard.load_state_dict(state[name])


class Guarded(_Base):
    """Mixed into the trainer: a step that a guard stops is logged, with its completions, and not saved."""

    guards: GuardFeed

    def _maybe_log_save_evaluate(self, *args, **kwargs):
        if self.guards.stopping is not None:
            self.control.should_log, self.control.should_save, self.control.should_evaluate = True, False, False
        super()._maybe_log_save_evaluate(*args, **kwargs)
        if self.guards.stopping is not None:
            raise StoppedByGuard(self.guards.stopping)


def require_for_guards(run: Any, args: Any) -> None:
    """`ConfigError` where a guard may ask for a roll-back and this run could not do it. Needs no model."""
    from tersely.rl.checkpoints.rollback import require_rollback

    for guard in guards_of(run.guards).values():
        if guard.action != "roll_back":
            continue
        who = f"guards.{guard.name}"
        require_rollback(who, run, args)
        if 0 < args.max_steps <= args.save_steps:
            raise ConfigError(
                f"{who} may go back to the last good checkpoint: save_steps is {args.save_steps} and max_steps "
                f"{args.max_steps}, so there would be none; lower save_steps"
            )
