"""Runs the controllers: each gets its step metrics once per optimizer step.

`core/protocols.py` has the hooks of a controller. A metric that is recorded several times in a step (once per micro-batch)
is averaged. One that is recorded once per generation batch updates its controller once per generation batch. An `alarm`
rolls the run back (`rl/checkpoints/rollback.py`) to a checkpoint of a step at which the controller's `good` was true.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from transformers import TrainerCallback

from tersely.core.build import name_of, numbered
from tersely.core.errors import ConfigError, nearest
from tersely.core.protocols import Controller


class ControllerFeed(TrainerCallback):
    """Receives every recorded metric in `observe`, and updates the controllers at the end of a step.

    `controllers()` returns the run's controllers, `record(name, value)` logs a value, and `ask(reason, good_until)` requests
    a rollback.
    """

    def __init__(
        self,
        controllers: Callable[[], Sequence[Controller]],
        record: Callable[[str, float], None],
        ask: Callable[[str, int | None], None],
    ):
        self.controllers, self.record, self.ask = controllers, record, ask
        self.seen: dict[str, list[float]] = {}
        self.known: set[str] = set()
        self.good: dict[str, int] = {}
        self.began = 0

    def observe(self, name: str, value: float) -> None:
        self.known.add(name)
        self.seen.setdefault(name, []).append(float(value))

    def on_train_begin(self, args, state, control, **kwargs):
        self.began = state.global_step

    def on_step_end(self, args, state, control, **kwargs):
        means = {name: statistics.fmean(values) for name, values in self.seen.items()}
        self.seen.clear()
        controllers = self.controllers()
        for name, controller in zip(controller_names(controllers), controllers, strict=True):
            wanted = statistics_of(controller)
            self._require(name, wanted)
            if all(metric in means for metric in wanted):
                self.record(f"controllers/{name}", float(controller.update(*(means[m] for m in wanted))))
                self._heed(name, controller, state.global_step)

    def _heed(self, name: str, controller: Controller, step: int) -> None:
        if controller.good:
            self.good[name] = step
        if controller.alarm:
            self.ask(f"{name}: {controller.alarm}", self.good.get(name, self.began))

    def _require(self, name: str, wanted: Sequence[str]) -> None:
        for metric in wanted:
            if metric not in self.known:
                raise ConfigError(
                    f"controller {name}: the step metric {metric!r} is not recorded in this run; "
                    f"{nearest(metric, sorted(self.known))}. A metric of a loss needs that component in the loss slot"
                )


def statistics_of(controller: Controller) -> tuple[str, ...]:
    """Step metrics of a controller, in the order of `update`'s arguments."""
    names = controller.statistic
    return (names,) if isinstance(names, str) else tuple(names)


def controller_names(controllers: Sequence[Controller]) -> list[str]:
    """Registry names (class names for external controllers), numbered if repeated."""
    return numbered([name_of("controller", controller) for controller in controllers])
