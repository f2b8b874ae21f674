"""Saves and restores what TRL's checkpoint lacks: prompt memory, component state, the manifest."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.trainer import TRAINING_ARGS_NAME

from tersely.core.files import replace
from tersely.data.ids import data_fingerprint
from tersely.rl.checkpoints import manifest
from tersely.rl.checkpoints.resume import launch_facts
from tersely.rl.recording.model_card import card_of

if TYPE_CHECKING:
    from trl import GRPOTrainer as _Base

    from tersely.algorithms.objective import Objective
    from tersely.core.memory import PromptMemory
    from tersely.engines.chat import Prompting
    from tersely.rl.checkpoints.rollback import RollBack
    from tersely.rl.guards.callback import GuardFeed
else:
    _Base = object


class Sealing(_Base):
    """A mixin of every trainer. A checkpoint without its seal is not whole, and is never taken for one."""

    prompting: Prompting | None = None
    """Saved next to every set of weights, so that an evaluation can prompt the model as the training did."""
    _resumed: int = 0
    _saved: tuple[int, ...] = ()

    def _save_checkpoint(self, model, trial):
        step, limit = self.state.global_step, self.args.save_total_limit
        if self.accelerator.is_main_process:
            manifest.make_room(self.args.output_dir, limit, self._resumed, self._saved)
        self.accelerator.wait_for_everyone()
        self.args.save_total_limit = None  # Trainer would delete by age, before this one has a manifest
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            state = {**self.component_state(), "launch": launch_facts(self.args)}
            manifest.complete(self.args.output_dir, step, state)
        self._saved = (*self._saved, step)
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir=None, state_dict=None):
        super()._save(output_dir, state_dict)
        # a pickle of every argument, tokens included, that nothing reads again
        (Path(output_dir or self.args.output_dir) / TRAINING_ARGS_NAME).unlink(missing_ok=True)
        if self.prompting is not None:
            self.prompting.save(output_dir or self.args.output_dir)

    def _init_training_state(self, max_steps, *args, **kwargs):
        found = super()._init_training_state(max_steps, *args, **kwargs)
        self.state.compute_steps(self.args, max_steps)  # or a resumed run logs and saves at the checkpoint's steps
        return found

    def _load_optimizer_and_scheduler(self, folder):
        super()._load_optimizer_and_scheduler(folder)
        if folder is not None:
            self._resumed, self._saved = int(Path(folder).name.rpartition("-")[2]), ()
            own_hyperparameters(self)

    def component_state(self) -> dict[str, Any]:
        """What is learnt beside the weights."""
        return {}


def own_hyperparameters(trainer: Any) -> None:
    """The recipe's learning rate, schedule and optimizer parameters over those that a checkpoint brought along.

    A checkpoint holds them beside the moments. With the old ones a changed learning rate would do nothing, and the first
    step after an extension would have the rate of the old schedule's end, 0.
    """
    groups = trainer.optimizer.param_groups
    _, asked = trainer.get_optimizer_cls_and_kwargs(trainer.args)
    for number, group in enumerate(groups):
        group.update({key: value for key, value in asked.items() if key in group and key not in ("lr", "params")})
        if len(groups) == 2 and "weight_decay" in group:  # the trainer's two: with weight decay, and without
            group["weight_decay"] = 0.0 if number else trainer.args.weight_decay
    schedule = getattr(trainer.lr_scheduler, "scheduler", trainer.lr_scheduler)
    if not hasattr(schedule, "lr_lambdas"):
        return
    schedule.base_lrs = [trainer.args.learning_rate] * len(groups)
    rates = [trainer.args.learning_rate * factor(schedule.last_epoch) for factor in schedule.lr_lambdas]
    for group, rate in zip(groups, rates, strict=True):
        group["initial_lr"], group["lr"] = trainer.args.learning_rate, rate
    schedule._last_lr = rates


class Saving(Sealing):
    """The same, with what a run with rewards learns."""

    memory: PromptMemory
    objective: Objective
    rollback: RollBack
    guards: GuardFeed

    def component_state(self) -> dict[str, Any]:
        return {
            "memory": self.memory.state_dict(),
            "objective": self.objective.state_dict(),
            "rollbacks": self.rollback.count,
            "guards": self.guards.state_dict(),
            "data": self.data_facts,
        }

    @cached_property
    def data_facts(self) -> dict[str, Any]:
        """Which problems this run draws from: their number, and a fingerprint of their ids in order."""
        return {"rows": len(self.train_dataset), "fingerprint": data_fingerprint(self.train_dataset)}

    def carry_over(self, state: dict[str, Any]) -> None:
        """Take over what an earlier stage learnt beside the weights."""
        self.memory.load_state_dict(state.get("memory") or {})
        self.objective.carry_over(state.get("objective") or {})

    def create_model_card(self, model_name=None, dataset_name=None, tags=None, **unused):
        """Ours in place of TRL's, which names neither the method nor the data."""
        if self.is_world_process_zero():
            tags = (tags,) if isinstance(tags, str) else tuple(tags or ())
            folder = Path(self.args.output_dir)
            replace(folder / "README.md", card_of(folder, self.state.global_step, tags, self.prompting))

    def save_final(self, folder: Path) -> None:
        """Weights, tokenizer and component state: what a stage leaves, sealed as a checkpoint is."""
        self.save_model(str(folder))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self._tokenizer.save_pretrained(str(folder))
            card = card_of(self.args.output_dir, self.state.global_step, prompting=self.prompting)
            replace(folder / "README.md", card)
            manifest.seal(folder, self.state.global_step, self.component_state())
        self.accelerator.wait_for_everyone()

    def _load_optimizer_and_scheduler(self, folder):
        super()._load_optimizer_and_scheduler(folder)
        if folder is not None:
            state = manifest.component_state(folder)
            self.memory.load_state_dict(state["memory"])
            self.objective.load_state_dict(state["objective"])
            self.guards.load_state_dict(state.get("guards") or {})
            self.rollback.count = max(self.rollback.count, state.get("rollbacks", 0))
