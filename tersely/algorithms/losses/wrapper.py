"""Base class of losses that wrap another loss: passes on what the inner one needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Wrapper:
    """Base of the losses with a `base`: passes on what the wrapped loss asks the trainer for."""

    base: Any

    @property
    def needs_live_entropy(self) -> bool:
        return bool(getattr(self.base, "needs_live_entropy", False))

    @property
    def needs_ref_logp(self) -> bool:
        return bool(getattr(self.base, "needs_ref_logp", False))

    @property
    def needs_sampler_logp(self) -> bool:
        return bool(getattr(self.base, "needs_sampler_logp", False))


def loss_chain(loss_fn: Any) -> Iterator[Any]:
    """The loss, then the one it wraps, and so on inwards."""
    while loss_fn is not None:
        yield loss_fn
        loss_fn = getattr(loss_fn, "base", None)
