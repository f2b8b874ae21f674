"""HAPO's sampling: a temperature per token that depends on its entropy.

Paper: arXiv 2509.16591 (Eq. 8 from secondary sources), from the released code. The loss is `hapo`.
    d = log max(H, entropy_floor) - pivot ;    x = clamp(d / max(upper, 1e-6) if d > 0 else d / max(lower, 1e-6), -1, 1)
    T = max(base_temperature (1 + strength x), min_temperature) ;   logits' = logits / T
Symbols: H nats, of softmax(raw logits), before temperature, top-k and top-p; pivot, upper, lower log nats, from the
    previous batch's old-policy entropies (see `core/token_entropy.py`); temperatures (no unit). `strength` 0.05 is the code's,
    the paper reports 0.1.
Against GRPO: a slightly higher temperature for forking tokens, a slightly lower one for certain tokens.
Degenerate: no statistics yet (first step) -> T = base. A deterministic row has H = 0 and the lowest T. A previous batch of
    constant entropy: any other entropy is beyond its extremes, x = +-1.
Pitfalls: `as_released` changes the sign of the d <= 0 branch; `unscaled` (the paper's Eq. 8) is x = d / max(spread, 1e-6),
    not clamped. The behaviour policy is not softmax(z / T_base): if you correct it, use token_truncate. Off for
    evaluation and greedy decoding. top_p < 1 truncates after it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from tersely.core.errors import require_choice, require_range
from tersely.core.present_tokens import sampled_tokens
from tersely.core.protocols import Sampling
from tersely.core.token_entropy import SMALLEST_SPAN, entropy_statistics, log_entropy, position
from tersely.core.types import Rollouts


@dataclass
class HAPOTemperature(Sampling):
    needs: ClassVar[tuple[str, ...]] = ("entropy",)

    base_temperature: float = 1.0
    strength: float = 0.05
    pivot_quantile: float = 0.8
    entropy_floor: float = 1e-6
    min_temperature: float = 0.05
    form: Literal["intended", "as_released", "unscaled"] = "intended"
    current: dict[str, float] | None = field(init=False, default=None)
    """Statistics of the previous batch; None before the first batch."""

    def __post_init__(self) -> None:
        require_range("hapo_temperature.base_temperature", self.base_temperature, above=0)
        require_range("hapo_temperature.strength", self.strength, at_least=0)
        require_range("hapo_temperature.pivot_quantile", self.pivot_quantile, at_least=0, at_most=1)
        require_range("hapo_temperature.entropy_floor", self.entropy_floor, above=0)
        require_range("hapo_temperature.min_temperature", self.min_temperature, above=0)
        require_choice("hapo_temperature.form", self.form, ("intended", "as_released", "unscaled"))

    def statistics(self, entropy: Tensor, mask: Tensor) -> dict[str, float] | None:
        """pivot, spread, upper, lower (log nats) over the tokens with mask 1; None without any."""
        return entropy_statistics(entropy, mask, self.pivot_quantile, self.entropy_floor)

    def temperature(self, logits: Tensor, statistics: Mapping[str, float] | None) -> Tensor:
        """(R,) float32 temperatures for (R, V) raw logits."""
        return self.at_entropy(row_entropy(logits), statistics)

    def at_entropy(self, entropy: Tensor, statistics: Mapping[str, float] | None) -> Tensor:
        """Temperatures for entropies (nats) of any shape, float32."""
        if statistics is None:
            return torch.full_like(entropy, self.base_temperature, dtype=torch.float32)
        level = log_entropy(entropy, self.entropy_floor)
        if self.form == "unscaled":
            x = (level - statistics["pivot"]) / max(float(statistics["spread"]), SMALLEST_SPAN)
        else:
            x = position(level, statistics)
            if self.form == "as_released":
                x = x.abs()
        t = (self.base_temperature * (1 + self.strength * x)).clamp(min=self.min_temperature)
        return t.float()

    def __call__(self, logits: Tensor) -> Tensor:
        """(R, V) raw logits divided by their temperatures."""
        return logits / self.temperature(logits, self.current).unsqueeze(1)

    def update(self, rollouts: Rollouts) -> None:
        """Store the statistics of this batch's old-policy entropies for the next batch."""
        entropy = rollouts.require("entropy", "hapo_temperature")
        found = self.statistics(entropy, sampled_tokens(rollouts, entropy.shape[1]))
        self.current = self.current if found is None else found

    def engine_arguments(self) -> dict[str, str]:
        """`extra_args` of vLLM's SamplingParams, or `vllm_xargs` over HTTP, for the same temperatures there."""
        settings = {
            name: getattr(self, name)
            for name in ("base_temperature", "strength", "entropy_floor", "min_temperature", "form")
        }
        return {"tersely_temperature": json.dumps({**settings, "statistics": self.current})}

    def drawn_logp(self, logp: Tensor, entropy: Tensor) -> Tensor:
        """Log-probs of sampled tokens at their temperature, to first order, from those at the base temperature.

        d log p / d(1/T) = z - E z = log p + H, so the error is of the order of strength squared.
        """
        cooling = self.base_temperature / self.at_entropy(entropy, self.current) - 1
        return logp + cooling * (logp + entropy)

    def measured(self, rollouts: Rollouts) -> dict[str, float]:
        """Temperatures at which this batch's tokens were sampled, from their old-policy entropies and the current statistics.

        Exact for base_temperature 1; elsewhere the trainer's entropies are those at the base temperature.
        """
        entropy = rollouts.require("entropy", "hapo_temperature")
        drawn = self.at_entropy(entropy[sampled_tokens(rollouts, entropy.shape[1])], self.current)
        if not drawn.numel():
            return {}
        hotter = (drawn > self.base_temperature).float().mean().item()
        found = {"mean": drawn.mean().item(), "min": drawn.min().item(), "max": drawn.max().item()}
        return {f"temperature/{name}": value for name, value in found.items()} | {"temperature/hotter_share": hotter}

    def state_dict(self) -> dict[str, Any]:
        return {"current": None if self.current is None else dict(self.current)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.current = None if state["current"] is None else {k: float(v) for k, v in state["current"].items()}


def row_entropy(logits: Tensor) -> Tensor:
    """(R, V) -> (R,) entropy of each row in float32, nats; a logit of -inf adds nothing."""
    logp = torch.log_softmax(logits.detach().float(), dim=-1).clamp(min=-1e30)  # 0 * -1e30 is 0, 0 * -inf is nan
    return -torch.linalg.vecdot(logp.exp(), logp)
