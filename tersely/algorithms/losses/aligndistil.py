"""AlignDistil: distils the difference of two models into the policy, more strongly at the tokens where they differ.

Paper: arXiv 2503.02832 and the authors' code.
    w_t = scale * sum_v |p_v - q_v| + floor
    z*  = log p + w_t (log p - log q)
    L_it = (beta / w_t) KL(pi || softmax z*)
Symbols: p the `teacher`, q the `contrast`, over the whole vocabulary; w no unit; KL nats. `teacher` and `contrast` are folders
    or hub ids; null is the reference model. `instruction` is read by the teacher alone, before the problem.
Against GRPO: no reward or ratio. In the paper p is a model after DPO and q one after DPO on swapped pairs, so log p - log q
    is a reward per token: set `teacher` and `contrast`, and `instruction: null`. The default needs no other model (ours): p and
    q are the first weights with and without a concise instruction, so the difference points to brevity.
Degenerate: p = q -> w = floor, and the KL to p, weighted by beta / floor = 100. Masked -> 0.
Pitfalls: where the models agree the weight is largest, which holds the policy there. `aggregate: sequence` is the code's mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.algorithms.losses.common import masked, masked_mean, only_valid
from tersely.algorithms.losses.opsdc import CONCISE
from tersely.core.divergence import kl_divergence
from tersely.core.errors import ConfigError, require_range
from tersely.core.protocols import Loss
from tersely.core.types import Teacher, TokenBatch


@dataclass(frozen=True)
class AlignDistil(Loss):
    label: ClassVar[str] = "adapted: by default the teacher is the model itself with an instruction"

    teacher: str | None = None
    contrast: str | None = None
    instruction: str | None = CONCISE
    scale: float = 15.0
    beta: float = 0.1
    floor: float = 1e-3

    def __post_init__(self) -> None:
        require_range("aligndistil.scale", self.scale, at_least=0)
        require_range("aligndistil.beta", self.beta, above=0)
        require_range("aligndistil.floor", self.floor, above=0)
        if self.teacher == self.contrast and not self.instruction:
            raise ConfigError(
                f"aligndistil.teacher: got {self.teacher!r}, the same model and prompt as contrast. Set another model, or an "
                "instruction for the teacher"
            )

    @property
    def teachers(self) -> tuple[Teacher, ...]:
        return Teacher(self.instruction or None, self.teacher), Teacher(model=self.contrast)

    def compare(self, student: Tensor, *teachers: Tensor) -> dict[str, Tensor]:
        teacher, contrast = teachers
        distance = (teacher.exp() - contrast.exp()).abs().sum(-1)
        weight = self.scale * distance + self.floor
        gap = torch.where(teacher == contrast, 0.0, teacher - contrast)  # also where both are -inf
        target = (teacher + weight.unsqueeze(-1) * gap).log_softmax(-1)
        kl = kl_divergence(student, target)
        return {"loss": self.beta / weight * kl, "kl": kl, "weight": weight, "distance": distance}

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        valid, compared = batch.valid, batch.require("compared", "aligndistil")
        metrics = {
            f"aligndistil/{name}": masked_mean(compared[name].detach(), valid) for name in ("kl", "weight", "distance")
        }
        return masked(only_valid(compared["loss"], valid), valid), metrics
