"""BRPO (AnytimeReasoner): credit per segment of a trace, by the answers after it, and per answer.

Paper: arXiv 2505.13438, from the released code. The formulas are in `algorithms/brpo.py`, the rows in prompting `brpo`.
    on the row that trains trace g: segment credit s on the tokens after exit s - 1, up to exit s;
    on every row, after its written text: its answer credit
Symbols: score = 1 for a correct, well-formed answer; prior over the budgets: `linear` in b, `uniform`, `last`, or numbers.
Against GRPO: a token's credit is what the answers at its own and later budgets are worth; no division by a spread.
Degenerate: all correct, or all incorrect: 0. One trace: no baseline for its first segment. S = 1: GRPO without std. Undecided:
    its trace has no segment credit, the answer none.
Pitfalls: the reward is only read for undecided rows, so use `correctness`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tersely.algorithms.brpo import brpo_answer_credit, brpo_segment_credit
from tersely.core.errors import ConfigError, require_choice, require_range
from tersely.core.protocols import Advantage
from tersely.core.types import Rollouts

PRIORS = ("linear", "uniform", "last")
BASELINES = ("both", "previous", "traces")


@dataclass(frozen=True)
class BRPO(Advantage):
    needs: ClassVar[tuple[str, ...]] = ("token_ids", "exit", "trace", "prefix")

    prior: str | tuple[float, ...] = "linear"
    previous_weight: float = 2.0
    baseline: Literal["both", "previous", "traces"] = "both"

    def __post_init__(self) -> None:
        require_range("brpo.previous_weight", self.previous_weight, above=0)
        require_choice("brpo.baseline", self.baseline, BASELINES)
        if isinstance(self.prior, str):
            require_choice("brpo.prior", self.prior, PRIORS)
            return
        for value in self.prior:
            require_range("brpo.prior", value, at_least=0)
        if not sum(self.prior) > 0:
            raise ConfigError(f"brpo.prior: got {list(self.prior)}; expected probabilities, at least one above 0")

    def probabilities(self, budgets: Sequence[float]) -> list[float]:
        """(S,) prior over these budgets (tokens), which sums to 1."""
        if isinstance(self.prior, str):
            last = [0.0] * (len(budgets) - 1) + [1.0]
            values = {"linear": list(budgets), "uniform": [1.0] * len(budgets), "last": last}[self.prior]
        else:
            values = list(self.prior)
        if len(values) != len(budgets):
            raise ConfigError(f"brpo.prior: got {len(values)} probabilities; expected {len(budgets)}, one per budget")
        return [value / sum(values) for value in values]

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        ids = rollouts.require("token_ids", "brpo")
        exits, traces, prefix = (rollouts.require(name, "brpo") for name in ("exit", "trace", "prefix"))
        score = rollouts.correct.double()
        if rollouts.well_formed is not None:
            score = torch.where(rollouts.well_formed | score.isnan(), score, 0.0)
        score = torch.where(rewards.isnan(), torch.nan, score)
        advantage = torch.zeros(ids.shape, dtype=torch.float32)
        places = torch.arange(ids.shape[1])
        starts = torch.maximum(prefix, written_until(rollouts))
        for first in range(0, len(score), rollouts.group_size):
            rows = range(first, first + rollouts.group_size)
            order = sorted(rows, key=lambda row: (int(traces[row]), int(exits[row]), row))
            table = torch.tensor(order).view(int(traces[order].max()) + 1, int(exits[order].max()) + 1, -1)
            answers = brpo_answer_credit(score[table])
            prior = self.probabilities(rollouts.require("budget", "brpo")[table[0, :, 0]].tolist())
            credit = brpo_segment_credit(score[table].nanmean(2), prior, self.previous_weight, self.baseline)
            for g, by_exit in enumerate(table.tolist()):
                for s, at_exit in enumerate(by_exit):
                    for a, row in enumerate(at_exit):
                        advantage[row, places >= starts[row]] = answers[g, s, a].float()
                ends = [int(prefix[at_exit[0]]) for at_exit in by_exit]
                for s, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
                    advantage[by_exit[-1][0], begin:end] = credit[g, s].float()
        return torch.where(ids != -1, advantage, 0.0)


def written_until(rollouts: Rollouts) -> Tensor:
    """(N,) int64: first position after the last text that the program wrote; 0 without one."""
    if rollouts.forced is None:
        return torch.zeros_like(rollouts.length)
    after = torch.arange(1, rollouts.forced.shape[1] + 1)
    return (rollouts.forced * after).amax(1)
