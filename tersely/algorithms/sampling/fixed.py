"""Fixed sampling: one temperature for every token.

Paper: none; temperature 1 keeps the sampled distribution equal to the trained one.
    logits'_v = logits_v / temperature
Symbols: logits (R, V); temperature (no unit).
Against GRPO: this is GRPO.
Degenerate: none. A temperature of 0 is an error: groups need variation.
Pitfalls: top-k and top-p truncate the behaviour policy, so it differs from the trained one; they are off here.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tersely.core.errors import require_range
from tersely.core.protocols import Sampling


@dataclass(frozen=True)
class FixedSampling(Sampling):
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_range("fixed.temperature", self.temperature, above=0)

    def __call__(self, logits: Tensor) -> Tensor:
        return logits / self.temperature
