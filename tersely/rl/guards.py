"""What stops a run: each error says what was seen and what to change. The last whole checkpoint stays."""

from __future__ import annotations

import torch
from torch import Tensor


class RunStopped(RuntimeError):
    """The run cannot go on."""


def check_undecided(share: float, limit: float, step: int) -> None:
    """Raise when more than `limit` of a batch's verdicts are undecided."""
    if share > limit:
        raise RunStopped(
            f"{share:.0%} of the verdicts of step {step} are undecided (undecided_limit {limit:.0%}): the verifier times "
            "out, runs out of memory or crashes; raise verifier {timeout, memory_mb} or look at the completions of this step"
        )


def check_loss(loss: Tensor, step: int) -> None:
    """Raise when the loss is no number; the optimiser has not stepped yet."""
    if not torch.isfinite(loss):
        raise RunStopped(
            f"the loss of step {step} is {loss.item()}; the optimiser has not stepped. Lower learning_rate, set "
            "max_grad_norm, or train in float32; `--resume` goes on from the last whole checkpoint"
        )
