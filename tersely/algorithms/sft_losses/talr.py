"""TALR, token-adaptive loss reweighting: lower weights for improbable tokens.

Paper: arXiv 2509.20758 (from secondary sources; whether it normalises is unknown: verify).
    w_t = max(exp(-l_t / tau), floor), detached ;     loss = mean over valid tokens of w_t l_t
    tau = median over rows of each row's mean l, at least min_tau (mean of the two middle rows)
    normalize: the mean is divided by the mean weight
Symbols: l = -log p, nats; tau nats. A fixed `tau: 1` gives w = p (the DFT rule).
Against plain SFT: domain tuning with less loss of general skill.
Degenerate: a row without valid tokens is left out of the median; none at all -> loss 0. All l = 0 -> w = 1. One row: tau is
    its own mean.
Pitfalls: weights below 1 shrink the loss: compare at equal loss scale. Harmful to new control strings, which are exactly the
    improbable tokens: mark them `exempt`, which keeps w = 1. tau and the mean weight are those of the global batch: pass
    `row_means` gathered over ranks and accumulation steps, as a cold start stage does with one more forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.algorithms.losses.common import masked_mean, only_valid, row_mean
from tersely.core.errors import require_range
from tersely.core.sft_loss import SFTLoss


@dataclass(frozen=True)
class TALR(SFTLoss):
    reads_exempt: ClassVar[bool] = True
    """The loss needs the exempt tokens of each example."""

    floor: float = 0.01
    min_tau: float = 1e-6
    normalize: bool = False
    tau: float | None = None

    @property
    def reads_step(self) -> bool:
        """True if the trainer must compute `row_means` of a whole optimizer step before its first micro-batch."""
        return self.tau is None or self.normalize

    def __post_init__(self) -> None:
        require_range("talr.floor", self.floor, at_least=0, at_most=1)
        require_range("talr.min_tau", self.min_tau, above=0)
        require_range("talr.tau", self.tau, above=0)

    def __call__(
        self,
        nll: Tensor,
        entropy: Tensor | None,
        mask: Tensor,
        exempt: Tensor | None = None,
        row_means: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(B, T) nats, (unused), 0/1, optional (B, T) bool, optional 1-d nats -> weights (B, T) and the loss."""
        valid = mask.to(torch.bool)
        nll = only_valid(nll, valid)
        with torch.no_grad():
            tau = self.temperature(mean_row_losses(nll, mask) if row_means is None else row_means)
            weights = torch.exp(-nll.detach() / tau).clamp(min=self.floor)
            if exempt is not None:
                weights = weights.masked_fill(exempt.to(torch.bool), 1.0)
            weights = torch.where(valid, weights, 0.0)
        loss = masked_mean(weights * nll, valid)
        if self.normalize:
            loss = loss / masked_mean(weights, valid).clamp(min=1e-30)
        return weights, loss

    def temperature(self, row_means: Tensor) -> float | Tensor:
        """tau from the mean losses of the rows of the whole batch."""
        if self.tau is not None:
            return self.tau
        if row_means.numel() == 0:
            return 1.0
        return torch.quantile(row_means.double(), 0.5).clamp(min=self.min_tau).to(row_means.dtype)


def mean_row_losses(nll: Tensor, mask: Tensor) -> Tensor:
    """(rows with a valid token,) mean loss of each, nats, detached."""
    valid = mask.to(torch.bool)
    return row_mean(only_valid(nll.detach(), valid), valid).flatten()[valid.any(1)]
