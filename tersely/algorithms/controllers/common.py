"""Copies a loss with other parameters; the original stays unchanged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tersely.core.protocols import Loss


def change_chain(loss: Loss, change: Callable[[Loss], Loss]) -> Loss:
    """Copy of the loss with `change` applied to it and to every loss that it wraps."""
    if loss.base is not None:
        base = change_chain(loss.base, change)
        loss = loss if base is loss.base else replace(loss, base=base)  # type: ignore[type-var]
    return change(loss)
