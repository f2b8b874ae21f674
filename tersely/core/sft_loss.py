"""Base class of cold-start losses, with all hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tersely.core.protocols import hook

if TYPE_CHECKING:
    from torch import Tensor


class SFTLoss:
    """Computes the loss of a cold-start stage."""

    def __call__(self, *inputs: Any, **more: Any) -> tuple[Tensor, Tensor]:
        """Inputs: `nll` (B, T) nats, `entropy` (B, T) nats or `reasoning` (B, T) bool, `mask` (B, T) 0/1. Returns weights
        (B, T) without a gradient, and the loss of this batch. The trainer divides the weighted sum by the tokens of the
        whole step."""
        raise NotImplementedError

    @hook
    def reads_exempt(self) -> bool:
        """True: `__call__` receives `exempt`, (B, T) bool: the tokens that an example marks."""
        return False

    @hook
    def reads_reasoning(self) -> bool:
        """True: `__call__` receives, instead of the entropy, which tokens are reasoning, as the stage has found before it
        trains. Its loss is a mean over the two classes of tokens in the micro-batch, which the trainer averages over
        micro-batches and ranks, instead of a sum over tokens."""
        return False

    @hook
    def reads_step(self) -> bool:
        """True: `__call__` receives `row_means`, the mean losses (nats) of all rows of the optimizer step, for one more
        forward pass."""
        return False

    @hook
    def normalize(self) -> bool:
        """True: with `reads_step`, the divisor is the step's sum of weights instead of its tokens."""
        return False

    def kept_count(self, tokens: int) -> int:
        """The divisor (tokens), from the number of tokens of the step."""
        return tokens
