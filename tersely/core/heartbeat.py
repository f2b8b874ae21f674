"""Reports the progress of this process to the watchdog, if one runs: a new phase (`now`), or a heartbeat in it (`beat`)."""

from __future__ import annotations

from typing import Any, Protocol


class Listener(Protocol):
    def now(self, phase: str) -> None: ...
    def beat(self) -> None: ...


listener: Listener | None = None


def now(phase: str) -> None:
    """This process gets on: it does `phase` from here."""
    if listener is not None:
        listener.now(phase)


def beat() -> None:
    """This process gets on with the phase it is in."""
    if listener is not None:
        listener.beat()


def beat_at_each_pass(model: Any) -> None:
    """A heartbeat for each forward pass of a model, whoever makes it: log-probs go through the backbone alone."""
    for module in {id(part): part for part in (model, getattr(model, "base_model", model))}.values():
        module.register_forward_hook(lambda *_: beat())
