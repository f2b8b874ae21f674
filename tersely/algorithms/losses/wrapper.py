"""Base class of losses that wrap another loss; forwards the needs of the inner loss."""

from __future__ import annotations

from tersely.core.protocols import Loss


class Wrapper(Loss):
    """Base of the losses with a `base`: forwards the needs of the wrapped loss to the trainer."""

    base: Loss

    @property
    def needs_live_entropy(self) -> bool:
        return self.base.needs_live_entropy

    @property
    def needs_ref_logp(self) -> bool:
        return self.base.needs_ref_logp

    @property
    def needs_sampler_logp(self) -> bool:
        return self.base.needs_sampler_logp
