"""All use of the private API of TRL and transformers: overridden methods, and private attributes.

The trainers of this package derive from `RolloutTrainer` and `ExampleTrainer`, and use only the public methods here.
`configs/trl_contract.yaml` has the overridden and called methods of the tested TRL (`rl/trl/contract.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers.trainer import TRAINING_ARGS_NAME

from tersely.core.files import replace
from tersely.engines import activation_checkpointing
from tersely.engines.adapter import adapter_only
from tersely.engines.chat import Prompting
from tersely.engines.vllm_import import hidden_from_trl
from tersely.rl.checkpoints import manifest
from tersely.rl.checkpoints.own_hyperparameters import own_hyperparameters
from tersely.rl.checkpoints.resume import launch_facts
from tersely.rl.recording.metrics import OF_TRAINED
from tersely.rl.recording.model_card import card_of
from tersely.rl.rollouts.prompt_sampler import PromptStream
from tersely.rl.trl.sharded import gathered

with hidden_from_trl():
    from trl import GRPOTrainer, SFTTrainer
    from trl.models.utils import disable_gradient_checkpointing, unwrap_model_for_generation
    from trl.trainer.utils import use_adapter

if TYPE_CHECKING:
    from trl import GRPOTrainer as _Base
else:
    _Base = object


class CompleteCheckpoints(_Base):
    """Checkpoints with a manifest, for both trainers. A checkpoint without one is incomplete and never used."""

    prompting: Prompting | None = None
    """Prompting that is saved with the weights, so that an evaluation uses the same prompts."""
    _resumed: int = 0
    _saved: tuple[int, ...] = ()

    def component_state(self) -> dict[str, Any]:
        """State without the weights, for a checkpoint."""
        return {}

    def load_component_state(self, state: Mapping[str, Any]) -> None:
        """Restore the state from a checkpoint."""

    def save_more(self, folder: Path) -> None:
        """Write other weights than those of the trained model into a checkpoint. Collective."""

    def load_more(self, folder: Path) -> None:
        """Read what `save_more` wrote. Collective."""

    def _save_checkpoint(self, model, trial):
        step, limit = self.state.global_step, self.args.save_total_limit
        if self.accelerator.is_main_process:
            manifest.make_room(self.args.output_dir, limit, self._resumed, self._saved)
        self.accelerator.wait_for_everyone()
        self.args.save_total_limit = None  # Trainer would delete by age, before the new checkpoint has a manifest
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        self.save_more(manifest.folder(self.args.output_dir, step))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            state = {**self.component_state(), "launch": launch_facts(self.args)}
            manifest.complete(self.args.output_dir, step, state)
        self._saved = (*self._saved, step)
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir=None, state_dict=None):
        super()._save(output_dir, state_dict)
        adapter_only(Path(output_dir or self.args.output_dir))
        # a pickle of all arguments, including tokens, which nothing reads again
        (Path(output_dir or self.args.output_dir) / TRAINING_ARGS_NAME).unlink(missing_ok=True)
        if self.prompting is not None:
            self.prompting.save(output_dir or self.args.output_dir)

    def _init_training_state(self, max_steps, *args, **kwargs):
        found = super()._init_training_state(max_steps, *args, **kwargs)
        self.state.compute_steps(
            self.args, max_steps
        )  # otherwise a resumed run would log and save at the checkpoint's steps
        return found

    def _load_optimizer_and_scheduler(self, folder):
        super()._load_optimizer_and_scheduler(folder)
        if folder is not None:
            self._resumed, self._saved = int(Path(folder).name.rpartition("-")[2]), ()
            _, asked = self.get_optimizer_cls_and_kwargs(self.args)
            own_hyperparameters(self.optimizer, self.lr_scheduler, self.args, asked)
            self.load_component_state(manifest.component_state(folder))
            self.load_more(Path(folder))


class RolloutTrainer(CompleteCheckpoints, GRPOTrainer):
    """TRL's GRPOTrainer without its rollouts: model, reference, optimizer, accumulation, logging and checkpoints are TRL's."""

    _skipping = False
    _current_train_step_time: float
    _last_forward: tuple[Tensor, Tensor]

    # ---- what a trainer implements ----

    @property
    def micro_steps(self) -> int:
        """Number of micro-batches per rank over the whole run."""
        raise NotImplementedError

    def loss(self, model: Any, micro_batch: dict[str, Any]) -> Tensor:
        """Loss of one micro-batch, with a gradient."""
        raise NotImplementedError

    def before_logging(self) -> None:
        """Called after all callbacks at the end of a step, before it is logged and saved. Collective."""

    def after_logging(self) -> None:
        """Called after a step was logged and saved."""

    # ---- the loop of transformers ----

    def get_train_dataloader(self):
        """Loader of micro-step numbers; TRL's loader would collate all rows of the generation batch for each of them."""
        return DataLoader(range(self.micro_steps), batch_size=1, collate_fn=list)

    @property
    def micro_step(self) -> int:
        """Number of micro-batches that this process has processed."""
        return self._step

    def _prepare_inputs(self, generation_batch):
        """Return the micro-batch unchanged, because it is already on its device."""
        return generation_batch

    @contextmanager
    def counted_in_step_time(self) -> Iterator[None]:
        """Exclude our work from TRL's `step_time`, which counts only its training step."""
        began = time.perf_counter()
        yield
        self._current_train_step_time += time.perf_counter() - began

    def skip_micro_step(self) -> Tensor:
        """Skip a micro-step without work on any rank."""
        self._step += 1
        return torch.zeros((), device=self.args.device)

    def skip_update(self, model: Any, micro_batch: Any, num_items_in_batch: Any = None) -> Tensor:
        """Skip an update without a trained row, because momentum and weight decay would still change the weights.

        The learning rate does not advance either, as in a step that mixed precision skips; `state.global_step` does, so the
        planned number of steps is kept. One row goes through the model without a gradient, to detect broken weights. With
        DeepSpeed the optimizer step is part of `backward`, which is not called here; otherwise accelerate's optimizer does
        nothing while gradients are not synced."""
        began = time.perf_counter()
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, micro_batch)
        self._skipping = True
        self.accelerator.gradient_state._set_sync_gradients(False)
        self.optimizer._is_overflow = True  # marks the step as skipped, so the learning rate does not advance
        self._step += 1
        self._metrics["train"]["step_time"].append(self._current_train_step_time + time.perf_counter() - began)
        self._current_train_step_time = 0.0
        return loss.detach()

    def end_skip(self) -> None:
        """Called before the next micro-step."""
        if self._skipping:
            self._skipping = self.optimizer._is_overflow = False

    def _clip_grad_norm(self, model):
        return torch.zeros(()) if self._skipping else super()._clip_grad_norm(model)

    def _get_grad_norm(self, model, grad_norm=None):
        return 0.0 if self._skipping else super()._get_grad_norm(model, grad_norm=grad_norm)

    def _maybe_log_save_evaluate(self, *args, **kwargs):
        self.before_logging()
        super()._maybe_log_save_evaluate(*args, **kwargs)
        self.after_logging()

    # ---- forward passes ----

    def token_log_probs(
        self,
        model: Any,
        ids: Tensor,
        mask: Tensor,
        columns: int,
        *,
        entropy: bool = False,
        aux_loss: bool = False,
        rows_at_once: int | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(n, `columns`) log-probs of the last tokens, their entropies, the router's loss; the last two only on request."""
        return super()._get_per_token_logps_and_entropies(
            model, ids, mask, columns, rows_at_once, compute_entropy=entropy, compute_aux_loss=aux_loss
        )

    def _get_per_token_logps_and_entropies(self, *args, **kwargs):
        """Log-probs from TRL, for TRL's own losses."""
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        if found[1] is not None:
            self._last_forward = found[0].detach(), found[1].detach()
        return found

    def trl_loss(self, model: Any, micro_batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """TRL's own loss, and the log-probs and entropies of its forward pass."""
        loss = super()._compute_loss(model, {**micro_batch, "tool_mask": micro_batch["train_mask"]})
        recorded = self._metrics[self._mode]
        recorded[OF_TRAINED].append(recorded["entropy"].pop())
        return loss, *self._last_forward

    def _compute_loss(self, model, inputs):
        return self.loss(model, inputs)

    @contextmanager
    def without_gradient(self) -> Iterator[None]:
        """Context of log-prob passes before the update, without activation checkpointing, which would warn."""
        kwargs = activation_checkpointing.setting(self.args, "gradient_checkpointing_kwargs")
        with torch.no_grad(), disable_gradient_checkpointing(self.model, kwargs):
            yield

    @contextmanager
    def reference(self) -> Iterator[Any]:
        """The reference model: a copy, or the trained model without its adapters."""
        if self.ref_model is not None:
            yield self.ref_model
            return
        model = self.accelerator.unwrap_model(self.model)
        with use_adapter(model, adapter_name="ref" if "ref" in model.peft_config else None):
            yield self.model

    @contextmanager
    def model_for_generation(self) -> Iterator[Any]:
        """The unwrapped and gathered model, without activation checkpointing."""
        plain = unwrap_model_for_generation(
            self.model_wrapped,
            self.accelerator,
            gather_deepspeed3_params=self.args.ds3_gather_for_generation,
            gradient_checkpointing_kwargs=activation_checkpointing.setting(self.args, "gradient_checkpointing_kwargs"),
        )
        plugin = getattr(self.accelerator.state, "fsdp_plugin", None)
        with plain as model, gathered(model, bool(plugin and plugin.reshard_after_forward)):
            # around all positions, so that float32 weights are cast only once
            with self.accelerator.autocast():
                yield model

    # ---- logging ----

    @property
    def _mode(self) -> str:
        return "train" if self.model.training else "eval"

    def log_mean(self, name: str, value: float) -> None:
        """Record a metric of this step; several values before logging are averaged."""
        self._metrics[self._mode][name].append(value)

    def count_tokens(self, tokens: int) -> None:
        """Add a batch's prompt and completion tokens on all ranks to the run's `num_tokens`."""
        self.state.num_input_tokens_seen += tokens
        self._metrics[self._mode]["num_tokens"] = [self.state.num_input_tokens_seen]

    def log_table(self, columns: Mapping[str, Sequence[Any]], rewards: Mapping[str, Sequence[float]]) -> None:
        """Add rows to TRL's table of completions (`log_completions`)."""
        for name, values in columns.items():
            self._logs[name].extend(values)
        for name, values in rewards.items():
            self._logs["rewards"][name].extend(values)

    # ---- checkpoints ----

    def create_model_card(self, model_name=None, dataset_name=None, tags=None, **unused):
        """Write our model card instead of TRL's, which has neither method nor data."""
        if self.is_world_process_zero():
            tags = (tags,) if isinstance(tags, str) else tuple(tags or ())
            folder = Path(self.args.output_dir)
            replace(folder / "README.md", card_of(folder, self.state.global_step, tags, self.prompting))

    def save_final(self, folder: Path) -> None:
        """Save weights, tokenizer and component state with a manifest: the result of a stage."""
        self.save_model(str(folder))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.processing_class.save_pretrained(str(folder))
            card = card_of(self.args.output_dir, self.state.global_step, prompting=self.prompting)
            replace(folder / "README.md", card)
            manifest.seal(folder, self.state.global_step, self.component_state())
        self.accelerator.wait_for_everyone()

    def save_weights(self, folder: Path) -> None:
        """Save only the weights, without a push to the hub."""
        self.save_model(str(folder), _internal_call=True)

    def load_checkpoint(self, path: str) -> None:
        """Load weights, optimizer and component state into a running trainer; the schedule does not change."""
        schedule = self.lr_scheduler.state_dict()
        if self.is_deepspeed_enabled:
            from transformers.integrations.deepspeed import deepspeed_load_checkpoint

            strict = not hasattr(self.accelerator.unwrap_model(self.model), "peft_config")
            deepspeed_load_checkpoint(self.model_wrapped, path, load_module_strict=strict)
        else:
            self._load_from_checkpoint(path)
        self._load_optimizer_and_scheduler(path)
        self._load_scaler(path)
        self.lr_scheduler.load_state_dict(schedule)
        for group, rate in zip(self.optimizer.param_groups, self.lr_scheduler.get_last_lr(), strict=True):
            group["lr"] = rate


class ExampleTrainer(CompleteCheckpoints, SFTTrainer):
    """TRL's SFTTrainer with the order of a `PromptStream`."""

    @property
    def examples(self) -> PromptStream:
        """The order of the rows over the whole run."""
        raise NotImplementedError

    def _get_train_sampler(self, dataset=None):
        return self.examples

    def prepared(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A collated batch on its device."""
        return self._prepare_inputs(batch)
