"""Base class of losses that wrap another loss: passes on what the inner one needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Wrapper:
    """Base of the policies with a `base`: passes on what the wrapped policy asks the trainer for."""

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


def policy_chain(policy: Any) -> Iterator[Any]:
    """The policy, then the one it wraps, and so on inwards."""
    while policy is not None:
        yield policy
        policy = getattr(policy, "base", None)
