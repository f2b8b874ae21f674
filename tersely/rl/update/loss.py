"""Computes the objective's loss of a micro-batch: one forward pass, per-token losses, aggregate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tersely.algorithms.objective import Objective
from tersely.core.aggregate import aggregate
from tersely.core.types import TokenBatch
from tersely.rl.recording.metrics import StepMetrics
from tersely.rl.rollouts.rollout import SAMPLED
from tersely.rl.update.teachers import Teachers


@dataclass(frozen=True)
class ObjectiveLoss:
    """`log_probs(model, ids, mask, columns, entropy=..., aux_loss=...)` is one forward pass."""

    objective: Objective
    log_probs: Callable[..., tuple[Tensor, Tensor | None, Tensor | None]]
    statistics: StepMetrics
    ranks: int
    micro_batches: int
    """Number of micro-batches of a generation batch on each rank."""
    cap: int
    """Maximum tokens per completion."""
    teachers: Teachers | None = None
    """Of a loss that compares distributions; they replace `log_probs`."""
    router_weight: float | None = None
    """Coefficient of the load-balancing loss of a mixture of experts; None if it is not trained."""

    def __call__(
        self, model: Any, rows: Mapping[str, Any], progress: float, accumulated: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, log-probs and entropies (B, T) of these rows, one of `accumulated` micro-batches of a step."""
        mask, advantage = rows["train_mask"], rows["advantages"]
        ids, attention = (torch.cat([rows[f"prompt_{k}"], rows[f"completion_{k}"]], dim=1) for k in ("ids", "mask"))
        router = self.router_weight is not None
        compared, aux_loss = None, None
        if self.teachers is not None:
            logps, entropies, compared = self.teachers(model, rows)
        else:
            logps, found, aux_loss = self.log_probs(model, ids, attention, mask.shape[1], entropy=True, aux_loss=router)
            assert found is not None
            entropies = found
        loss_fn = self.objective.loss_in_force()
        batch = TokenBatch(
            logp=logps,
            old_logp=rows.get("old_per_token_logps", logps.detach()),  # None with one step per batch
            entropy=entropies.detach(),
            mask=mask,
            advantage=(advantage.unsqueeze(1) if advantage.dim() == 1 else advantage).expand_as(logps),
            ref_logp=rows.get("ref_per_token_logps"),
            sampler_logp=rows.get(SAMPLED),
            live_entropy=entropies if loss_fn.needs_live_entropy else None,
            compared=compared,
            progress=progress,
        )
        per_token, metrics = loss_fn(batch)
        loss = self._aggregate(per_token, rows, accumulated)
        if rows.get("spare"):
            loss = loss + 0.0 * logps.sum()  # so that a broken model is detected even without trained rows
        if self.router_weight is not None and aux_loss is not None:
            loss = loss + self.router_weight * aux_loss / accumulated
        self.statistics.add(metrics, batch)
        return loss, logps.detach(), batch.entropy

    def _aggregate(self, per_token: Tensor, rows: Mapping[str, Any], accumulated: int) -> Tensor:
        """Divide by the counts of the whole accumulation window, so that the micro-batch split does not change the loss."""
        how, mask = self.objective.aggregate, rows["train_mask"]
        if how == "sequence_sum":
            return aggregate(per_token, mask, how) * self.ranks
        count = rows["num_items_in_batch"] if how == "token" else rows["rows_in_batch"]
        denominator = count.clamp(min=1) * (accumulated / self.micro_batches) / self.ranks
        return aggregate(per_token, mask, how, denominator=denominator, max_length=self.cap)
