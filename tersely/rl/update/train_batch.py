"""Adds advantages, masks and counts to the tensors of a generation batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tersely.algorithms.objective import Scores
from tersely.rl.update.padding import fit_columns


def with_scores(
    batch: Mapping[str, Tensor], scores: Scores, correct: Tensor, *, group_size: int, rank: int
) -> dict[str, Tensor]:
    """Add this rank's rows of `scores` and of the verdicts `correct` (N,) to its tensors.

    advantages (n,) or (n, T); train_mask (n, T), 0 on rows and tokens that are not trained; row (n,), index in the whole batch;
    rows_in_batch, number of rows of kept groups on all ranks, masked ones included.
    """
    mask = batch["completion_mask"]
    trainable = batch.get("trainable", mask).to(mask.dtype)
    count, device = len(mask), mask.device
    row = torch.arange(rank * count, (rank + 1) * count)
    kept = scores.keep.repeat_interleave(group_size)
    trains = kept if scores.masked is None else kept & ~scores.masked
    advantage = scores.advantage[row].to(device)
    return {
        **batch,
        "advantages": fit_columns(advantage, mask.shape[1]) if advantage.dim() == 2 else advantage,
        "train_mask": trainable * trains[row].to(device).unsqueeze(1).to(mask.dtype),
        "rows_in_batch": kept.sum().to(device),
        "correct": correct[row].to(device),
        "row": row.to(device),
    }
