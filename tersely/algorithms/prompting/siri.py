"""SIRI's prompting: interleaved compression, with a token cap that falls and rises in cycles.

Paper: arXiv 2509.25176; the schedule is `algorithms/siri.py`. The reward is `correctness`: a rollout stopped at the cap counts
if its answer can be read.
    max_new_tokens = siri_cap(t, longest, shortest, cycle, shape) ,   no instruction
Symbols: t optimizer steps of the stage; longest, shortest tokens; cycle steps.
Against GRPO: a cap that changes with the step.
Degenerate: K = 1 is fine; nothing depends on memory or seed, and nothing is saved. An evaluation uses step 0.
Pitfalls: save at both ends of a cycle: the checkpoint after a compression is SIRI-low, after an expansion SIRI-high. Rewards
    relative to max_length and gates on accuracy ignore the cap. Output length lags the cap by 100 to 200 steps; cycles
    of 320 or 480 steps lose accuracy in compression. `rollouts.max_length` stays the run's cap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from tersely.algorithms.siri import SHAPES, siri_cap
from tersely.core.errors import ConfigError, require_choice, require_range
from tersely.core.memory import PromptMemory
from tersely.core.protocols import Prompting
from tersely.core.types import RolloutPlan


@dataclass(frozen=True)
class SIRI(Prompting):
    needs_step: ClassVar[bool] = True

    longest: int = 16384
    shortest: int = 8192
    cycle: int = 640
    shape: Literal["cosine", "stair", "stair_cosine"] = "cosine"

    def __post_init__(self) -> None:
        require_range("siri.shortest", self.shortest, above=0)
        if not self.shortest < self.longest:
            raise ConfigError(
                f"siri.longest: got {self.longest}; expected above shortest = {self.shortest}. Raise longest or lower shortest"
            )
        require_range("siri.cycle", self.cycle, at_least=2)
        require_choice("siri.shape", self.shape, SHAPES)

    def __call__(
        self,
        prompt_ids: Sequence[str],
        group_size: int,
        memory: PromptMemory | None = None,
        seed: int = 0,
        step: int = 0,
    ) -> list[RolloutPlan]:
        return [RolloutPlan(max_new_tokens=self.cap(step))] * (len(prompt_ids) * group_size)

    def cap(self, step: int) -> int:
        """Tokens at this optimizer step of the stage."""
        return siri_cap(step, self.longest, self.shortest, self.cycle, self.shape)

    def check_cap(self, max_length: int) -> None:
        if self.longest > max_length:
            raise ConfigError(
                f"siri.longest: got {self.longest}; expected at most max_completion_length = {max_length}. Lower longest or "
                "raise max_completion_length"
            )

    def measured(self, step: int) -> dict[str, float]:
        return {"siri/cap": float(self.cap(step))}
