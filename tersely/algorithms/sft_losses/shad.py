"""SHAD and RFT: separates reasoning tokens from boilerplate with shuffled answers, and reweights them.

Paper: arXiv 2412.14780 (from secondary sources; verify before calling it the paper's).
    1. pair every input of a small subset with another row's output (`derangement`), tune a copy of the model on that
    2. LD = loss_shuffled - loss_original per token of the full data;  LD > 0 reasoning, LD <= 0 boilerplate
    3. L = w_b L_b + w_r L_r, class means over the batch;  w_b = sigmoid((L_b - L_r) / tau), detached, w_r = 1 - w_b
Symbols: losses nats; tau nats.
Against plain SFT: a higher weight for the class with the higher loss.
Degenerate: a class empty: its weight is 0, the other's 1. Both empty -> 0. Fewer than two rows: no derangement, ValueError.
Pitfalls: class means, not token means, make a small class heavy per token: that is the method. Labels flicker inside words:
    `smooth_words`. The published gains are on tool use, not on long mathematical reasoning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.algorithms.losses.common import masked_mean, only_valid
from tersely.core.errors import require_choice, require_range
from tersely.core.sft_loss import SFTLoss


@dataclass(frozen=True)
class SHAD(SFTLoss):
    reads_reasoning: ClassVar[bool] = True

    tau: float = 1.0
    share: float = 0.01
    """Share of the examples that the copy is tuned on with shuffled answers; at least one batch."""
    steps: int = 50
    """Optimizer steps of that copy."""
    smooth: Literal["none", "word"] = "none"
    """`word`: a token has the class of most tokens of its word."""

    def __post_init__(self) -> None:
        require_range("shad.tau", self.tau, above=0)
        require_range("shad.share", self.share, above=0, at_most=1)
        require_range("shad.steps", self.steps, at_least=1)
        require_choice("shad.smooth", self.smooth, ("none", "word"))

    def __call__(self, nll: Tensor, reasoning: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) nats, bool, 0/1 -> weights (B, T), which sum nll to the loss, and the loss."""
        valid = mask.to(torch.bool)
        nll = only_valid(nll, valid)
        classes = (valid & ~reasoning.to(torch.bool), valid & reasoning.to(torch.bool))
        counts = [chosen.sum() for chosen in classes]
        means = [masked_mean(nll.detach(), chosen) for chosen in classes]
        boilerplate = torch.sigmoid((means[0] - means[1]) / self.tau)
        boilerplate = torch.where(counts[1] == 0, 1.0, torch.where(counts[0] == 0, 0.0, boilerplate)).to(nll.dtype)
        shares = (boilerplate, 1 - boilerplate)
        weights = sum(
            torch.where(chosen, share / count.clamp(min=1), 0.0)
            for chosen, share, count in zip(classes, shares, counts, strict=True)
        )
        assert isinstance(weights, Tensor)  # sum of two tensors
        return weights, (weights * nll).sum()


def derangement(rows: int, seed: int) -> list[int]:
    """A permutation of range(rows) that leaves no row in place; the same for the same seed."""
    if rows < 2:
        raise ValueError(f"shad: got {rows} rows; expected at least 2 for a derangement")
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).tolist()
    partner = [0] * rows
    for i, row in enumerate(order):  # one random cycle through all rows
        partner[row] = order[(i + 1) % rows]
    return partner


def reasoning_tokens(loss_shuffled: Tensor, loss_original: Tensor) -> Tensor:
    """Bool of the losses' shape: True if the copy tuned on shuffled answers has a higher loss on the token."""
    return loss_shuffled - loss_original > 0


def smooth_words(reasoning: Tensor, words: Tensor) -> Tensor:
    """(T,) bool by the majority over each word; `words` (T,) int64 word number of each token. A tie is reasoning."""
    if words.numel() == 0:
        return reasoning
    _, index = words.unique(return_inverse=True)
    yes = torch.bincount(index, weights=reasoning.double())
    return (2 * yes >= torch.bincount(index))[index]


def boilerplate_share(reasoning: Tensor, mask: Tensor) -> float:
    """Share of boilerplate among the tokens with mask 1; 0 without any."""
    valid = mask.to(torch.bool)
    return masked_mean((~reasoning.to(torch.bool)).double(), valid).item()
