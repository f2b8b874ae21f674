"""The state of a run without the weights: prompt memory, components, guards, oversampling, number of rollbacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tersely.algorithms.objective import Objective
from tersely.core.memory import PromptMemory
from tersely.data.ids import data_fingerprint
from tersely.rl.checkpoints.rollback import RollBack
from tersely.rl.guards.callback import GuardFeed
from tersely.rl.rollouts.oversample import Oversampling


@dataclass
class RunState:
    """Part of every checkpoint, together with a fingerprint of the training problems."""

    memory: PromptMemory
    objective: Objective
    rollback: RollBack
    guards: GuardFeed
    oversampling: Oversampling
    dataset: Any

    def state_dict(self) -> dict[str, Any]:
        return {
            "memory": self.memory.state_dict(),
            "objective": self.objective.state_dict(),
            "rollbacks": self.rollback.count,
            "guards": self.guards.state_dict(),
            "oversampling": self.oversampling.state_dict(),
            "data": self.data_facts,
        }

    @cached_property
    def data_facts(self) -> dict[str, Any]:
        """The number of problems, and a fingerprint of their ids in order."""
        return {"rows": len(self.dataset), "fingerprint": data_fingerprint(self.dataset)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore from a checkpoint of this stage."""
        self.memory.load_state_dict(state["memory"])
        self.objective.load_state_dict(state["objective"])
        self.guards.load_state_dict(state.get("guards") or {})
        self.oversampling.load_state_dict(state.get("oversampling") or {})
        self.rollback.count = max(self.rollback.count, state.get("rollbacks", 0))

    def carry_over(self, state: Mapping[str, Any]) -> None:
        """Restore from an earlier stage."""
        self.memory.load_state_dict(state.get("memory") or {})
        self.objective.carry_over(state.get("objective") or {})
