"""What the trainer saves beside TRL's checkpoint, and takes back: prompt memory, component state, a seal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.trainer import TRAINING_ARGS_NAME

from tersely.rl import checkpoint
from tersely.rl.model_card import card_of
from tersely.rl.run_dir import replace

if TYPE_CHECKING:
    from trl import GRPOTrainer as _Base

    from tersely.rl.guards.feed import GuardFeed
    from tersely.rl.memory import PromptMemory
    from tersely.rl.objective import Objective
    from tersely.rl.rollback import RollBack
else:
    _Base = object


class Sealing(_Base):
    """A mixin of every trainer. A checkpoint without its seal is not whole, and is never taken for one."""

    _resumed: int = 0
    _saved: tuple[int, ...] = ()

    def _save_checkpoint(self, model, trial):
        step, limit = self.state.global_step, self.args.save_total_limit
        if self.accelerator.is_main_process:
            checkpoint.make_room(self.args.output_dir, limit, self._resumed, self._saved)
        self.accelerator.wait_for_everyone()
        self.args.save_total_limit = None  # Trainer would delete by age, before this one is sealed
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            checkpoint.complete(self.args.output_dir, step, self.component_state())
        self._saved = (*self._saved, step)
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir=None, state_dict=None):
        super()._save(output_dir, state_dict)
        # a pickle of every argument, tokens included, that nothing reads again
        (Path(output_dir or self.args.output_dir) / TRAINING_ARGS_NAME).unlink(missing_ok=True)

    def _load_optimizer_and_scheduler(self, folder):
        super()._load_optimizer_and_scheduler(folder)
        if folder is not None:
            self._resumed, self._saved = int(Path(folder).name.rpartition("-")[2]), ()

    def component_state(self) -> dict[str, Any]:
        """What is learnt beside the weights."""
        return {}


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
        }

    def carry_over(self, state: dict[str, Any]) -> None:
        """Take over what an earlier stage learnt beside the weights."""
        self.memory.load_state_dict(state.get("memory") or {})
        self.objective.carry_over(state.get("objective") or {})

    def create_model_card(self, model_name=None, dataset_name=None, tags=None, **unused):
        """Ours in place of TRL's, which names neither the method nor the data."""
        if self.is_world_process_zero():
            tags = (tags,) if isinstance(tags, str) else tuple(tags or ())
            folder = Path(self.args.output_dir)
            replace(folder / "README.md", card_of(folder, self.state.global_step, tags))

    def save_final(self, folder: Path) -> None:
        """Weights, tokenizer and component state: what a stage leaves, sealed as a checkpoint is."""
        self.save_model(str(folder))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self._tokenizer.save_pretrained(str(folder))
            replace(folder / "README.md", card_of(self.args.output_dir, self.state.global_step))
            checkpoint.seal(folder, self.state.global_step, self.component_state())
        self.accelerator.wait_for_everyone()

    def _load_optimizer_and_scheduler(self, folder):
        super()._load_optimizer_and_scheduler(folder)
        if folder is not None:
            state = checkpoint.component_state(folder)
            self.memory.load_state_dict(state["memory"])
            self.objective.load_state_dict(state["objective"])
            self.guards.load_state_dict(state.get("guards") or {})
            self.rollback.count = max(self.rollback.count, state.get("rollbacks", 0))
