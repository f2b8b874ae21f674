"""OPSDC: the model distils its own concise behaviour, on its own rollouts, without a reward.

Paper: arXiv 2603.05433 and the authors' code (later title: CRISP).
    L_it = KL(pi(. | x, y_<t) || teacher(. | c, x, y_<t)),   over the whole vocabulary
Symbols: x the problem, y the rollout; c the `instruction`, which only the teacher reads, before the problem; the teacher is a
    copy of the policy, updated every `update_steps` optimizer steps (M; null: the first weights for the whole run).
    Both distributions are at the sampling temperature. Nats.
Against GRPO: no reward, advantage or ratio; every rollout trains, correct or incorrect. The reverse direction: the policy gives
    up tokens that the concise teacher avoids, and does not have to cover all of the teacher's.
Degenerate: equal distributions -> 0 with zero gradient. Masked -> 0.
Pitfalls: a model that does not follow the instruction has nothing to distil. `update_steps: 1` collapsed in the paper, 10
    compressed most and cost accuracy, 30 and 50 held it. One rollout per prompt in the paper; here at least two.
    `aggregate: sequence` is the paper's mean over a rollout's tokens. A KL to the reference (`beta`) follows the updates too.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tersely.algorithms.losses.common import masked, masked_mean, only_valid
from tersely.core.divergence import entropy_of, kl_divergence
from tersely.core.errors import ConfigError, require_range
from tersely.core.protocols import Loss
from tersely.core.types import Teacher, TokenBatch

CONCISE = (
    "Solve the following math problem concisely and correctly. Prioritize a correct final answer above brevity. For "
    "straightforward problems, be direct: avoid unnecessary elaboration, redundant steps, or restating the problem. For "
    "difficult or multi-step problems, do NOT over-compress: keep every reasoning step needed for correctness, including "
    "case analysis, edge cases, and a brief check of the final answer. Never omit a step that the answer depends on."
)
"""The paper's difficulty-aware instruction, its default."""


@dataclass(frozen=True)
class OPSDC(Loss):
    instruction: str = CONCISE
    update_steps: int | None = 50

    def __post_init__(self) -> None:
        require_range("opsdc.update_steps", self.update_steps, at_least=1)
        if not self.instruction.strip():
            raise ConfigError(
                "opsdc.instruction: got an empty text; expected an instruction that only the teacher reads"
            )

    @property
    def teachers(self) -> tuple[Teacher, ...]:
        return (Teacher(instruction=self.instruction, update_steps=self.update_steps),)

    def compare(self, student: Tensor, *teachers: Tensor) -> dict[str, Tensor]:
        (teacher,) = teachers
        return {"kl": kl_divergence(student, teacher), "teacher_entropy": entropy_of(teacher)}

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        valid, compared = batch.valid, batch.require("compared", "opsdc")
        kl = only_valid(compared["kl"], valid)
        metrics = {
            "opsdc/kl": masked_mean(kl.detach(), valid),
            "opsdc/teacher_entropy": masked_mean(compared["teacher_entropy"].detach(), valid),
        }
        return masked(kl, valid), metrics
