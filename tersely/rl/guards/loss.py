"""Stops the run when the loss is NaN or infinite."""

from __future__ import annotations

from torch import Tensor, isfinite

from tersely.rl.errors import RunStopped


def check_loss(loss: Tensor, step: int) -> None:
    """Raise if the loss is NaN or infinite, before the optimizer steps."""
    if not isfinite(loss):
        raise RunStopped(
            f"the loss of step {step} is {loss.item()}; the optimizer has not stepped. Lower learning_rate, set "
            "max_grad_norm, or train in float32, and continue with `--resume`"
        )
