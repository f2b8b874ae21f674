"""Skips the optimizer step when no row trains: momentum and weight decay would still move the weights.

The learning rate does not advance either, as in a step that mixed precision skips. `state.global_step` counts the step, so
the planned number of steps holds; `update/skipped` is 1 in its line of metrics. One row goes through the model without a
gradient, so that broken weights show.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from trl import GRPOTrainer as _Base
else:
    _Base = object


class EmptyUpdate(_Base):
    """Mixed into the trainer before GRPOTrainer."""

    _skipping = False
    _current_train_step_time: float

    def _skip_update(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """The accumulation step that ends an update without a trained row. Under DeepSpeed the optimizer step is part of
        `backward`, which is not called here; elsewhere accelerate's optimizer takes none while gradients are not synced."""
        began = time.perf_counter()
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        self._skipping = True
        self.accelerator.gradient_state._set_sync_gradients(False)
        self.optimizer._is_overflow = True  # what "skipped" is read from: the learning rate waits
        self._step += 1
        self._metrics["train"]["step_time"].append(self._current_train_step_time + time.perf_counter() - began)
        self._current_train_step_time = 0.0
        return loss.detach()

    def _end_skip(self) -> None:
        if self._skipping:
            self._skipping = self.optimizer._is_overflow = False

    def _clip_grad_norm(self, model):
        return torch.zeros(()) if self._skipping else super()._clip_grad_norm(model)

    def _get_grad_norm(self, model, grad_norm=None):
        return 0.0 if self._skipping else super()._get_grad_norm(model, grad_norm=grad_norm)
