"""Guards against a loss of accuracy, on rollouts and on the held-out set."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, ClassVar

from tersely.core.errors import require_range
from tersely.rl.guards.base import Share


@dataclass
class Loss(Share):
    """Compares the mean of the last `window` observations with that of the first `window`."""

    what: ClassVar[str]
    fix = (
        "Lower the weight of the length term or learning_rate, use a controller such as accuracy_floor, or use an earlier "
        "checkpoint"
    )

    threshold: float = 0.1
    """Absolute fall of accuracy."""
    window: int = 1
    first: list[float] = field(init=False, default_factory=list)
    last: list[float] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(f"guards.{self.name}.window", self.window, at_least=1)

    def bad(self, *values: float) -> str | None:
        if len(self.first) < self.window:
            self.first.append(values[0])
            return None
        self.last = [*self.last, values[0]][-self.window :]
        before, now = fmean(self.first), fmean(self.last)
        if len(self.last) < self.window or now >= before - self.threshold:
            return None
        return f"{self.what} fell from {before:.1%} at the beginning to {now:.1%}"

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "first": list(self.first), "last": list(self.last)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.first, self.last = [float(value) for value in state["first"]], [float(value) for value in state["last"]]


@dataclass
class AccuracyLoss(Loss):
    """Accuracy on the rollouts of the training problems."""

    name, statistics, what = "accuracy_loss", ("verify/accuracy",), "accuracy on the rollouts"

    threshold: float = 0.15
    """Absolute fall of accuracy; wider than on the held-out set, because batches have different problems."""
    patience: int = 3
    window: int = 8


@dataclass
class HeldOutLoss(Loss):
    """Accuracy on the held-out set (`evaluation:`), compared with the first evaluation, normally the base model's."""

    name, statistics, what = "held_out_loss", ("eval/accuracy",), "accuracy on the held-out set"
