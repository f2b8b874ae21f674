"""Synchronises the trainer's weights to an engine that has its own copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tersely.engines.base import Engine


class EngineWeights:
    """`model()` returns the trained model, possibly wrapped."""

    def __init__(self, engine: Engine, model: Callable[[], Any]):
        self.engine, self.model = engine, model
        self.step: int | None = None
        """Optimizer step of the engine's weights."""

    def due(self, step: int) -> bool:
        return self.engine.capabilities.weight_sync and self.step != step

    def sync(self, step: int) -> None:
        """Send the weights of this step, unless the engine has them. Collective."""
        if self.due(step):
            self.engine.sync_weights(self.model(), step)
            self.step = step

    def forget(self) -> None:
        """Mark the engine's weights as outdated, after a change within a step."""
        self.step = None
