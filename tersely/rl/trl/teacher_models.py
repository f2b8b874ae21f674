"""The models of a loss with teachers: frozen ones, and a reference model that follows the policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor

from tersely.algorithms.objective import Objective
from tersely.core.build import name_of
from tersely.core.errors import ConfigError
from tersely.core.heartbeat import beat_at_each_pass
from tersely.engines.models import load_weights
from tersely.engines.vllm_import import hidden_from_trl
from tersely.rl.trl.overrides import RolloutTrainer
from tersely.rl.update.reference_update import ReferenceUpdate, add_reference_adapter
from tersely.rl.update.teachers import Teachers, comparing
from tersely.rl.update.vocabulary import add_open_head

with hidden_from_trl():
    from trl.models.utils import prepare_deepspeed


class DistillingTrainer(RolloutTrainer):
    """Adds the teachers' models to TRL's trainer."""

    _reference_update: ReferenceUpdate | None = None

    def _open_heads(self) -> None:
        """Let `_open_head_pass` run the trained model and the reference model."""
        unwrapped = self.accelerator.unwrap_model
        models = [unwrapped(model) for model in (self.model, self.ref_model) if model is not None]
        for model in models:
            add_open_head(model.get_base_model() if hasattr(model, "peft_config") else model)

    def _open_head_pass(self, model: Any, ids: Tensor, mask: Tensor, head: Any) -> Any:
        """`head` of the hidden states (B, L, H) of the backbone and the model's output head, inside the forward pass."""
        with self.accelerator.autocast():
            return model(input_ids=ids, attention_mask=mask, head=head)

    def _teacher_model(self, location: str | None) -> Callable[[], AbstractContextManager[Any]]:
        """Contexts with a frozen model, without a gradient: of a folder or hub id, or the reference model (None)."""
        loaded = None if location is None else self._frozen(location)

        @contextmanager
        def entered() -> Iterator[Any]:
            with self.without_gradient(), self.reference() if loaded is None else nullcontext(loaded) as model:
                yield model

        return entered

    def _frozen(self, location: str) -> Any:
        """A frozen model on this rank, distributed like TRL's reference model."""
        model = load_weights(location, self.model.dtype, self.args.trust_remote_code)
        model.requires_grad_(False).eval()
        add_open_head(model)
        beat_at_each_pass(model)
        if self.is_deepspeed_enabled:
            return prepare_deepspeed(model, self.accelerator)
        return self.accelerator.prepare_model(model, evaluation_mode=True)

    def add_teachers(self, objective: Objective) -> Teachers | None:
        """The teachers of the objective's loss, with their models; None without any."""
        loss = comparing(objective)
        if loss is None:
            return None
        if self.aux_loss_enabled:
            raise ConfigError(
                f"loss {name_of('loss', loss)}: the model trains the router of its experts, which a loss that compares "
                "distributions does not support. Set output_router_logits: false in its config"
            )
        if (
            steps := next((teacher.update_steps for teacher in loss.teachers if teacher.update_steps), None)
        ) is not None:
            self._update_reference(steps)
        self._open_heads()
        return Teachers(
            loss,
            self._open_head_pass,
            tuple(self._teacher_model(teacher.model) for teacher in loss.teachers),
            pad=self.processing_class.pad_token_id,
            temperature=self.temperature,
            float32=self.args.cast_lm_head_to_fp32,
        )

    def save_more(self, folder: Path) -> None:
        if self._reference_update is not None:
            self._reference_update.save(folder)

    def load_more(self, folder: Path) -> None:
        if self._reference_update is not None:
            self._reference_update.load(folder)

    def _update_reference(self, steps: int) -> None:
        """Update the reference model every `steps` optimizer steps."""
        model, adapted = self.accelerator.unwrap_model(self.model), self.ref_model is None
        if adapted:
            add_reference_adapter(model)
        reference = None if adapted else self.accelerator.unwrap_model(self.ref_model)
        self._reference_update = ReferenceUpdate(steps, model, reference, self.accelerator.is_main_process)
        self.add_callback(self._reference_update)
