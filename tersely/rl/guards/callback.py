"""Runs the guards on the metrics of every optimizer step, before the trainer logs and saves."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from transformers import TrainerCallback

from tersely.configs.guards import Guards
from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.core.logging import get_logger
from tersely.rl.guards.accuracy import HeldOutLoss
from tersely.rl.guards.base import Counting
from tersely.rl.guards.loss import check_loss
from tersely.rl.guards.registry import guards_of
from tersely.rl.recording.run_files import MetricsFile

logger = get_logger(__name__)


class GuardFeed(TrainerCallback):
    """Receives every recorded metric in `observe`. All ranks have the same values, so they all decide the same.

    `cap`: the recipe's max_completion_length. `ask(reason, good_until)` requests a rollback. The main process (`main`) prints
    events and writes them to `metrics`.
    """

    def __init__(
        self,
        specs: Guards,
        cap: int,
        ask: Callable[[str, int | None], None],
        *,
        main: bool = True,
        metrics: MetricsFile | None = None,
    ):
        self.on, self.cap, self.ask, self.main, self.metrics = guards_of(specs), cap, ask, main, metrics
        self.heard: dict[str, list[float]] = {}
        self.stopping: str | None = None

    @property
    def mismatch(self) -> Counting:
        """The guard that the trainer calls; its count is saved with those of the others."""
        return cast(Counting, self.on["mismatch"])

    def observe(self, name: str, value: float) -> None:
        self.heard.setdefault(name, []).append(float(value))

    def scored(self, scores: Any) -> None:
        """Observe the mean reward of a batch, which no metric has, if it is known."""
        known = scores.reward[~scores.reward.isnan()]
        if known.numel():
            self.observe("reward", known.mean().item())

    def held_out(self, step: int, accuracy: float) -> None:
        """Observe one held-out evaluation; the first one, before step 1, is the base model's."""
        guard = self.on.get("held_out_loss")
        if isinstance(guard, Counting):
            self._hear(guard, step, accuracy)

    def held_out_before(self, measured: Sequence[tuple[int, float]]) -> None:
        """Replay (step, accuracy) of old attempts without acting, for a guard that was not saved with them."""
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
        reason = guard.seen(step, *values)
        if reason is not None:
            self._act(guard, step, reason)

    def _act(self, guard: Counting, step: int, reason: str) -> None:
        if guard.spec.action == "roll_back":
            self.ask(reason, guard.since - 1)
            return
        if guard.spec.action == "warn" and self.main:
            logger.warning(f"step {step}: {reason}")
        if self.metrics is not None:
            event = {"event": "guard", "guard": guard.name, "action": guard.spec.action, "reason": reason}
            self.metrics.write(step, event)
        if guard.spec.action == "stop":
            self.stopping = self.stopping or f"step {step}: {reason}. The last complete checkpoint is kept"

    def check_loss(self, loss: torch.Tensor, step: int) -> None:
        """Guard `not_finite`: raise, or roll back at the end of the batch. The loss is this rank's."""
        if torch.isfinite(loss):
            return
        if self.on["not_finite"].spec.action == "stop":
            check_loss(loss, step)
        self.ask(f"guard not_finite: the loss is {loss.item()}", step)

    def state_dict(self) -> dict[str, Any]:
        states = {name: guard.state_dict() for name, guard in self.on.items() if isinstance(guard, Counting)}
        return {"cap": self.cap, **states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the guards. A guard that was off, or has changed, starts anew; with another cap all of them do, because
        lengths and truncation at the beginning depend on the cap."""
        if state.get("cap", self.cap) != self.cap:
            return
        for name, guard in self.on.items():
            if isinstance(guard, Counting) and name in state:
                guard.load_state_dict(state[name])


def require_for_guards(run: Recipe, args: Any) -> None:
    """Raise `ConfigError` if a guard can request a rollback that this run does not support. Needs no model."""
    from tersely.rl.checkpoints.rollback import require_rollback

    for guard in guards_of(run.guards).values():
        if guard.spec.action != "roll_back":
            continue
        who = f"guards.{guard.name}"
        require_rollback(who, run, args)
        if 0 < args.max_steps <= args.save_steps:
            raise ConfigError(
                f"{who} may roll back to the last good checkpoint: save_steps: got {args.save_steps} with max_steps "
                f"{args.max_steps}, so there would be none. Lower save_steps"
            )
