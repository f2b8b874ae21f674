"""Names and means of the metrics of a step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tersely.core.build import numbered
from tersely.core.types import TokenBatch

RATIO_EDGES = (0.5, 0.8, 1.25, 2.0)
"""Bin edges of the histogram `ratio/share_*`."""
OF_TRAINED = "entropy/of_trained"
"""Entropy of the trained rows; `entropy` is that of all rows of the generation batch."""
PARTS = 4
"""Number of parts of a completion for `entropy/part_*`, each a quarter of its tokens."""


class StepMetrics:
    """Means over the tokens of an optimizer step, over all its micro-batches on all ranks.

    A loss's metric is a mean over the trained tokens of its micro-batch and is weighted by their number; for a name with
    `max` it is the maximum. `flush` is a collective.
    """

    def __init__(self) -> None:
        self.sums: dict[str, tuple[Tensor, Tensor]] = {}
        self.largest: dict[str, Tensor] = {}

    def add(self, metrics: dict[str, Tensor], batch: TokenBatch) -> None:
        """Add one micro-batch."""
        with torch.no_grad():
            valid = batch.valid
            count, device = valid.sum(), valid.device
            for name, value in metrics.items():
                value = torch.as_tensor(value, device=device, dtype=torch.float32)
                if "max" in name:
                    self.largest[name] = torch.maximum(value, self.largest.get(name, value))
                else:
                    self._sum(name, value * count, count)
            self._sums(token_statistics(batch))

    def add_entropies(self, entropy: Tensor, valid: Tensor, correct: Tensor) -> None:
        """Add the entropies of a whole generation batch: (n, T) nats, (n, T) bool, verdicts (n,)."""
        self._sums(entropy_statistics(entropy, valid, correct))

    def _sums(self, found: dict[str, tuple[Tensor, Tensor]]) -> None:
        for name, (values, where) in found.items():
            self._sum(name, torch.where(where, values, 0.0).sum(), where.sum())

    def _sum(self, name: str, total: Tensor, count: Tensor) -> None:
        before = self.sums.get(name, (0.0, 0.0))
        self.sums[name] = (before[0] + total.float(), before[1] + count.float())

    def flush(self, accelerator: Any, known: set[str]) -> dict[str, float]:
        """Return the means of the step and reset. A mean over no tokens is omitted; its name is only added to `known`."""
        if not self.sums:
            return {}
        known.update(self.sums)
        totals = accelerator.reduce(torch.stack([torch.stack(pair) for pair in self.sums.values()]), reduction="sum")
        means = {name: total / n for name, (total, n) in zip(self.sums, totals.tolist(), strict=True) if n}
        if self.largest:
            largest = accelerator.gather(torch.stack(list(self.largest.values()))).view(-1, len(self.largest)).amax(0)
            means |= dict(zip(self.largest, largest.tolist(), strict=True))
        self.sums, self.largest = {}, {}
        return means


def entropy_statistics(entropy: Tensor, valid: Tensor, correct: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """name -> (values, where), both (n, T): entropy (nats) in all, by quarter of the completion and by verdict."""
    entropy = torch.where(valid, entropy, 0.0).float()
    found = {"entropy": (entropy, valid)}
    part = (valid.cumsum(1) - 1) * PARTS // valid.sum(1, keepdim=True).clamp(min=1)
    found |= {f"entropy/part_{i + 1}": (entropy, valid & (part == i)) for i in range(PARTS)}
    verdict = correct.unsqueeze(1)
    return found | {
        f"entropy/{name}": (entropy, valid & (verdict == v)) for name, v in (("correct", 1.0), ("incorrect", 0.0))
    }


def token_statistics(batch: TokenBatch) -> dict[str, tuple[Tensor, Tensor]]:
    """name -> (values, where), both (B, T): values to average, and the tokens of the trained rows.

    Entropy (nats); shares of tokens with positive, negative and zero advantage; shares of the ratio between `RATIO_EDGES`.
    """
    valid, ones = batch.valid, torch.ones_like(batch.mask, dtype=torch.float32)
    found = {OF_TRAINED: (torch.where(valid, batch.entropy, 0.0).float(), valid)}
    advantage = torch.where(valid, batch.advantage, 0.0)
    for name, chosen in (("positive", advantage > 0), ("negative", advantage < 0), ("zero", advantage == 0)):
        found[f"tokens/{name}_share"] = (ones * chosen, valid)
    gap = torch.where(valid, batch.logp.detach() - batch.old_logp, 0.0)
    bin_of = torch.bucketize(gap.float().exp(), torch.tensor(RATIO_EDGES, device=gap.device))
    names = [f"ratio/share_below_{RATIO_EDGES[0]:g}"]
    names += [f"ratio/share_{a:g}_to_{b:g}" for a, b in zip(RATIO_EDGES, RATIO_EDGES[1:], strict=False)]
    names += [f"ratio/share_above_{RATIO_EDGES[-1]:g}"]
    for i, name in enumerate(names):
        found[name] = (ones * (bin_of == i), valid)
    return found


def length_metrics(completion: Tensor, ended: Tensor) -> dict[str, float]:
    """`completions/` metrics over the whole batch: (N,) trained tokens, (N,) bool ended."""
    terminated = completion[ended] if bool(ended.any()) else completion.new_zeros(1)
    found = {"clipped_ratio": (~ended).float().mean().item()}
    for name, lengths in (("length", completion.float()), ("terminated_length", terminated.float())):
        found |= {f"mean_{name}": lengths.mean().item(), f"min_{name}": lengths.min().item()}
        found[f"max_{name}"] = lengths.max().item()
    return {f"completions/{name}": value for name, value in found.items()}


def reward_metrics(columns: Tensor, weights: Tensor, names: tuple[str, ...], group_size: int) -> dict[str, float]:
    """`reward` and `rewards/` metrics: (N, R) unweighted terms, nan for undecided rows, with the recipe's weights (R,)."""
    reward = (columns * weights).nansum(1).masked_fill(columns.isnan().all(1), torch.nan)
    spread = torch.stack([known_std(group) for group in reward.view(-1, group_size)])
    found = {
        "reward": torch.nanmean(reward).item(),
        "reward_std": known_std(reward).item(),
        "frac_reward_zero_std": torch.isclose(spread, torch.zeros_like(spread)).float().mean().item(),
    }
    for name, column in zip(numbered(names), columns.unbind(1), strict=True):
        found |= {f"rewards/{name}/mean": torch.nanmean(column).item(), f"rewards/{name}/std": known_std(column).item()}
    return found


def known_std(values: Tensor) -> Tensor:
    """Sample standard deviation of the values that are not nan; nan for fewer than two."""
    known = (~values.isnan()).sum()
    variance = torch.nanmean((values - torch.nanmean(values)) ** 2) * (known / (known - 1))
    return torch.where(known > 1, variance, torch.nan).sqrt()


def reward_columns(names: tuple[str, ...]) -> list[Any]:
    """Placeholder reward functions that give TRL the names of the terms; the trainer computes the values."""

    def column(name: str):
        def term(**_: Any):
            raise RuntimeError(f"reward term {name} is computed on whole groups, not per rank")

        term.__name__ = name
        return term

    return [column(name) for name in numbered(names)]
