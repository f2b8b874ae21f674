"""Takes every metric of a step once, for the log and for whoever listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tersely.core.heartbeat import beat


class Recorder:
    """Hands each value to `listeners` in their order."""

    def __init__(self, *listeners: Callable[[str, float], None]):
        self.listeners = list(listeners)

    def __call__(self, name: str, value: float) -> None:
        for listener in self.listeners:
            listener(name, value)

    def all(self, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self(name, value)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Record the seconds of what is inside."""
        began = time.perf_counter()
        yield
        beat()
        self(name, time.perf_counter() - began)
