"""Sampling parameters of the current batch; adaptive samplers update them after scoring."""

from __future__ import annotations

import copy

from torch import Tensor

from tersely.core.protocols import Sampling
from tersely.core.types import Rollouts


class SamplingState:
    """The current sampling component."""

    def __init__(self, sampling: Sampling):
        self.sampling = copy.copy(sampling)
        fixed = sampling.fixed_temperature
        self.temperature: float | Sampling = self.sampling if fixed is None else fixed
        """Argument of an engine's `generate`: a number, or the sampling component."""

    def metrics(self, rollouts: Rollouts) -> dict[str, float]:
        """Metrics of the temperatures; empty for a fixed one."""
        return self.sampling.measured(rollouts)

    def logp(self, logp: Tensor, entropy: Tensor) -> Tensor:
        """(n, T) log-probs expected from the engine, from the trainer's at the base temperature."""
        return self.sampling.drawn_logp(logp, entropy)
