"""Sampling parameters of the current batch; adaptive samplers update them after scoring."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor

from tersely.core.types import Rollouts


class SamplingState:
    """The sampling as it stands now."""

    def __init__(self, sampling: Any):
        self.sampling = copy.copy(sampling)
        fixed = getattr(sampling, "temperature", None)
        self.temperature: Any = fixed if isinstance(fixed, int | float) else self.sampling
        """What an engine's `generate` takes: a number, or the sampling itself."""

    def metrics(self, rollouts: Rollouts) -> dict[str, float]:
        """Effective temperatures; nothing for a fixed one."""
        return self.sampling.measured(rollouts) if hasattr(self.sampling, "measured") else {}

    def logp(self, logp: Tensor, entropy: Tensor) -> Tensor:
        """(n, T) log-probs that an honest engine reports, from the trainer's at the base temperature."""
        return self.sampling.drawn_logp(logp, entropy) if hasattr(self.sampling, "drawn_logp") else logp
