"""SAS, Step-level Advantage Selection: some thinking steps get no credit, by the confidence of the sampling policy.

Paper: arXiv 2604.24003, the form from third-party notes (verify before calling it the paper's); `as_released` is the code.
    steps: the distinct values of `step` among thinking positions;  confidence = mean old_logp of the step's sampled tokens
    ranked ascending, ties by position, S steps
    correct: the first ceil(ratio S) get 0        incorrect: all after the first ceil((1 - ratio) S) get 0
Symbols: old_logp nats; ratio a share; thinking: sampled positions below min(thinking_end, n - 1).
Against GRPO: the base advantage, without the least confident steps of correct rows and the most confident of incorrect rows.
    `as_released` has a misplaced parenthesis, ceil(S + ratio): correct rows lose every thinking step, incorrect rows none.
Degenerate: no thinking or ratio 0: the base. One step: a correct row loses it, an incorrect one keeps it. ratio 1: all thinking
    of both. All correct, all incorrect, K = 1: as the base. Truncated: by the verdict. Undecided -> 0. Forced positions and
    padding: 0; the marker and the answer keep the base's advantage.
Pitfalls: zeroed tokens stay in the loss mask, so they count in denominators and in a KL. Losses with one ratio per sequence
    average the credit: use {name: gspo, form: token}.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from tersely.algorithms.advantages.group_zscore import GroupZScore
from tersely.core.errors import ConfigError, require_choice, require_range
from tersely.core.objective_parts import ObjectiveParts
from tersely.core.present_tokens import sampled_tokens, thinking_tokens
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class SAS(Advantage):
    OWN_NEEDS: ClassVar[tuple[str, ...]] = ("old_logp", "step", "thinking_end")

    ratio: float = 0.3
    side: Literal["both", "right", "wrong"] = "both"
    form: Literal["paper", "as_released"] = "paper"
    base: Advantage = field(default_factory=lambda: GroupZScore(epsilon=1e-6))

    def __post_init__(self) -> None:
        require_range("sas.ratio", self.ratio, at_least=0, at_most=1)
        require_choice("sas.side", self.side, ("both", "right", "wrong"))
        require_choice("sas.form", self.form, ("paper", "as_released"))
        if self.base.per_term:
            raise ConfigError(
                "sas.base: got an advantage with one column per reward term; expected one of the summed reward"
            )

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        logp, step = rollouts.require("old_logp", "sas"), rollouts.require("step", "sas")
        base = self.base(rewards, rollouts)
        base = base.unsqueeze(1).expand_as(logp) if base.dim() == 1 else base[:, : logp.shape[1]]
        thinking = thinking_tokens(rollouts, logp.shape[1], "sas")
        silent = self._silent(confidences(logp, step, thinking), rollouts)
        zero = thinking & silent.gather(1, step.clamp(min=0))
        return torch.where(sampled_tokens(rollouts, logp.shape[1]) & ~zero, base, 0.0).float()

    def _silent(self, confidence: Tensor, rollouts: Rollouts) -> Tensor:
        """(N, S) bool: steps without credit. `confidence` (N, S), inf for a step without thinking."""
        count = confidence.isfinite().sum(1, keepdim=True)
        rank = confidence.argsort(dim=1, stable=True).argsort(dim=1)
        if self.form == "paper":
            least, most = rank < _ceil(self.ratio * count), rank >= _ceil((1 - self.ratio) * count)
        else:
            least, most = (torch.full_like(rank, value, dtype=torch.bool) for value in (True, False))
        right, wrong = ((rollouts.correct == value).unsqueeze(1) for value in (1, 0))
        return (right & least & (self.side != "wrong")) | (wrong & most & (self.side != "right"))

    # ---- hooks of the base ----

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.OWN_NEEDS, *self.base.needs)))

    @property
    def memory_fields(self) -> tuple[str, ...]:
        return self.base.memory_fields

    @property
    def scope(self) -> str:
        return self.base.scope

    @property
    def commits(self) -> bool:
        return self.base.commits

    @property
    def knows_best_reward(self) -> bool:
        return self.base.knows_best_reward

    def check_objective(self, objective: ObjectiveParts) -> None:
        self.base.check_objective(objective)

    def update(self, rollouts: Rollouts) -> None:
        self.base.update(rollouts)

    def state_dict(self) -> dict[str, Any]:
        return self.base.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.base.load_state_dict(state)


def confidences(logp: Tensor, step: Tensor, among: Tensor) -> Tensor:
    """(N, S) float64 mean of `logp` (N, T) over each step's positions `among`; inf for a step without one."""
    steps = max(1, int(step.max()) + 1) if step.numel() else 1
    index = step.clamp(min=0)
    total = torch.zeros(len(step), steps, dtype=torch.float64)
    total.scatter_add_(1, index, torch.where(among, logp.double(), 0.0))
    count = torch.zeros_like(total).scatter_add_(1, index, among.double())
    return torch.where(count > 0, total / count.clamp(min=1), torch.inf)


def _ceil(share: Tensor) -> Tensor:
    """Rounded up, with a tolerance of 1e-9."""
    return (share.double() - 1e-9).ceil()
