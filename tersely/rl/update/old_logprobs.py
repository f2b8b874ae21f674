"""Log-probs and entropies of the policy that sampled a batch: a separate pass before the update only where it is needed.

Before the update, over all rows:
    entropies that a component asks for (`needs`): rewards, advantages, filters, samplings, losses with statistics of the
        whole step
    old log-probs, where a batch makes several optimizer steps; TRL makes this pass
Everything else may wait until the update has read the batch: the entropies of the step are for guards and controllers,
which judge at its end, and the gap to the engine has to be known before the weights move. So with one optimizer step a batch
    rows that train      come from the update's own forward passes; their old log-probs are those, and the ratio is exactly 1
    rows that it leaves out    get one forward pass without a gradient, and only where something reads what it gives
and no row goes through the model twice. Passes without a gradient are cut by length as the update is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from tersely.rl.controllers import statistics_of
from tersely.rl.guards.mismatch import check_mismatch, gap, over_ranks
from tersely.rl.recording.metrics import OF_TRAINED, StepMetrics
from tersely.rl.update.micro_batches import cut, take
from tersely.rl.update.padding import fit_columns, padded

if TYPE_CHECKING:
    from trl import GRPOTrainer as _Base
else:
    _Base = object

SAMPLED = "sampling_per_token_logps"


class OldPolicyPass(_Base):
    """Mixed into the trainer before GRPOTrainer. While a batch is being made, `_collecting` is true."""

    _old_pass: tuple[Tensor, Tensor] | None = None
    _collecting = False
    _from_update = False
    """Does this batch's update show the policy that made it?"""
    _forward: tuple[Tensor, Tensor]
    """What the last forward pass of the update gave."""
    _gaps: list[dict[str, float]]
    _gap_is_due = False
    _round: Any
    objective: Any
    guards: Any
    controls: Any
    drawing: Any
    engine: Any
    step_metrics: StepMetrics
    _record: Any
    _timed: Any

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
            device = self.accelerator.device
            with torch.no_grad():
                self._get_per_token_logps_and_entropies(
                    self.model, ids.to(device), mask.to(device), max(map(len, completions))
                )
        assert self._old_pass is not None  # the pass above keeps it
        return self._old_pass

    # ---- entropies of the step, and the gap to the engine ----

    def _begin_observing(self, batch: dict[str, Any]) -> None:
        """Of a batch that has just been made: at once where a pass was made, otherwise while the update reads it."""
        plans = self._round.plans
        prefill = [len(self._round._trained_prefill(plan)) for plan in plans]
        batch["prefill"] = torch.tensor(prefill, device=batch["completion_ids"].device)
        self._gaps, self._gap_is_due = [], SAMPLED in batch
        self._from_update = self._old_pass is None and (self._gap_is_due or self._entropy_is_read())
        if self._old_pass is not None:
            self._observe(batch, *self._old_pass)
            self._judge_gap()

    def _observe(self, rows: dict[str, Any], logps: Tensor, entropies: Tensor) -> None:
        """Some rows of the batch: entropies of the sampled tokens, and their gap to what the engine reported."""
        mask = rows["completion_mask"]
        width = mask.shape[1]
        valid = mask.bool() & (torch.arange(width, device=mask.device) >= rows["prefill"].unsqueeze(1))
        self.step_metrics.add_entropies(fit_columns(entropies, width), valid, rows["correct"])
        if self._gap_is_due:
            self._gaps.append(gap(rows[SAMPLED], fit_columns(self.sampling_state.logp(logps, entropies), width), mask))

    def _observe_update(self, inputs: dict[str, Any]) -> None:
        """A micro-batch of the update, after its forward pass. Before the last backward pass the gap is judged, which
        under DeepSpeed moves the weights."""
        if not self._from_update:
            return
        if not inputs.get("spare"):
            self._observe(inputs, *self._forward)
        if self.accelerator.sync_gradients:
            self._judge_gap()

    def _observe_left_out(self, batch: dict[str, Any], rows: Sequence[int]) -> None:
        """The rows of the batch that no micro-batch of the update holds. Collective."""
        if not self._from_update:
            return
        ids, mask = (
            torch.cat([batch[f"prompt_{kind}"], batch[f"completion_{kind}"]], dim=1) for kind in ("ids", "mask")
        )
        with self._timed("time/log_prob_pass"), torch.no_grad():
            logps, entropies = self._pass_by_length(self.model, ids, mask, batch["completion_ids"].shape[1], rows)
        if rows:
            index = list(rows)
            self._observe(take(batch, index), logps[index], entropies[index])

    def _judge_gap(self) -> None:
        """Rule: the engine samples from the current weights, or the run stops. Collective."""
        if not self._gap_is_due:
            return
        measured = over_ranks(gather_object(self._gaps))
        self._gaps, self._gap_is_due = [], False
        for name, value in measured.items():
            self._record(f"mismatch/{name}", value)
        check_mismatch(self.guards.mismatch, measured, self.state.global_step, self.engine.facts())

    def _entropy_is_read(self) -> bool:
        read = [name for controller in self.objective.controllers for name in statistics_of(controller)]
        read += [name for guard in self.guards.on.values() for name in getattr(guard, "statistics", ())]
        return any(name.split("/")[0] == "entropy" and name != OF_TRAINED for name in read)

    # ---- forward passes ----

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, **kwargs
    ):
        """TRL's. Without a gradient, while a batch is being made, it is cut by length, and the policy's own is kept."""
        if not self._collecting:
            found = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, **kwargs
            )
            if found[1] is not None:
                self._forward = found[0].detach(), found[1].detach()
            return found
        own = model is self.model and not is_reference(self.accelerator.unwrap_model(model))
        everything = range(len(input_ids))
        if not own:
            found = self._pass_by_length(model, input_ids, attention_mask, logits_to_keep, everything, entropy=False)
            return found[0], None, None
        with self._timed("time/log_prob_pass"):
            self._old_pass = self._pass_by_length(model, input_ids, attention_mask, logits_to_keep, everything)
        return *self._old_pass, None

    def _pass_by_length(
        self, model: Any, ids: Tensor, mask: Tensor, columns: int, rows: Sequence[int], *, entropy: bool = True
    ) -> tuple[Tensor, Tensor]:
        """(n, `columns`) log-probs and entropies of the `rows`, 0 elsewhere: in parts of rows of similar length, none with more
        padded tokens than a micro-batch of TRL's. Every rank makes as many passes as the busiest. Collective.

        Without `entropy` the second is 0 everywhere: TRL's reference models have none."""
        completion, prompt = mask[:, -columns:].sum(1).tolist(), mask[:, :-columns].sum(1).tolist()
        budget = self.args.per_device_train_batch_size * ids.shape[1]
        parts = cut([completion[row] for row in rows], [prompt[row] for row in rows], budget, len(ids))
        mine = [[rows[i] for i in part] for part in parts]
        most = int(self.accelerator.gather(torch.tensor([len(mine)], device=ids.device)).max())
        shortest = min(range(len(ids)), key=lambda row: prompt[row] + completion[row])
        logps, entropies = (ids.new_zeros((len(ids), columns), dtype=torch.float32) for _ in range(2))
        before = ids.shape[1] - columns
        for part in [*mine, *[[shortest]] * (most - len(mine))]:
            length = max(1, *(completion[row] for row in part))
            window = slice(before - max(prompt[row] for row in part), before + length)
            found = super()._get_per_token_logps_and_entropies(
                model, ids[part][:, window], mask[part][:, window], length, compute_entropy=entropy
            )
            logps[part, :length] = found[0].float()
            if entropy:
                entropies[part, :length] = found[1].float()
        return logps, entropies


def is_reference(model: Any) -> bool:
    """Is this a PEFT model as TRL reads the reference from it: adapters off, or the copy `ref` of them active?"""
    if not hasattr(model, "peft_config"):
        return False
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = (module for module in model.modules() if isinstance(module, BaseTunerLayer))
    return any(layer.disable_adapters or "ref" in layer.active_adapters for layer in layers)
