"""Names and means of what a step records."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tersely.rl.types import TokenBatch


def policy_means(accelerator: Any, metrics: dict[str, Tensor], batch: TokenBatch) -> dict[str, float]:
    """Token-weighted means over ranks of a policy's metrics and of the entropy, in one reduction."""
    valid = batch.valid
    count = valid.sum()
    entropy = torch.where(valid, batch.entropy, 0.0).sum() / count.clamp(min=1)
    values = torch.stack([entropy, *(torch.as_tensor(v, device=entropy.device) for v in metrics.values())]).float()
    totals = accelerator.reduce(torch.cat([values * count, count.view(1).float()]), reduction="sum")
    return dict(zip(["entropy", *metrics], (totals[:-1] / totals[-1].clamp(min=1)).tolist(), strict=True))


def reward_columns(names: tuple[str, ...]) -> list[Any]:
    """Placeholders that give TRL the terms' names for its metrics; the trainer fills the columns itself."""

    def column(name: str):
        def term(**_: Any):
            raise RuntimeError(f"reward term {name} is computed on whole groups, not per rank")

        term.__name__ = name
        return term

    unique = [name if names.index(name) == i else f"{name}_{i}" for i, name in enumerate(names)]
    return [column(name) for name in unique]
