"""Guards against a loss of accuracy, on rollouts and on the held-out set."""

from __future__ import annotations

from statistics import fmean
from typing import Any, ClassVar

from tersely.configs.guards import AccuracyLossSpec, HeldOutLossSpec, LossSpec
from tersely.rl.guards.base import Counting


class Loss(Counting):
    """Compares the mean of the last `window` observations with that of the first `window`."""

    spec: LossSpec
    what: ClassVar[str]
    fix = (
        "Lower the weight of the length term or learning_rate, use a controller such as accuracy_floor, or use an earlier "
        "checkpoint"
    )

    def __init__(self, spec: LossSpec):
        super().__init__(spec)
        self.first: list[float] = []
        self.last: list[float] = []

    def bad(self, *values: float) -> str | None:
        if len(self.first) < self.spec.window:
            self.first.append(values[0])
            return None
        self.last = [*self.last, values[0]][-self.spec.window :]
        before, now = fmean(self.first), fmean(self.last)
        if len(self.last) < self.spec.window or now >= before - self.spec.threshold:
            return None
        return f"{self.what} fell from {before:.1%} at the beginning to {now:.1%}"

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "first": list(self.first), "last": list(self.last)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.first, self.last = [float(value) for value in state["first"]], [float(value) for value in state["last"]]


class AccuracyLoss(Loss):
    """Accuracy on the rollouts of the training problems."""

    spec: AccuracyLossSpec
    statistics, what = ("verify/accuracy",), "accuracy on the rollouts"


class HeldOutLoss(Loss):
    """Accuracy on the held-out set (`evaluation:`), compared with the first evaluation, normally the base model's."""

    spec: HeldOutLossSpec
    statistics, what = ("eval/accuracy",), "accuracy on the held-out set"
