"""Names and means of the metrics of a step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tersely.core.build import numbered
from tersely.core.types import TokenBatch

RATIO_EDGES = (0.5, 0.8, 1.25, 2.0)
"""Ratios; where the histogram of `ratio/share_*` is cut."""
OF_TRAINED = "entropy/of_trained"
"""The entropy of the rows that train alone; `entropy` is that of all rows of the generation batch."""
PARTS = 4
"""Stretches of a completion that `entropy/part_*` tells apart, each a quarter of its tokens."""


class StepMetrics:
    """Means over the tokens of an optimiser step: of all its micro-batches on all ranks, however they were cut.

    A loss's metric is a mean over the trained tokens of its micro-batch, so it counts as much as they are; one whose
    name holds `max` is the largest. `flush` is a collective.
    """

    def __init__(self) -> None:
        self.sums: dict[str, tuple[Tensor, Tensor]] = {}
        self.largest: dict[str, Tensor] = {}

    def add(self, metrics: dict[str, Tensor], batch: TokenBatch) -> None:
        """One micro-batch."""
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
        """Of a whole generation batch, before anything is left out: (n, T) nats, (n, T) bool, verdicts (n,)."""
        self._sums(entropy_statistics(entropy, valid, correct))

    def _sums(self, found: dict[str, tuple[Tensor, Tensor]]) -> None:
        for name, (values, where) in found.items():
            self._sum(name, torch.where(where, values, 0.0).sum(), where.sum())

    def _sum(self, name: str, total: Tensor, count: Tensor) -> None:
        before = self.sums.get(name, (0.0, 0.0))
        self.sums[name] = (before[0] + total.float(), before[1] + count.float())

    def flush(self, accelerator: Any, known: set[str]) -> dict[str, float]:
        """The means of the step, and begin the next. A mean over no token is left out, its name goes to `known` alone."""
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
    """name -> (values, where), both (B, T): what is averaged, and over which tokens: those of the rows that train.

    Entropy (nats); shares of tokens with credit, with blame and with neither; shares of the ratio between `RATIO_EDGES`.
    """
    valid, ones = batch.valid, torch.ones_like(batch.mask, dtype=torch.float32)
    found = {OF_TRAINED: (torch.where(valid, batch.entropy, 0.0).float(), valid)}
    advantage = torch.where(valid, batch.advantage, 0.0)
    for name, chosen in (("praised", advantage > 0), ("blamed", advantage < 0), ("neutral", advantage == 0)):
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
    """`completions/`, over the whole batch: (N,) tokens that are trained on, (N,) bool by an end of their own."""
    terminated = completion[ended] if bool(ended.any()) else completion.new_zeros(1)
    found = {"clipped_ratio": (~ended).float().mean().item()}
    for name, lengths in (("length", completion.float()), ("terminated_length", terminated.float())):
        found |= {f"mean_{name}": lengths.mean().item(), f"min_{name}": lengths.min().item()}
        found[f"max_{name}"] = lengths.max().item()
    return {f"completions/{name}": value for name, value in found.items()}


def reward_metrics(columns: Tensor, weights: Tensor, names: tuple[str, ...], group_size: int) -> dict[str, float]:
    """`reward` and `rewards/`: (N, R) unweighted terms, nan where undecided, with the recipe's weights (R,)."""
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
    """Sample standard deviation of those that are not nan; nan for fewer than two."""
    known = (~values.isnan()).sum()
    variance = torch.nanmean((values - torch.nanmean(values)) ** 2) * (known / (known - 1))
    return torch.where(known > 1, variance, torch.nan).sqrt()


def reward_columns(names: tuple[str, ...]) -> list[Any]:
    """Placeholders that give TRL the terms' names for its metrics; the trainer fills the columns itself."""

    def column(name: str):
        def term(**_: Any):
            raise RuntimeError(f"reward term {name} is computed on whole groups, not per rank")

        term.__name__ = name
        return term

    return [column(name) for name in numbered(names)]
