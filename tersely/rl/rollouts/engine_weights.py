"""Keeps the trainer's current weights in an engine that has its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tersely.engines.base import Engine


class EngineWeights:
    """`model()` gives the trained model, as it is wrapped by then."""

    def __init__(self, engine: Engine, model: Callable[[], Any]):
        self.engine, self.model = engine, model
        self.step: int | None = None
        """Optimizer step whose weights the engine holds."""

    def due(self, step: int) -> bool:
        return self.engine.capabilities.weight_sync and self.step != step

    def sync(self, step: int) -> None:
        """Push the weights of this step, unless they are there. Collective."""
        if self.due(step):
            self.engine.sync_weights(self.model(), step)
            self.step = step

    def forget(self) -> None:
        """The weights have changed inside a step."""
        self.step = None
