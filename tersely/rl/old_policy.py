"""Log-probs and entropies of the policy that made a batch: one pass, TRL's own where it makes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tersely.rl.control import statistics_of
from tersely.rl.padding import fit_columns, padded
from tersely.rl.step_metrics import OF_TRAINED, StepMetrics

if TYPE_CHECKING:
    from trl import GRPOTrainer as _Base
else:
    _Base = object


class OldPolicyPass(_Base):
    """Mixed into the trainer before GRPOTrainer. While a batch is being made, `_collecting` is true."""

    _old_pass: tuple[Tensor, Tensor] | None = None
    _collecting = False
    _round: Any
    objective: Any
    guards: Any
    controls: Any
    _record: Any

    def _gathered_tokens(self) -> tuple[Tensor | None, Tensor | None]:
        """(N, T) token ids and old-policy entropies of the whole batch, only where a component asks for them."""
        needs = self.objective.needs
        if not needs & {"token_ids", "entropy"}:
            return None, None
        ids = padded(self._round.completion_ids, -1, "right").to(self.accelerator.device)
        ids = self._gather_columns(ids, -1)
        entropy = self._gather_columns(self._policy_pass()[1], 0.0) if "entropy" in needs else None
        return ids, entropy

    def _gather_columns(self, rows: Tensor, fill: float) -> Tensor:
        return self.accelerator.gather(self.accelerator.pad_across_processes(rows, dim=1, pad_index=fill)).cpu()

    def _policy_pass(self) -> tuple[Tensor, Tensor]:
        """(n, T) log-probs and entropies of the policy that made the batch: TRL's own pass where it made one."""
        if self._old_pass is None:
            prompts, completions = self._round.prompt_ids, self._round.completion_ids
            padding = self._tokenizer.pad_token_id
            ids = torch.cat([padded(prompts, padding, "left"), padded(completions, padding, "right")], dim=1)
            ones = [[[1] * len(row) for row in rows] for rows in (prompts, completions)]
            mask = torch.cat([padded(ones[0], 0, "left"), padded(ones[1], 0, "right")], dim=1)
            device, rows = self.accelerator.device, self.args.per_device_train_batch_size
            with torch.no_grad():
                self._get_per_token_logps_and_entropies(
                    self.model, ids.to(device), mask.to(device), max(map(len, completions)), batch_size=rows
                )
        assert self._old_pass is not None  # the pass above keeps it
        return self._old_pass

    def _record_entropies(self, mask: Tensor, correct: Tensor) -> None:
        """`entropy` and its parts, of the sampled tokens of every row, from the pass where there is one. One is made for
        a controller or a guard that reads them: what the update sees are the rows with a signal alone."""
        if self._old_pass is None and not self._entropy_is_read():
            return
        prefill = torch.tensor(
            [len(self._round._trained_prefill(plan)) for plan in self._round.plans], device=mask.device
        )
        valid = mask.bool() & (torch.arange(mask.shape[1], device=mask.device) >= prefill.unsqueeze(1))
        means = StepMetrics()
        means.add_entropies(fit_columns(self._policy_pass()[1], mask.shape[1]), valid, correct)
        for name, value in means.flush(self.accelerator, self.controls.known).items():
            self._record(name, value)

    def _entropy_is_read(self) -> bool:
        read = [name for controller in self.objective.controllers for name in statistics_of(controller)]
        read += [name for guard in self.guards.on.values() for name in getattr(guard, "statistics", ())]
        return any(name.split("/")[0] == "entropy" and name != OF_TRAINED for name in read)

    def _get_per_token_logps_and_entropies(self, model, *args, **kwargs):
        """TRL's pass. While a batch is being made, the policy's own is kept, with its entropies."""
        if not self._collecting or model is not self.model or is_reference(self.accelerator.unwrap_model(model)):
            return super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        logps, entropies, aux = super()._get_per_token_logps_and_entropies(
            model, *args, **{**kwargs, "compute_entropy": True}
        )
        self._old_pass = (logps.detach(), entropies.detach())
        return logps, entropies, aux


def is_reference(model: Any) -> bool:
    """Is this a PEFT model as TRL reads the reference from it: adapters off, or the copy `ref` of them active?"""
    if not hasattr(model, "peft_config"):
        return False
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = (module for module in model.modules() if isinstance(module, BaseTunerLayer))
    return any(layer.disable_adapters or "ref" in layer.active_adapters for layer in layers)
