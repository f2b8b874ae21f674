"""Reports the progress of this process to the watchdog, if one runs: a new phase (`now`), or a heartbeat in it (`beat`)."""

from __future__ import annotations

from typing import Any, Protocol


class Listener(Protocol):
    def now(self, phase: str) -> None: ...
    def beat(self) -> None: ...


listener: Listener | None = None


def now(phase: str) -> None:
    """Report that this process starts `phase`."""
    if listener is not None:
        listener.now(phase)


def beat() -> None:
    """Report progress within the current phase."""
    if listener is not None:
        listener.beat()


def beat_at_each_pass(model: Any) -> None:
    """Send a heartbeat on every forward pass of a model; log-prob passes call only the backbone."""
    for module in {id(part): part for part in (model, getattr(model, "base_model", model))}.values():
        module.register_forward_hook(lambda *_: beat())
