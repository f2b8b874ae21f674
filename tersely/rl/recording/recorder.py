"""Distributes every metric of a step to the log and to listeners."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tersely.core.heartbeat import beat


class Recorder:
    """Passes each value to `listeners`, in order."""

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
        """Context manager that records its duration in seconds."""
        began = time.perf_counter()
        yield
        beat()
        self(name, time.perf_counter() - began)
